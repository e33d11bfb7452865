"""Sheets are checked whole: every problem with its row and column, before anything runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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
    assert "row 3, slide_id: 's1' stands already in row 2" in text
    assert "row 4, slide_id: 'S1' stands already in row 2" in text
    assert "row 3, mpp: found 99.0" in text
    assert "row 4, path: no file 'none.svs'" in text
    assert "row 5, patient_id: empty" in text
    assert "row 5, mpp: found 'x'" in text


def test_an_excluded_slide_may_miss_its_file(folder: Path) -> None:
    path = write(
        folder, "slides.tsv", "slide_id\tpatient_id\tcohort\tpath\texclude\ns1\tp1\tc\tgone.svs\tlost disk\n"
    )
    assert read_slides(path)[0].exclude == "lost disk"


def test_unknown_and_missing_columns_are_named(folder: Path) -> None:
    path = write(folder, "slides.tsv", "slide\tpatient_id\tcohort\tpath\n")
    text = problems(read_slides, path)
    assert "unknown column 'slide'" in text
    assert "no column 'slide_id'" in text


@pytest.mark.parametrize("days", ["0", "-3", "nan", "inf", "soon"])
def test_impossible_survival_times_are_refused(folder: Path, days: str) -> None:
    path = write(folder, "patients.tsv", PATIENTS + f"p1\tc\tWT\t50\t{days}\t1\n")
    assert "patients.tsv row 2, survival_days: found" in problems(read_patients, path)


def test_survival_without_event_is_refused(folder: Path) -> None:
    path = write(folder, "patients.tsv", PATIENTS + "p1\tc\tWT\t50\t12\t\n")
    assert "row 2, event: empty although survival_days is given" in problems(read_patients, path)


def test_empty_cells_are_missing_values(folder: Path) -> None:
    path = write(folder, "patients.tsv", PATIENTS + "p1\tc\t\t\t\t\n")
    patients = read_patients(path)
    assert patients.loc["p1", "idh"] is None
    assert np.isnan(patients.loc["p1", "age_years"])
    assert patients.loc["p1", "diagnosis"] is None


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
