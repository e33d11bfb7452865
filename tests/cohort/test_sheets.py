"""Sheets are checked whole: every problem with its row and column, before anything runs."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from pathduet.cohort.sheets import read_patients, read_sheets, read_slides
from pathduet.core.errors import InputError

PATIENTS = "patient_id\tcohort\tidh\tage_years\tsurvival_days\tevent\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.svs").write_bytes(b"x")
    return tmp_path


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(call: object, *args: object) -> str:
    with pytest.raises(InputError) as caught:
        call(*args)  # type: ignore[operator]
    return "\n".join(str(problem) for problem in caught.value.problems)


def test_a_good_sheet_is_read_with_paths_relative_to_it(folder: Path) -> None:
    path = write(folder, "slides.tsv", "slide_id\tpatient_id\tcohort\tpath\tmpp\ns1\tp1\tc\ta.svs\t0.5\n")
    (slide,) = read_slides(path)
    assert slide.path == folder / "a.svs"
    assert slide.mpp == 0.5
    assert slide.exclude == ""


@pytest.mark.parametrize("text", ["", "slide_id\tpatient_id\tcohort\tpath\n"])
def test_an_empty_sheet_is_refused(folder: Path, text: str) -> None:
    assert "slides.tsv" in problems(read_slides, write(folder, "slides.tsv", text))


@pytest.mark.parametrize("bad", ["../etc", "a/b", ".hidden", "a b", "-rf", "", "a\\b", "x" * 200])
def test_ids_that_could_leave_the_folder_are_refused(folder: Path, bad: str) -> None:
    path = write(folder, "slides.tsv", f"slide_id\tpatient_id\tcohort\tpath\n{bad}\tp1\tc\ta.svs\n")
    assert "row 2, slide_id" in problems(read_slides, path)


def test_all_problems_come_in_one_message(folder: Path) -> None:
    rows = ["s1\tp1\tc\ta.svs\t0.5", "s1\tp1\tc\ta.svs\t99", "S1\tp1\tc\tnone.svs\t", "s4\t\tc\ta.svs\tx"]
    path = write(folder, "slides.tsv", "slide_id\tpatient_id\tcohort\tpath\tmpp\n" + "\n".join(rows) + "\n")
    text = problems(read_slides, path)
    assert "row 3, slide_id: 's1' is already in row 2" in text
    assert "row 4, slide_id: 'S1' is already in row 2" in text
    assert "row 3, mpp: found 99.0" in text
    assert "row 4, path: no file 'none.svs'" in text
    assert "row 5, patient_id: empty" in text
    assert "row 5, mpp: found 'x'" in text


def test_an_excluded_slide_may_miss_its_file(folder: Path) -> None:
    path = write(
        folder, "slides.tsv", "slide_id\tpatient_id\tcohort\tpath\texclude\ns1\tp1\tc\tgone.svs\tlost disk\n"
    )
    assert read_slides(path)[0].exclude == "lost disk"


def test_missing_and_misspelt_columns_are_named(folder: Path) -> None:
    path = write(folder, "slides.tsv", "slide\tpatient_id\tcohort\tpath\n")
    assert "no column 'slide_id'" in problems(read_slides, path)
    path = write(folder, "slides.tsv", "barcode\tpatient_id\tcohort\tpath\texlude\n")
    text = problems(read_slides, path)
    assert "no column 'slide_id'" in text
    assert "column 'exlude'; did you mean exclude?" in text


def test_a_patient_sheet_keeps_every_column_as_text(folder: Path) -> None:
    path = write(
        folder, "patients.tsv", "patient_id\tcohort\ther2\tki67\tnotes\np1\tc\tpos\t12.50\t\np2\tc\tNA\t\t\n"
    )
    patients = read_patients(path)
    assert patients.columns.tolist() == ["cohort", "her2", "ki67", "notes"]
    assert patients.loc["p1"].tolist() == ["c", "pos", "12.50", None]
    assert patients.loc["p2"].tolist() == ["c", None, None, None]


@pytest.mark.parametrize("name", ["p.tsv", "p.csv", "semicolons.csv", "p.xlsx"])
def test_sheets_of_every_kind_say_the_same(folder: Path, name: str) -> None:
    rows = [
        ["patient_id", "cohort", "stage", "age"],
        ["p1", "c", "III", 61],
        ["p2", "c", None, 50.5],
        ["3", "c", "I", 40.0],
    ]
    if name.endswith(".xlsx"):
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(folder / name)
        path = folder / name
    else:
        mark = {"p.tsv": "\t", "p.csv": ","}.get(name, ";")
        cells = [
            ["" if c is None else f"{c:g}" if isinstance(c, float) else str(c) for c in row] for row in rows
        ]
        path = write(folder, name, "\ufeff" + "\n".join(mark.join(row) for row in cells) + "\n")
    patients = read_patients(path)
    assert patients.index.tolist() == ["p1", "p2", "3"]
    assert patients["stage"].tolist() == ["III", None, "I"]
    assert patients["age"].tolist() == ["61", "50.5", "40"]


def test_another_kind_of_file_is_refused(folder: Path) -> None:
    assert "ends in '.ods'" in problems(read_patients, write(folder, "patients.ods", "x"))
    assert "not an Excel workbook" in problems(read_patients, write(folder, "patients.xlsx", "patient_id"))


def test_the_slides_sheet_stands_for_both_where_there_is_no_other(folder: Path) -> None:
    header = "slide_id,patient_id,path,her2,age\n"
    slides = write(folder, "slides.csv", header + "s1,p1,a.svs,pos,50\ns2,p1,a.svs,,50\ns3,p2,a.svs,neg,\n")
    found, patients = read_sheets(slides, None)
    assert [slide.slide_id for slide in found] == ["s1", "s2", "s3"]
    assert patients.index.tolist() == ["p1", "p2"]
    assert patients["cohort"].tolist() == ["cohort", "cohort"]
    assert patients["her2"].tolist() == ["pos", "neg"]
    assert patients["age"].tolist() == ["50", None]
    assert "path" not in patients
    torn = write(folder, "slides.csv", header + "s1,p1,a.svs,pos,50\ns2,p1,a.svs,neg,50\n")
    assert "row 3, her2: 'neg', but 'pos' in row 2 of the same patient" in problems(read_sheets, torn, None)


def test_patients_alone_are_a_cohort_without_slides(folder: Path) -> None:
    slides, patients = read_sheets(None, write(folder, "patients.tsv", "patient_id\tos\np1\t3\n"))
    assert slides == [] and patients.index.tolist() == ["p1"]
    assert "neither slides nor patients" in problems(read_sheets, None, None)


def test_sheets_that_contradict_each_other_are_refused(folder: Path) -> None:
    slides = write(
        folder, "slides.tsv", "slide_id\tpatient_id\tcohort\tpath\ns1\tp9\tc\ta.svs\ns2\tp1\td\ta.svs\n"
    )
    patients = write(folder, "patients.tsv", PATIENTS + "p1\tc\tWT\t50\t12\t1\n")
    text = problems(read_sheets, slides, patients, ["e"])
    assert "patient 'p9' has no row in patients.tsv" in text
    assert "slide s2, cohort: 'd', but the patient's is 'c'" in text
    assert "no patient of cohort 'e'" in text
    assert "'c' is in neither cohorts.internal nor cohorts.external" in text
