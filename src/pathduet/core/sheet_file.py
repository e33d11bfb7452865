"""Read a user's table, TSV, CSV or XLSX by its suffix, as text cells."""

from __future__ import annotations

import codecs
import csv
import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from pathduet.core.errors import InputError, Problem, Problems
from pathduet.core.plural import plural

#: Cells that mean a missing value, ignoring case.
MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "nan", "null", "not available", "[not available]", "[not applicable]", "[unknown]",
     "[discrepancy]", "[not evaluated]", "not reported"}
)  # fmt: skip
SUFFIXES = (".tsv", ".txt", ".csv", ".xlsx")
#: No text sheet is larger when unpacked; a larger workbook would fill the memory.
_LARGEST_WORKBOOK_MIB = 256
#: A cell with a formula but no value, which would be read as empty. An empty text is a value.
_WITHOUT_VALUE = re.compile(
    rb'<c(?:(?! t="str")[^>])*>\s*<f(?:[^>]*/>|[^>]*>[^<]*</f>)\s*(?:<v>\s*</v>|<v\s*/>)?\s*</c>'
)


def open_text(path: Path) -> TextIO:
    """Open a table of text, gzipped or not: UTF-8, or UTF-16 with a BOM (Excel's "Unicode text"); keep line ends."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as handle:
        start = handle.read(4)
    wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return cast(TextIO, opener(path, "rt", encoding="utf-16" if wide else "utf-8-sig", newline=""))


def rows_below(
    header: Sequence[str], lines: Sequence[list[str]], label: str, problems: Problems
) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each row below a header, padded to its length; skip empty rows, report longer ones."""
    for number, cells in enumerate(lines, 2):
        if any(cells) and len(cells) > len(header):
            problems.append(too_many_cells(cells, header, f"{label} row {number}"))
        elif any(cells):
            yield number, cells + [""] * (len(header) - len(cells))


def too_many_cells(cells: Sequence[str], header: Sequence[str], where: str) -> Problem:
    """Return the problem of a row that is longer than its header."""
    r_names = len(cells) == len(header) + 1
    advice = (
        "give the first column a name (R's write.table leaves it out: col.names = NA), or " if r_names else ""
    )
    found = f"{plural(len(cells), 'cell')} under {plural(len(header), 'column')}"
    return Problem(where, found, f"{advice}quote cells that hold a delimiter")


def read_lines(path: Path) -> list[list[str]]:
    """Return a table's lines, header first, every cell stripped; cells of :data:`MISSING` are empty.

    Reads a workbook's first visible sheet; its whole numbers lose their ``.0``. A CSV file without a comma in its header may be
    separated by semicolons.

    Raises
    ------
    InputError
        If the file is missing, of another kind, or not a table.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError.of(path.name, f"ends in {path.suffix!r}", f"give one of {', '.join(SUFFIXES)}")
    try:
        lines = _workbook(path) if path.suffix.lower() == ".xlsx" else _text(path)
    except OSError as error:
        raise InputError.of(path.name, error.strerror or "unreadable", "give the sheet's path") from None
    except UnicodeError as broken:
        found = f"neither UTF-8 nor UTF-16 text: {broken}"
        raise InputError.of(path.name, found, "save it as TSV or CSV, UTF-8") from None
    except csv.Error as broken:
        raise InputError.of(path.name, f"not a table: {broken}", "close every quote; save it again") from None
    return lines


class _Cells(dict[str, str]):
    """Each different cell as read, and as kept: stripped, empty if its value is missing. Equal cells share their memory."""

    def __missing__(self, read: str) -> str:
        if "\0" in read:
            raise csv.Error("it holds NUL bytes")
        # the BOM at the start is read again after seek
        cell = read.strip().lstrip("\ufeff")
        kept = self[read] = "" if cell.casefold() in MISSING else cell
        return kept


def _text(path: Path) -> list[list[str]]:
    with open_text(path) as handle:
        header = handle.readline()
        handle.seek(0)
        delimiter = "\t"
        if path.suffix.lower() == ".csv":
            delimiter = ";" if ";" in header and "," not in header else ","
        kept = _Cells()
        # strict: a quote that is never closed would swallow the rows below it
        return [
            [kept[cell] for cell in line] for line in csv.reader(handle, delimiter=delimiter, strict=True)
        ]


def _workbook(path: Path) -> list[list[str]]:
    from zipfile import ZipFile

    from openpyxl import load_workbook

    try:
        with ZipFile(path) as parts:
            size = sum(part.file_size for part in parts.infolist()) / 2**20
            entities = any(b"<!ENTITY" in parts.open(part).read(4096) for part in parts.infolist())
        if entities or size > _LARGEST_WORKBOOK_MIB:
            raise ValueError("it declares XML entities" if entities else f"it unpacks to {size:.0f} MiB")
        book = load_workbook(path, read_only=True, data_only=True)
        sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"] or book.worksheets
        rows = [[_cell(value) for value in row] for row in sheets[0].iter_rows(values_only=True)]
        book.close()
        with ZipFile(path) as parts:
            if _WITHOUT_VALUE.search(parts.read(sheets[0]._worksheet_path)):
                raise ValueError(
                    "it holds formulas without values, which no spreadsheet program has computed"
                )
    except OSError:
        raise
    # openpyxl passes on whatever its zip and XML readers raise on a damaged file
    except Exception as broken:
        advice = "open it in a spreadsheet program and save it as .xlsx, or as CSV"
        raise InputError.of(path.name, f"not an Excel workbook that can be read: {broken}", advice) from None
    width = max(
        (len(row) - row[::-1].index(next(filter(None, row[::-1]))) for row in rows if any(row)), default=0
    )
    kept = _Cells()
    return [[kept[cell] for cell in row[:width]] for row in rows]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()
