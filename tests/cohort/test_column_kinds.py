"""What a table's columns hold: recognised by names and values, and doubtful where both leave room."""

from __future__ import annotations

import pytest

from pathduet.cohort.codings import words_of
from pathduet.cohort.column_kinds import ColumnKind, column_kinds


def only(**columns: list[str]) -> ColumnKind:
    (kind,) = column_kinds({name.replace("__", "."): cells for name, cells in columns.items()}, 3)
    return kind


TIMES = ["10", "20", "30.5", "41", "50", "60"]


@pytest.mark.parametrize(
    ("event", "cells", "entry"),
    [
        ("OS_STATUS", ["1:DECEASED", "0:LIVING"], {"column": "OS_STATUS", "observed": "1:DECEASED", "censored": "0:LIVING"}),
        ("os_event", ["1", "0"], "os_event"),
        ("os_censorship", ["0", "1"], {"column": "os_censorship", "observed": "0", "censored": "1"}),
        ("os", ["dead", "alive"], {"column": "os", "observed": "dead", "censored": "alive"}),
        ("os (2=dead, 1=alive)", ["2", "1"], {"column": "os (2=dead, 1=alive)", "observed": "2", "censored": "1"}),
        ("os_event_observed", ["yes", "no"], {"column": "os_event_observed", "observed": "yes", "censored": "no"}),
    ],
)  # fmt: skip
def test_endpoints_are_pairs_of_one_name(event: str, cells: list[str], entry: object) -> None:
    kind = only(os_months=TIMES, **{event: cells * 3})
    assert kind.entry == {"kind": "survival", "time": "os_months", "event": entry, "unit": "months"}
    assert (kind.name, kind.doubt) == ("os", "")
    assert f"3 events ({event} = {cells[0]})" in kind.counts


def test_several_endpoints_keep_to_their_own() -> None:
    table = {"PFI.time.days": TIMES, "OS.days": TIMES, "PFI": ["0", "1"] * 3, "OS": ["1", "0"] * 3}
    kinds = column_kinds(table, 3)
    assert [(kind.name, kind.columns) for kind in kinds] == [
        ("pfi", ("PFI.time.days", "PFI")),
        ("os", ("OS.days", "OS")),
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"OS__time": TIMES, "OS": ["1", "0"] * 3}, "does not state its unit"),
        ({"os_days": TIMES, "os_status": ["1", "2"] * 3}, "which value means that the event happened"),
        ({"os_days": TIMES, "os_censor": ["1", "0"] * 3}, "either meaning of 1"),
        (
            {"os_months": ["300", "900", "1448"] * 2, "os_event": ["1", "0"] * 3},
            "says months, but holds 1448",
        ),
        ({"os_days": TIMES, "os_months": TIMES, "os_event": ["1", "0"] * 3}, "are times"),
        ({"pfs_days": TIMES, "event": ["1", "0"] * 3}, "do not show that they belong together"),
    ],
)
def test_an_endpoint_that_can_be_read_in_two_ways_is_doubtful(
    columns: dict[str, list[str]], said: str
) -> None:
    table = {name.replace("__", "."): cells for name, cells in columns.items()}
    assert said in column_kinds(table, 3)[0].doubt


@pytest.mark.parametrize(
    ("cells", "order", "ordered"),
    [
        (
            ["Stage IIB", "Stage I", "Stage IV", "Stage IIA"],
            ["Stage I", "Stage IIA", "Stage IIB", "Stage IV"],
            True,
        ),
        (["G3", "G1", "G10", "G2"], ["G1", "G2", "G3", "G10"], True),
        (["3+", "0", "2+", "1+"], ["0", "1+", "2+", "3+"], True),
        (["high", "low", "medium"], ["low", "medium", "high"], True),
        (["luminal B", "basal", "luminal A"], ["basal", "luminal A", "luminal B"], None),
        (["mutant", "WT"], ["WT", "mutant"], None),
    ],
)
def test_classes_are_ordered_only_where_they_are_steps(
    cells: list[str], order: list[str], ordered: bool | None
) -> None:
    kind = only(marker=cells * 3)
    assert (kind.entry["classes"], kind.entry.get("ordered"), kind.doubt) == (order, ordered, "")


def test_a_grade_that_could_not_be_assessed_counts_as_empty() -> None:
    kind = only(grade=["G1", "G2", "G3"] * 3 + ["GX"])
    assert kind.entry["missing_values"] == ["GX"] and "GX (1) counts as empty" in kind.counts


def test_rare_classes_need_a_decision() -> None:
    kind = only(subtype=["IDC"] * 5 + ["ILC"] * 4 + ["other"])
    assert kind.entry["classes"] == ["IDC", "ILC"] and kind.entry["missing_values"] == ["other"]
    assert "fewer have other (1)" in kind.doubt


@pytest.mark.parametrize(
    ("name", "cells", "what", "section", "doubtful"),
    [
        ("ki67", [str(i / 2) for i in range(20)], "number", "tasks", False),
        ("nodes", ["0", "1", "2", "3"] * 4, "ordered classes", "tasks", True),
        ("gleason_score", ["6", "7", "8"] * 4, "ordered classes", "tasks", False),
        ("age_at_surgery", [str(i) for i in range(40, 60)], "covariate", "covariates", False),
        ("Gender", ["F", "M"] * 4, "covariate", "covariates", False),
        ("year", [str(i) for i in range(2000, 2015)], "number", "tasks", True),
        ("ki67", [str(i) for i in range(20)] + ["<1"], "numbers and texts", "tasks", True),
        ("report", [f"text {i}" for i in range(20)], "text", "", False),
        ("scanner", ["A", "B"] * 4, "source, no finding", "", False),
        ("vital_status", ["Dead", "Alive"] * 4, "two classes", "tasks", True),
        ("idh_status", ["WT", "mutant"] * 4, "two classes", "tasks", False),
        ("batch", ["", ""], "empty", "", False),
        ("histology", ["IDC"] * 4, "constant", "", False),
    ],
)
def test_single_columns(name: str, cells: list[str], what: str, section: str, doubtful: bool) -> None:
    kind = only(**{name: cells})
    assert (kind.what, kind.section, bool(kind.doubt)) == (what, section, doubtful)


def test_names_of_tasks_are_those_of_a_configuration_and_never_the_same() -> None:
    kinds = column_kinds(
        {"1p/19q": ["a", "b"] * 3, "ER status": ["a", "b"] * 3, "er_status": ["c", "d"] * 3}, 3
    )
    assert [kind.name for kind in kinds] == ["label_1p_19q", "er_status", "er_status_2"]


def test_a_label_without_a_telling_name_is_no_event() -> None:
    kinds = column_kinds({"survival_days": TIMES, "event": ["1", "0"] * 3, "y": ["1", "0"] * 3}, 3)
    assert [(kind.what, kind.doubt) for kind in kinds] == [("survival", ""), ("two classes", "")]


def test_words_of_names() -> None:
    assert words_of("OS.time") == ["os", "time"] and words_of("DaysToDeath") == ["days", "to", "death"]


@pytest.mark.parametrize(
    ("column", "cells", "doubt"),
    [
        ("cdkn2a", ["-2", "0"], "probably copy-number calls (-2 deep deletion, 0 no change): name the classes"),
        ("cdkn2a", ["-2", "-1", "0"], "probably copy-number calls (-2 deep deletion, -1 shallow deletion, 0 no change): steps"),
        ("response", ["1", "2"], "numbers that stand for classes: name"),
        ("response", ["0", "1"], ""),
        ("grade", ["3", "4"], ""),
    ],
)  # fmt: skip
def test_numbers_that_stand_for_classes_are_doubtful(column: str, cells: list[str], doubt: str) -> None:
    kind = only(**{column: cells * 3})
    assert kind.entry["kind"] == "classification"
    assert kind.doubt.startswith(doubt) and bool(kind.doubt) == bool(doubt)
