"""Slides named by a folder, one file or a sheet, for using the slide engine alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from pathduet.cohort.sheets import SlideRow, read_slides
from pathduet.core.errors import InputError, Problem

#: Endings of plain pictures.
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
#: File name endings taken for slides when a folder is given (a sheet may name any file).
SLIDE_SUFFIXES = (
    ".svs", ".tif", ".tiff", ".btf", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm",
    *PICTURE_SUFFIXES,
)  # fmt: skip
_ID_LENGTH = 110  # of the 120 that a sheet's ids may have, so that a number fits behind


def slides_of(source: Path, *, subfolders: bool = False) -> list[SlideRow]:
    """Return the slides of a folder (of its `subfolders`, too, if asked for), of one file, or of a ``.tsv`` sheet.

    Without a sheet, a slide's id is its file name without the ending, with characters that ids may not
    hold replaced by ``_``; files that would share an id keep their endings, and a number if that is not enough. Whatever
    is named like a slide is one, also a broken link or a folder: the ledger then says why it cannot be read. Only the
    ``._*`` files that macOS writes beside others are passed over.

    Raises
    ------
    InputError
        If there is nothing to read.
    """
    if source.suffix.lower() == ".tsv":
        return read_slides(source)
    if source.is_dir():
        files = sorted(
            p
            for p in (source.rglob("*") if subfolders else source.iterdir())
            if p.suffix.lower() in SLIDE_SUFFIXES and not p.name.startswith("._")
        )
    else:
        files = [source] if source.is_file() else []
    if not files:
        advice = f"give a folder with {', '.join(SLIDE_SUFFIXES)} files, one slide, or a slides.tsv"
        raise InputError([Problem(str(source), "no slides there", advice)])
    # a link that leads nowhere keeps its own name for the ledger
    return [
        SlideRow(slide_id, slide_id, "folder", file.resolve() if file.is_file() else file.absolute())
        for slide_id, file in zip(_ids(files), files)
    ]


def _ids(files: Sequence[Path]) -> list[str]:
    """Return an id for each file that is unique even where upper and lower case are the same."""
    short = [_id(file.stem) for file in files]
    full = [_id(f"{one}{file.suffix}") for one, file in zip(short, files)]
    shared = Counter(name.casefold() for name in short)
    ids: list[str] = []
    taken = {name.casefold() for name in short if shared[name.casefold()] == 1}
    for one, other in zip(short, full):
        if shared[one.casefold()] == 1:
            ids.append(one)
            continue
        free = (f"{other}-{i}" if i else other for i in count() if i != 1)
        ids.append(next(name for name in free if name.casefold() not in taken))
        taken.add(ids[-1].casefold())
    return ids


def _id(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip("._-")[:_ID_LENGTH] or "slide"
