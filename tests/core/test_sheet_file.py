"""Tables of people: any encoding with a mark, no row swallowed or shifted, damaged workbooks refused in words."""

from __future__ import annotations

import gzip
import random
import re
import zipfile
from pathlib import Path

import pytest

from pathduet.core.errors import InputError
from pathduet.core.sheet_file import open_text, read_lines
from pathduet.core.text_table import read_columns
from pathduet.importers.clinical_values import read_table

LINES = [["id", "größe"], ["P1", "#3 \N{GREEK SMALL LETTER MU}m"]]
TEXT = "id\tgröße\r\nP1\t#3 \N{GREEK SMALL LETTER MU}m\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_marked_encodings_are_read_and_unmarked_wide_ones_refused(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(TEXT.encode(encoding))
    if encoding.endswith("e"):
        with pytest.raises(InputError, match=r"t\.tsv"):
            read_lines(path)
    else:
        assert read_lines(path) == LINES
        (tmp_path / "t.tsv.gz").write_bytes(gzip.compress(TEXT.encode(encoding)))
        with open_text(tmp_path / "t.tsv.gz") as handle:
            assert handle.read() == TEXT


@pytest.mark.parametrize("name", ["t.tsv", "t.csv"])
def test_a_quote_that_is_never_closed_swallows_no_rows(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('id\nP1\n"P2\nP3\n')
    with pytest.raises(InputError, match="close every quote"):
        read_lines(tmp_path / name)


def test_a_header_without_its_corner_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "r.tsv").write_text('"patient_id"\t"OS"\t"OS.time"\n"1"\t"P01"\t1\t300\n')
    with pytest.raises(
        InputError, match=r"r\.tsv row 2: 4 cells under 3 columns; give the first column a name"
    ):
        read_table(tmp_path / "r.tsv")


def workbook(path: Path) -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["patient_id", "age"], ["P1", 50], ["P2", 60.5]):
        book.active.append(row)
    book.save(path)
    return path.read_bytes()


def test_the_first_sheet_is_the_one_that_a_spreadsheet_program_shows(tmp_path: Path) -> None:
    import openpyxl

    workbook(tmp_path / "t.xlsx")
    book = openpyxl.load_workbook(tmp_path / "t.xlsx")
    book.create_sheet("before", 0).append(["patient_id", "age"])
    book["before"].sheet_state = "hidden"
    book.active = 1
    book.save(tmp_path / "t.xlsx")
    assert len(read_lines(tmp_path / "t.xlsx")) == 3


def with_sheet(source: Path, target: Path, sheet: bytes) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, sheet if name.endswith("sheet1.xml") else old.read(name))


def test_workbooks_that_would_fill_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workbook(tmp_path / "w.xlsx")
    assert read_lines(tmp_path / "w.xlsx") == [["patient_id", "age"], ["P1", "50"], ["P2", "60.5"]]
    with_sheet(tmp_path / "w.xlsx", tmp_path / "b.xlsx", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>')
    with pytest.raises(InputError, match="declares XML entities"):
        read_lines(tmp_path / "b.xlsx")
    with_sheet(tmp_path / "w.xlsx", tmp_path / "z.xlsx", b" " * (3 << 20))
    monkeypatch.setattr("pathduet.core.sheet_file._LARGEST_WORKBOOK_MIB", 2)
    with pytest.raises(InputError, match="unpacks to 3 MiB"):
        read_lines(tmp_path / "z.xlsx")


def test_formulas_that_nothing_computed_are_not_read_as_empty(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["patient_id", "days"], ["P1", "=30*12"]):
        book.active.append(row)
    book.save(tmp_path / "f.xlsx")
    with pytest.raises(InputError, match="formulas without values"):
        read_lines(tmp_path / "f.xlsx")
    # as a spreadsheet program stores a number, and an empty text
    sheet = zipfile.ZipFile(tmp_path / "f.xlsx").read("xl/worksheets/sheet1.xml")
    for name, cell, value in (("v", b'<c r="B2">', b"360"), ("e", b'<c r="B2" t="str">', b"")):
        stored = re.sub(rb'<c r="B2"[^>]*>(<f>.*?</f>).*?</c>', cell + rb"\1<v>" + value + b"</v></c>", sheet)
        with_sheet(tmp_path / "f.xlsx", tmp_path / f"{name}.xlsx", stored)
        assert read_lines(tmp_path / f"{name}.xlsx")[1] == ["P1", value.decode()]


@pytest.mark.slow
def test_damaged_tables_are_read_or_refused_in_words(tmp_path: Path) -> None:
    """Bytes changed, cut and random: never another exception."""
    rng, whole = random.Random(3), {".xlsx": workbook(tmp_path / "w.xlsx")}
    whole |= {ending: TEXT.encode() for ending in (".tsv", ".csv")}
    refused = 0
    for number in range(150):
        ending = rng.choice(list(whole))
        content = bytearray(whole[ending])
        if number % 3 == 0:
            for _ in range(rng.choice([1, 3, 20])):
                content[rng.randrange(len(content))] = rng.randrange(256)
        elif number % 3 == 1:
            del content[rng.randrange(len(content)) :]
        else:
            content = bytearray(rng.randbytes(rng.choice([0, 1, 200])))
        path = tmp_path / f"m{ending}"
        path.write_bytes(content)
        try:
            read_lines(path)
        except InputError:
            refused += 1
    assert refused > 50


def test_columns_that_nobody_asks_for_may_stand_twice(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("note\tpatient_id\tnote\n\n1\tP1\n2\tP2\t3\n")
    table = read_columns(path, ["patient_id"], ["slide_id"], advice="")
    assert table.reset_index().to_numpy().tolist() == [[3, "P1", ""], [4, "P2", ""]]
