"""Which slides take part in a fold, with which label: the ledger, the folds and the labels joined."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pathduet.core.errors import InputError, Problem
from pathduet.training.dataset import Case
from pathduet.training.outcomes import ClassOutcome, Outcome, SurvivalOutcome

if TYPE_CHECKING:
    import pandas as pd


def fold_parts(folds: pd.DataFrame, fold: int) -> dict[str, str]:
    """Return ``train`` or ``test`` of each patient in the cross-validation; all others are ``external``."""
    known = sorted({int(value) for value in folds["fold"]})
    if fold not in known:
        raise InputError([Problem("folds", f"no fold {fold}", f"the folds are {known}")])
    return {
        str(patient): "test" if int(value) == fold else "train"
        for patient, value in zip(folds["patient_id"], folds["fold"], strict=True)
    }


def known_labels(labels: pd.DataFrame, task: str) -> pd.DataFrame:
    """Return the patients whose label is known: `label`, or both `survival_days` and `event`."""
    columns = ["survival_days", "event"] if task == "survival" else ["label"]
    return labels.dropna(subset=columns)


def fold_outcome(
    task: str,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int,
    *,
    protocol: str = "strict",
    bins: int = 4,
) -> Outcome:
    """Return a fold's outcome: the task's classes, or survival intervals.

    The edges of the intervals come from the training part's patients (``strict``) or from all patients of the
    cross-validation (``paper``).
    """
    from pathduet.cohort.survival_bins import discretize
    from pathduet.cohort.who_labels import DIAGNOSES, GRADES

    if task != "survival":
        return ClassOutcome(DIAGNOSES if task == "diagnosis" else GRADES)
    parts = fold_parts(folds, fold)
    known = known_labels(labels, task)
    wanted = ("train", "test") if protocol == "paper" else ("train",)
    chosen = known[[parts.get(str(patient)) in wanted for patient in known.index]]
    edges = discretize(chosen["survival_days"], chosen["event"], bins)
    return SurvivalOutcome(tuple(float(edge) for edge in edges))


def fold_cases(
    slides: pd.DataFrame, labels: pd.DataFrame, folds: pd.DataFrame, fold: int, outcome: Outcome
) -> list[Case]:
    """Return every slide as a case of the fold, ordered by slide id, the label -1 where it is unknown.

    Parameters
    ----------
    slides : DataFrame
        Slides that have features: columns slide_id, patient_id, cohort and features (path).
    labels : DataFrame
        From :func:`pathduet.cohort.labels.task_labels`.
    folds : DataFrame
        Columns patient_id and fold.
    fold : int
        The fold.
    outcome : Outcome
        Class names or edges.
    """
    missing = sorted({"slide_id", "patient_id", "cohort", "features"} - set(slides.columns))
    if missing:
        raise ValueError(f"the table of slides lacks the columns {missing}")
    parts = fold_parts(folds, fold)
    numbers = _numbers(labels, outcome)
    cases = []
    for row in slides.sort_values("slide_id").to_dict("records"):
        patient = str(row["patient_id"])
        label, event = numbers.get(patient, (-1, 0.0))
        part = parts.get(patient, "external")
        cases.append(
            Case(str(row["slide_id"]), patient, str(row["cohort"]), part, Path(row["features"]), label, event)
        )
    return cases


def _numbers(labels: pd.DataFrame, outcome: Outcome) -> dict[str, tuple[int, float]]:
    """Return (class or interval, event) of each patient whose label is known."""
    from pathduet.cohort.survival_bins import bin_index

    if isinstance(outcome, ClassOutcome):
        known = known_labels(labels, "classification")
        position = {name: i for i, name in enumerate(outcome.classes)}
        return {str(p): (position[name], 0.0) for p, name in zip(known.index, known["label"], strict=True)}
    known = known_labels(labels, "survival")
    bins = bin_index(known["survival_days"].to_numpy(), outcome.edges)
    return {str(p): (int(b), float(e)) for p, b, e in zip(known.index, bins, known["event"], strict=True)}
