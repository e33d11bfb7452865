"""What a fold's models are trained on and predict: slides, folds and labels joined, and the fold's expression."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pathduet.core.errors import InputError, Problem
from pathduet.training.dataset import SlideSample
from pathduet.training.task_targets import ClassTarget, SurvivalTarget, TaskTarget

if TYPE_CHECKING:
    import pandas as pd

    from pathduet.expression.fold_matrix import FoldExpression


@dataclass(frozen=True)
class FoldData:
    """Tables and expression of one fold and task.

    Attributes
    ----------
    slides : DataFrame
        Slides that have features: slide_id, patient_id, cohort, features (path of features.h5).
    labels : DataFrame
        From :func:`pathduet.cohort.labels.task_labels`, indexed by patient_id.
    folds : DataFrame
        Columns patient_id and fold.
    expression_path : Path, optional
        The fold's .h5ad. Who reads slides alone does not look at it.
    protocol : str
        ``strict``: survival intervals from the training part; ``paper``: from all patients of the folds.
    survival_bins : int
        Number of survival intervals.
    """

    slides: pd.DataFrame
    labels: pd.DataFrame
    folds: pd.DataFrame
    expression_path: Path | None = None
    protocol: str = "strict"
    survival_bins: int = 4

    def target(self, task: str, fold: int) -> TaskTarget:
        """Return what the fold's models predict, see :func:`fold_target`."""
        return fold_target(
            task, self.labels, self.folds, fold, protocol=self.protocol, bins=self.survival_bins
        )

    def samples(self, fold: int, target: TaskTarget, *parts: str) -> list[SlideSample]:
        """Return the slides of some parts of a fold, see :func:`fold_samples`."""
        found = fold_samples(self.slides, self.labels, self.folds, fold, target)
        return [sample for sample in found if sample.part in parts]

    def expression(self) -> FoldExpression:
        """Read the fold's expression."""
        from pathduet.expression.fold_matrix import load

        if self.expression_path is None:
            raise ValueError("the model reads expression: give the fold's .h5ad as expression_path")
        return load(self.expression_path)


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


def fold_target(
    task: str,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int,
    *,
    protocol: str = "strict",
    bins: int = 4,
) -> TaskTarget:
    """Return what a fold's models predict: the task's classes, or survival intervals.

    The edges of the intervals come from the training part's patients (``strict``) or from all patients of the
    cross-validation (``paper``).
    """
    from pathduet.cohort.survival_bins import discretize
    from pathduet.cohort.who_labels import DIAGNOSES, GRADES

    if task != "survival":
        return ClassTarget({"diagnosis": DIAGNOSES, "grading": GRADES}[task])
    parts = fold_parts(folds, fold)
    known = known_labels(labels, task)
    wanted = ("train", "test") if protocol == "paper" else ("train",)
    chosen = known[[parts.get(str(patient)) in wanted for patient in known.index]]
    edges = discretize(chosen["survival_days"], chosen["event"], bins)
    return SurvivalTarget(tuple(float(edge) for edge in edges))


def fold_samples(
    slides: pd.DataFrame, labels: pd.DataFrame, folds: pd.DataFrame, fold: int, target: TaskTarget
) -> list[SlideSample]:
    """Return every slide as a sample of the fold, ordered by slide id, the label -1 where it is unknown.

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
    target : TaskTarget
        Class names or edges.
    """
    missing = sorted({"slide_id", "patient_id", "cohort", "features"} - set(slides.columns))
    if missing:
        raise ValueError(f"the table of slides lacks the columns {missing}")
    parts = fold_parts(folds, fold)
    numbers = _numbers(labels, target)
    samples = []
    for row in slides.sort_values("slide_id").to_dict("records"):
        patient = str(row["patient_id"])
        label, event = numbers.get(patient, (-1, 0.0))
        part = parts.get(patient, "external")
        samples.append(
            SlideSample(
                str(row["slide_id"]), patient, str(row["cohort"]), part, Path(row["features"]), label, event
            )
        )
    return samples


def _numbers(labels: pd.DataFrame, target: TaskTarget) -> dict[str, tuple[int, float]]:
    """Return (class or interval, event) of each patient whose label is known."""
    from pathduet.cohort.survival_bins import bin_index

    if isinstance(target, ClassTarget):
        known = known_labels(labels, "classification")
        position = {name: i for i, name in enumerate(target.classes)}
        return {str(p): (position[name], 0.0) for p, name in zip(known.index, known["label"], strict=True)}
    known = known_labels(labels, "survival")
    bins = bin_index(known["survival_days"].to_numpy(), target.edges)
    return {str(p): (int(b), float(e)) for p, b, e in zip(known.index, bins, known["event"], strict=True)}
