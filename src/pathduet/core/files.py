"""Write files atomically: under a temporary name, flushed, then renamed."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends without an error.

    The temporary name keeps the suffix (writers choose their format by it), starts with a dot and has a
    random part, so that two processes never share it. After an error it is removed and `path` is
    unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove temporary files of `path` that killed writers left; only while no process writes it."""
    path = Path(path)
    for leftover in path.parent.glob(f".{glob.escape(path.stem)}.????????.tmp{glob.escape(path.suffix)}"):
        leftover.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` (UTF-8) atomically; bytes of file names that are not UTF-8 become escapes."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically. NaN is refused: use None."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


#: A formula that a spreadsheet runs when it opens a table: with a call, a program or another file.
_FORMULA = re.compile(r"[=+@\t\r-][^\n]*[(|!#']")


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def write_tsv(path: str | os.PathLike[str], table: pd.DataFrame, *, index: bool = False) -> None:
    """Write a data frame as TSV, atomically; floats with 10 significant digits, missing values empty.

    Text that a spreadsheet would run as a formula gets a leading apostrophe, which marks text.
    """
    for place, kind in enumerate(table.dtypes):
        cells = table.iloc[:, place]
        if kind.kind == "O" and any(_inert(cell) is not cell for cell in cells):
            table = table.copy()
            table.isetitem(place, cells.map(_inert).to_numpy())
    with atomic_path(path) as temporary:
        table.to_csv(
            temporary,
            sep="\t",
            index=index,
            float_format="%.10g",
            lineterminator="\n",
            errors="backslashreplace",
        )


def stamp(path: str | os.PathLike[str]) -> str:
    """Return a file's size and date, or ``absent``; if they change, its content must be read again."""
    try:
        found = os.stat(path)  # noqa: PTH116  (Path.stat takes three times as long)
    except OSError:
        return "absent"
    return f"{found.st_size} {found.st_mtime_ns}"


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
