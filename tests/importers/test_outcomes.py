"""Survival from several rows and files: status and time of one row, the later follow-up, death after life, contradictions named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pathduet.cohort.sheets import read_patients
from pathduet.importers.outcomes import Outcome, settle
from pathduet.importers.report import ImportReport
from pathduet.importers.tcga import import_tcga


def outcomes(*rows: tuple[float | None, float | None]) -> list[Outcome]:
    return [Outcome(f"row {number}", event, days) for number, (event, days) in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0, 182), (1, 650)], (650, 1, "")),
        ([(1, 650), (0, 182)], (650, 1, "")),
        ([(0, 300), (0, 800), (0, 90)], (800, 0, "")),
        ([(0, None), (0, 800)], (800, 0, "")),
        ([(1, None), (1, 900)], (900, 1, "")),
        ([(1, None)], (None, 1, "")),
        ([(None, 400), (1, 650)], (650, 1, "")),
        ([(None, 400)], (400, None, "")),
        ([(1, None), (0, 90)], (None, None, "dead without a time in one row, alive in another")),
        ([(1, 650), (0, 700)], (None, None, "alive after the time of the event")),
        ([(1, 650), (1, 700)], (None, None, "rows give different times of the event")),
        ([(None, 400), (None, 500)], (None, None, "rows give different times, and none a status")),
    ],
)
def test_rows_are_settled(
    rows: list[tuple[float | None, float | None]], expected: tuple[object, ...]
) -> None:
    assert settle(outcomes(*rows)) == expected


def test_days_that_were_rounded_to_months_are_no_contradiction() -> None:
    rows = [
        Outcome("days", 1.0, 1448),
        Outcome("months", 1.0, 1460.99, 15.2),
        Outcome("months", 0.0, 1460.99, 15.2),
    ]
    assert settle(rows) == (1448, 1.0, "")


def imported(tmp_path: Path, **files: str) -> tuple[dict[str, tuple[str | None, str | None]], ImportReport]:
    """Import slides of four patients with clinical tables and labels; (days, event) of the last digit of each id."""
    for number in "1234":
        folder = tmp_path / "dl" / number
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"TCGA-02-000{number}-01Z-00-DX1.a.svs").write_bytes(b"x")
    paths = {}
    for name, text in files.items():
        paths[name] = tmp_path / f"{name}.tsv"
        paths[name].write_text(text)
    labels = [paths.pop("labels")] if "labels" in paths else None
    report = import_tcga(
        tmp_path / "o", downloads=tmp_path / "dl", clinical=list(paths.values()), labels=labels
    )
    patients = read_patients(tmp_path / "o" / "patients.tsv").reindex(columns=["survival_days", "event"])
    return {patient[-1]: (days, event) for patient, days, event in patients.itertuples()}, report


BIOTAB = "".join(
    f"{first}\tvital_status\tlast_contact_days_to\tdeath_days_to\n" for first in ("bcr_patient_barcode", "bcr_patient_barcode")
) + "CDE_ID:2\tCDE_ID:5\tCDE_ID:3\tCDE_ID:4\n"  # fmt: skip


def biotab(*rows: str) -> str:
    return BIOTAB + "".join(f"TCGA-02-000{number}\t{row}\n" for number, row in enumerate(rows, 1))


@pytest.mark.slow
def test_follow_up_files_are_joined_row_by_row(tmp_path: Path) -> None:
    missing = "[Not Available]"
    found, report = imported(
        tmp_path,
        patient=biotab(f"Alive\t182\t{missing}", f"Dead\t{missing}\t{missing}", f"Alive\t{missing}\t{missing}", f"Alive\t300\t{missing}"),
        follow_up=biotab(f"Dead\t{missing}\t650", f"Alive\t90\t{missing}", f"Dead\t{missing}\t900", f"Alive\t800\t{missing}"),
    )  # fmt: skip
    assert found == {"1": ("650.0", "1"), "2": (None, None), "3": ("900.0", "1"), "4": ("800.0", "0")}
    (lost,) = report.dropped
    assert (lost.name, lost.reason) == (
        "TCGA-02-0002.survival",
        "dead without a time in one row, alive in another",
    )
    assert lost.found == "dead (patient.tsv row 5); alive at 90 (follow_up.tsv row 5)"


@pytest.mark.slow
def test_a_status_is_never_joined_with_the_time_of_another_table(tmp_path: Path) -> None:
    found, report = imported(
        tmp_path,
        clinical="case_submitter_id\tvital_status\tdays_to_death\tdays_to_last_follow_up\nTCGA-02-0001\tAlive\t'--\t'--\n"
        "TCGA-02-0002\tDead\t'--\t'--\nTCGA-02-0003\tNot Reported\t'--\t400\nTCGA-02-0004\tAlive\t'--\t300\n",
        labels="Case\tGrade\tSurvival (months)\tVital status (1=dead)\nTCGA-02-0001\tG2\t40.5\t1\nTCGA-02-0002\tG4\t3.2\t0\n"
        "TCGA-02-0003\tG4\t20\t1\nTCGA-02-0004\tG3\t50\t1\n",
    )
    assert found == {"1": ("1232.72", "1"), "2": (None, None), "3": ("608.75", "1"), "4": ("1521.88", "1")}
    assert [lost.name for lost in report.dropped] == ["TCGA-02-0002.survival"]


@pytest.mark.slow
def test_follow_up_rows_of_one_file(tmp_path: Path) -> None:
    found, report = imported(
        tmp_path,
        fu="case_submitter_id\tvital_status\tdays_to_death\tdays_to_last_follow_up\nTCGA-02-0001\tAlive\t'--\t300\n"
        "TCGA-02-0001\tDead\t900\t'--\nTCGA-02-0002\tAlive\t900\t500\nTCGA-02-0003\tAlive\t'--\t0\nTCGA-02-0004\tDead\t0\t'--\n",
    )
    assert found == {"1": ("900.0", "1"), "2": (None, None), "3": (None, None), "4": (None, None)}
    reasons = {lost.name[-10:]: lost.reason for lost in report.dropped[1:]}
    assert report.dropped[0].reason == "alive, but with a time of death"
    assert reasons["3.survival"] == reasons["4.survival"] == "survival is not above 0 days"


def test_a_biotab_file_is_read_by_its_barcodes_and_tables_that_contradict_it_are_named(
    tmp_path: Path,
) -> None:
    header = "bcr_patient_barcode\tpatient_id\tgender\tvital_status\tdeath_days_to\n"
    found, report = imported(
        tmp_path,
        patient=2 * header + "CDE_ID:1\tCDE_ID:2\t\t\t\nTCGA-02-0001\t0001\tFEMALE\tDead\t358\n",
        labels="Case\tGender\tIDH status\nTCGA-02-0001\tmale\tWT\n",
    )
    assert found["1"] == ("358.0", "1")
    lost = {one.name: (one.reason, one.found) for one in report.dropped}
    reason = "tables contradict each other in sex: the first one counts"
    assert lost["TCGA-02-0001.sex"] == (reason, "female, then male")
