"""Labels of every kind of task: what becomes one, what is missing and why, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pathduet.cohort.labels import column_problems, natural_order, task_labels, with_classes
from pathduet.cohort.tasks import Task
from pathduet.core.errors import InputError


def task(kind: str, **entry: Any) -> Task:
    return Task.of("x", {"kind": kind, **entry})


def cohort(**columns: list[Any]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=[f"p{i}" for i in range(1, count + 1)], dtype=object)


def refused(patients: pd.DataFrame, one: Task) -> str:
    with pytest.raises(InputError) as caught:
        task_labels(patients, one)
    return "\n".join(map(str, caught.value.problems))


def test_a_task_survives_its_way_through_json() -> None:
    one = task(
        "survival", time="m", event={"column": "e", "observed": 0}, unit="months", missing_values=["?"]
    )
    assert Task.of("x", one.to_plain()) == one
    two = task("classification", column="stage", classes={"I": ["IA", "IB"], "II": ["II"]}, ordered=True)
    assert Task.of("x", two.to_plain()) == two
    assert (two.classes, two.positive, two.scale) == (("I", "II"), "II", "ordinal")


def test_classes_are_those_of_the_column_in_natural_order() -> None:
    one = with_classes(task("classification", column="grade"), cohort(grade=["G10", "G2", None, "G2"]))
    assert one.classes == ("G2", "G10") and one.positive == "G10"
    assert task_labels(cohort(grade=["G2", None]), one)["reason"].tolist() == ["", "grade missing"]
    assert sorted(["1.5", "a", "1.25", "10"], key=natural_order) == ["1.25", "1.5", "10", "a"]


@pytest.mark.parametrize(
    ("values", "said"), [(["a", "a", None], "1 value"), ([str(i) for i in range(40)], "40 different")]
)
def test_a_column_that_holds_no_classes_is_refused(values: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        with_classes(task("classification", column="c"), cohort(c=values))


def test_values_may_stand_for_a_class_or_for_nothing() -> None:
    one = task(
        "classification", column="stage", missing_values=["X"],
        classes={"early": ["Stage I", "Stage IA"], "late": ["Stage IV"]},
    )  # fmt: skip
    labels = task_labels(cohort(stage=["Stage IA", "Stage IV", "late", "X", None]), one)
    assert labels["label"].tolist() == ["early", "late", "late", None, None]
    text = refused(cohort(stage=["Stage I", "Stage 1V"]), one)
    assert "task x, patient p2: stage is 'Stage 1V'; did you mean Stage IV?" in text


@pytest.mark.parametrize(("unit", "days"), [("days", 2.0), ("months", 60.875), ("years", 730.5)])
def test_survival_times_become_days(unit: str, days: float) -> None:
    one = task("survival", time="t", event="e", unit=unit)
    labels = task_labels(cohort(t=["2", None, "3"], e=["1", "0", None]), one)
    assert labels.loc["p1"].tolist() == [days, 1.0, ""]
    assert labels["reason"].tolist() == ["", "t missing", "e missing"]
    assert labels.loc[["p2", "p3"], ["survival_days", "event"]].isna().all(axis=None)
    assert one.in_unit(days) == 2.0


def test_which_value_means_that_it_happened_is_the_users_to_say() -> None:
    patients = cohort(t=["1", "2", "3"], e=["0", "1", "0.0"])
    happened = task_labels(patients, task("survival", time="t", event={"column": "e", "observed": 0}))[
        "event"
    ]
    assert happened.tolist() == [1.0, 0.0, 1.0]
    words = cohort(t=["1", "2"], e=["Dead", "Alive"])
    said = task("survival", time="t", event={"column": "e", "observed": "Dead"})
    assert task_labels(words, said)["event"].tolist() == [1.0, 0.0]
    assert "e is 'Dead', neither 1 (happened) nor 0 (censored)" in refused(
        words, task("survival", time="t", event="e")
    )
    three = cohort(t=["1", "2", "3"], e=["Dead", "Alive", "Lost"])
    assert "Alive, Lost besides Dead" in refused(three, said)


@pytest.mark.parametrize(
    ("time", "said"),
    [("0", "not above 0"), ("-3", "not above 0"), ("inf", "no number"), ("soon", "no number")],
)
def test_impossible_times_are_refused(time: str, said: str) -> None:
    text = refused(cohort(t=[time, "5"], e=["1", "1"]), task("survival", time="t", event="e"))
    assert "task x, patient p1" in text and said in text and "p2" not in text


def test_every_patient_of_a_bad_cell_is_named() -> None:
    said = refused(cohort(size=["1", "big", "2", "big"]), task("regression", column="size"))
    assert all(f"patient p{i}" in said for i in (2, 4)) and said.count("size is 'big', no number") == 2


def test_a_number_is_a_number() -> None:
    one = task("regression", column="ki67")
    labels = task_labels(cohort(ki67=["12.5", None, "-1e2"]), one)
    np.testing.assert_array_equal(labels["value"], [12.5, np.nan, -100])
    assert "ki67 is '12,5', no number" in refused(cohort(ki67=["12,5"]), one)


def test_a_column_that_is_not_there_is_answered_with_the_nearest() -> None:
    (problem,) = column_problems(
        cohort(os_month=["1"], os_status=["1"]),
        task("survival", time="os_months", event="os_status"),
        "p.csv",
    )
    assert str(problem).startswith("tasks.x: p.csv has no column 'os_months'; did you mean os_month?")
