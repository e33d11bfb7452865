"""The ledger holds every slide of the sheet exactly once, or refuses to be written."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pathduet.cohort.ledger import LedgerError, build_ledger, lost_slides, read_ledger, summarise
from pathduet.cohort.participation import participation
from pathduet.cohort.sheets import SlideRow
from pathduet.core.ids import is_id

SLIDES = [SlideRow(f"s{i}", f"p{i}", "c", Path(f"s{i}.svs")) for i in range(3)]
ROWS = [("s0", "ok", ""), ("s1", "failed", "no_mpp"), ("s2", "excluded", "excluded")]


def manifest(tmp_path: Path, name: str, rows: list[tuple[str, str, str]]) -> Path:
    path = tmp_path / name
    table = pd.DataFrame(rows, columns=["slide_id", "status", "reason"])
    table.assign(message="", n_10x=5, n_20x=9).to_csv(path, sep="\t", index=False)
    return path


def test_every_slide_has_one_row_whatever_the_batches(tmp_path: Path) -> None:
    parts = [manifest(tmp_path, "b.tsv", ROWS[1:]), manifest(tmp_path, "a.tsv", ROWS[:1])]
    ledger = build_ledger(SLIDES, parts)
    assert list(ledger["slide_id"]) == ["s0", "s1", "s2"]
    assert summarise(ledger) == "1 of 3 slides used; not used: 1 excluded, 1 no_mpp"
    assert list(lost_slides(ledger)["slide_id"]) == ["s1"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[:2], "s2: no row"),
        ([*ROWS, ROWS[0]], "s0: 2 rows"),
        ([*ROWS, ("s9", "ok", "")], "s9: not in the sheet"),
        ([*ROWS[:2], ("s2", "lost", "")], "unknown status 'lost'"),
        ([*ROWS[:2], ("s2", "ok", "no_mpp")], "status 'ok' with reason"),
        ([*ROWS[:2], ("s2", "failed", "")], "status 'failed' with reason"),
        ([*ROWS[:2], ("s2", "failed", "bad luck")], "unknown reason"),
    ],
)
def test_counts_that_do_not_add_up_are_refused(
    tmp_path: Path, rows: list[tuple[str, str, str]], message: str
) -> None:
    with pytest.raises(LedgerError, match=message):
        build_ledger(SLIDES, [manifest(tmp_path, "a.tsv", rows)])


def test_participation_tells_who_took_part_in_what(tmp_path: Path) -> None:
    ledger = build_ledger(SLIDES, [manifest(tmp_path, "a.tsv", ROWS)])
    patients = pd.DataFrame({"cohort": ["c"] * 4}, index=["p0", "p1", "p2", "p3"])
    table = participation(ledger, patients, ["p0", "p1"], {"grading": ["p0", "p1", "p3"]}).set_index(
        "patient_id"
    )
    assert list(table["grading"]) == ["both", "expression", "no label", "no data"]
    assert list(table["n_slides"]) == [1, 1, 1, 0]
    assert list(table["expression"]) == ["yes", "yes", "no", "no"]


@pytest.mark.parametrize("slide_id", ["S1\n", "../S1", "", "S 1", "x" * 121])
def test_an_id_that_no_sheet_can_have_is_refused(tmp_path: Path, slide_id: str) -> None:
    assert is_id("S1") and not is_id(slide_id)
    table = pd.DataFrame({"slide_id": [slide_id], "status": ["ok"], "n_10x": ["1"], "n_20x": ["1"]})
    table.to_csv(tmp_path / "ledger.tsv", sep="\t", index=False)
    with pytest.raises(LedgerError, match="is not a slide_id"):
        read_ledger(tmp_path / "ledger.tsv")
