"""Slides named by a folder, one file or a sheet, for using the slide engine alone."""

from __future__ import annotations

import re
from pathlib import Path

from pathduet.errors import InputError, Problem
from pathduet.sheets import SlideRow, read_slides

#: File name endings taken for slides when a folder is given (a sheet may name any file).
SLIDE_SUFFIXES = (
    ".svs", ".tif", ".tiff", ".btf", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm",
    ".png", ".jpg", ".jpeg",
)  # fmt: skip


def slides_of(source: Path) -> list[SlideRow]:
    """Return the slides of a folder (not of its subfolders), of one file, or of a ``.tsv`` sheet.

    Without a sheet, a slide's id is its file name without the ending, with characters that ids may not
    hold replaced by ``_``.

    Raises
    ------
    InputError
        If there is nothing to read or two files would get the same id.
    """
    if source.suffix.lower() == ".tsv":
        return read_slides(source)
    if source.is_dir():
        files = sorted(p for p in source.iterdir() if p.is_file() and p.suffix.lower() in SLIDE_SUFFIXES)
    else:
        files = [source] if source.is_file() else []
    if not files:
        advice = f"give a folder with {', '.join(SLIDE_SUFFIXES)} files, one slide, or a slides.tsv"
        raise InputError([Problem(str(source), "no slides there", advice)])
    rows: dict[str, SlideRow] = {}
    for file in files:
        slide_id = re.sub(r"[^A-Za-z0-9._-]", "_", file.stem).lstrip("._-") or "slide"
        if slide_id.casefold() in rows:
            other = rows[slide_id.casefold()].path.name
            raise InputError(
                [
                    Problem(
                        str(source),
                        f"{other} and {file.name} would both be {slide_id!r}",
                        "write a slides.tsv",
                    )
                ]
            )
        rows[slide_id.casefold()] = SlideRow(slide_id, slide_id, "folder", file.resolve())
    return list(rows.values())
