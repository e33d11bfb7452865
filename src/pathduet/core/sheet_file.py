"""A table as people keep it, TSV, CSV or XLSX by its suffix, read as text cell by cell."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pathduet.core.errors import InputError

#: Cells that say that there is no value, upper and lower case aside.
MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "nan", "null", "not available", "[not available]", "[not applicable]", "[unknown]",
     "[discrepancy]", "[not evaluated]", "not reported"}
)  # fmt: skip
SUFFIXES = (".tsv", ".txt", ".csv", ".xlsx")


def read_lines(path: Path) -> list[list[str]]:
    """Return a table's lines, header first, every cell stripped; cells of :data:`MISSING` are empty.

    A workbook's first sheet is read; its whole numbers lose their ``.0``. A CSV file without a comma in its header may be
    separated by semicolons.

    Raises
    ------
    InputError
        If the file is missing, of another kind, or no table.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError.of(path.name, f"ends in {path.suffix!r}", f"give one of {', '.join(SUFFIXES)}")
    try:
        lines = _workbook(path) if path.suffix.lower() == ".xlsx" else _text(path)
    except OSError as error:
        raise InputError.of(path.name, error.strerror or "unreadable", "give the sheet's path") from None
    except (UnicodeDecodeError, csv.Error) as broken:
        raise InputError.of(
            path.name, f"not a UTF-8 table: {broken}", "save it as TSV or CSV, UTF-8"
        ) from None
    return [["" if cell.casefold() in MISSING else cell for cell in line] for line in lines]


def _text(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        header = handle.readline()
        handle.seek(0)
        delimiter = "\t"
        if path.suffix.lower() == ".csv":
            delimiter = ";" if ";" in header and "," not in header else ","
        # the mark at the start is read again after seek
        return [
            [cell.strip().lstrip("\ufeff") for cell in line]
            for line in csv.reader(handle, delimiter=delimiter)
        ]


def _workbook(path: Path) -> list[list[str]]:
    from zipfile import BadZipFile

    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (BadZipFile, InvalidFileException, KeyError, ValueError) as broken:
        raise InputError.of(
            path.name, f"not an Excel workbook: {broken}", "save it as .xlsx, or as CSV"
        ) from None
    try:
        rows = [[_cell(value) for value in row] for row in book.worksheets[0].iter_rows(values_only=True)]
    finally:
        book.close()
    width = max(
        (len(row) - row[::-1].index(next(filter(None, row[::-1]))) for row in rows if any(row)), default=0
    )
    return [row[:width] for row in rows]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()
