"""Sheets whose slides are in object storage: their file names on the local disk, and the sheet with these names."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pathduet.core.errors import Problems
from pathduet.core.files import write_text

REMOTE = "s3://"
#: Formats whose slides consist of several files, of which the sheet names one.
WHOLE_FOLDERS = (".mrxs", ".vms", ".vmu", ".dcm")


def objects_to_stage(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the source of each remote slide, by its local file name: its id and extension.

    Parameters
    ----------
    rows : iterable of mapping
        From :func:`pathduet.cohort.sheets.read_slide_rows`, so ids are valid file names; excluded slides are skipped.

    Raises
    ------
    InputError
        Listing every slide in a format of several files, and every remote mask.
    """
    found: dict[str, str] = {}
    problems = Problems()
    for row in rows:
        if row.get("exclude"):
            continue
        slide, path = row["slide_id"], row["path"]
        if row.get("mask", "").startswith(REMOTE):
            problems.add(f"slide {slide}, mask", row["mask"], "masks are small: keep them on this disk")
        if not path.startswith(REMOTE):
            continue
        suffix = PurePosixPath(path).suffix.lower()
        if suffix in WHOLE_FOLDERS:
            advice = "a format of several files, which cannot be staged one by one: copy its folder by hand"
            problems.add(f"slide {slide}, path", path, advice)
        found[f"{slide}{suffix}"] = path
    problems.check()
    return found


def write_staged_sheet(
    rows: Iterable[Mapping[str, Any]], folder: Path, names: Mapping[str, str], out: str | os.PathLike[str]
) -> None:
    """Write the sheet of the staged slides beside them.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of the remote sheet.
    folder : Path
        Folder of that sheet; relative paths of local slides and masks refer to it and become absolute.
    names : mapping
        From :func:`objects_to_stage`.
    out : path
        The new ``slides.tsv``.
    """
    staged = {address: name for name, address in names.items()}
    written = []
    for row in rows:
        kept = dict(row)
        for column in ("path", "mask"):
            if column in kept and not kept[column].startswith(REMOTE):
                kept[column] = str(folder.resolve() / kept[column])
        written.append(kept | {"path": staged.get(row["path"], kept["path"])})
    columns = list(dict.fromkeys(column for row in written for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(written)
    write_text(out, text.getvalue())
