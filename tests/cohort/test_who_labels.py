"""WHO 2021 labels branch by branch, and why a patient has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathduet.cohort.labels import task_labels
from pathduet.cohort.sheets import read_patients
from pathduet.cohort.tasks import tasks_of
from pathduet.cohort.who_labels import DIAGNOSES, GRADES, who2021
from pathduet.core.config import resolve
from pathduet.core.errors import InputError

GBM, OLIGO, A4, LOW = DIAGNOSES


TASKS = tasks_of(resolve({}))


def facts(idh: Any = None, codel: Any = None, cdkn2a: Any = None, grade: Any = None, **more: Any) -> dict:
    return {"idh": idh, "codel_1p19q": codel, "cdkn2a": cdkn2a, "grade": grade, **more}


@pytest.mark.parametrize(
    ("patient", "homozygous", "any_loss"),
    [
        (facts("WT"), GBM, GBM),
        (facts("WT", "codel", 0.0, "G2"), GBM, GBM),
        (facts("Mutant", "codel"), OLIGO, OLIGO),
        (facts("Mutant", "codel", -2.0, "G4"), OLIGO, OLIGO),
        (facts("Mutant", "non-codel", -2.0, "G2"), A4, A4),
        (facts("Mutant", "non-codel", -2.0), A4, A4),
        (facts("Mutant", "non-codel", 0.0, "G4"), A4, A4),
        (facts("Mutant", "non-codel", None, "G4"), A4, A4),
        (facts("Mutant", "non-codel", -1.0, "G3"), LOW, A4),
        (facts("Mutant", "non-codel", 0.0, "G2"), LOW, LOW),
        (facts("Mutant", "non-codel", 2.0, "G3"), LOW, LOW),
        (facts("Mutant", "non-codel", -1.0), None, A4),
    ],
)
def test_every_branch_of_the_rule(patient: dict, homozygous: str | None, any_loss: str | None) -> None:
    assert who2021(patient, "homozygous")[0] == homozygous
    assert who2021(patient, "any_loss")[0] == any_loss


@pytest.mark.parametrize(
    ("patient", "reason"),
    [
        (facts(), "idh missing"),
        (facts(None, "codel", -2.0, "G4"), "idh missing"),
        (facts("Mutant"), "codel_1p19q missing"),
        (facts("Mutant", None, -2.0, "G4"), "codel_1p19q missing"),
        (facts("Mutant", "non-codel"), "cdkn2a and grade missing"),
        (facts("Mutant", "non-codel", float("nan"), "G2"), "cdkn2a missing"),
        (facts("Mutant", "non-codel", 0.0, float("nan")), "grade missing"),
        ({}, "idh missing"),
    ],
)
def test_a_missing_fact_gives_no_label_and_names_the_fact(patient: dict, reason: str) -> None:
    assert who2021(patient) == (None, reason)


def test_values_that_it_does_not_know_are_refused_with_every_patient() -> None:
    known = [facts("wt"), facts("WT"), facts("Mutant", "yes"), facts("Mutant", "non-codel", "5")]
    patients = pd.DataFrame(known, index=["A", "B", "C", "D"])
    with pytest.raises(InputError) as caught:
        task_labels(patients, TASKS["diagnosis"])
    assert [p.where for p in caught.value.problems] == [f"task diagnosis, patient {p}" for p in "ACD"]


def test_a_column_of_the_users_wins_over_what_is_derived() -> None:
    patients = pd.DataFrame([facts("WT", diagnosis=LOW), facts("WT", diagnosis=None)], index=["A", "B"])
    assert task_labels(patients, TASKS["diagnosis"])["label"].tolist() == [LOW, GBM]


fact = st.fixed_dictionaries(
    {
        "idh": st.sampled_from([None, "WT", "Mutant"]),
        "codel_1p19q": st.sampled_from([None, "codel", "non-codel"]),
        "cdkn2a": st.sampled_from([float("nan"), -2.0, -1.0, 0.0, 1.0, 2.0]),
        "grade": st.sampled_from([None, *GRADES]),
    }
)


@given(fact, st.sampled_from(["homozygous", "any_loss"]))
def test_what_is_missing_never_matters_to_a_label(patient: dict, rule: str) -> None:
    """Whatever the missing facts turn out to be, a label that was given stays."""
    label, reason = who2021(patient, rule)  # type: ignore[arg-type]
    assert (label is None) == bool(reason)
    choices = {
        "idh": ["WT", "Mutant"],
        "codel_1p19q": ["codel", "non-codel"],
        "cdkn2a": [-2.0, -1.0, 0.0],
        "grade": list(GRADES),
    }
    outcomes = [patient]
    for name, values in choices.items():
        outcomes = [
            {**known, name: value}
            for known in outcomes
            for value in (values if known[name] is None or known[name] != known[name] else [known[name]])
        ]
    possible = {who2021(outcome, rule)[0] for outcome in outcomes}  # type: ignore[arg-type]
    assert None not in possible
    if label is not None:
        assert possible == {label}
    elif reason != "idh missing":
        assert len(possible) > 1


@pytest.mark.data
def test_real_patients_all_get_a_label_and_a_survival_time(test_data: Path) -> None:
    patients = read_patients(test_data / "cohort_composed" / "patients.tsv")
    for task in TASKS.values():
        assert (task_labels(patients, task)["reason"] == "").all()
    rule = {"name": "who2021", "cdkn2a_rule": "any_loss"}
    loose = task_labels(patients, replace(TASKS["diagnosis"], derive=rule))["label"]
    strict = task_labels(patients, TASKS["diagnosis"])["label"]
    moved = strict[strict != loose]
    assert set(moved) <= {LOW} and set(loose[moved.index]) <= {A4}
