"""Inputs and targets of a fold's models: slides, folds and labels joined, and the fold's expression."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.cohort.folds import fitted_labels, fold_parts
from pathduet.cohort.labels import known_labels
from pathduet.cohort.tasks import Task
from pathduet.core.errors import InputError
from pathduet.core.plural import plural
from pathduet.training.dataset import FeatureCache, SlideSample
from pathduet.training.task_targets import ClassTarget, RegressionTarget, SurvivalTarget, TaskTarget

if TYPE_CHECKING:
    import pandas as pd

    from pathduet.expression.fold_matrix import FoldExpression


@dataclass(frozen=True)
class FoldData:
    """Tables and expression of one fold and task.

    Attributes
    ----------
    task : Task
        What is predicted.
    slides : DataFrame
        Slides that have features: slide_id, patient_id, cohort, features (path of features.h5); no rows in a run
        without slides.
    labels : DataFrame
        From :func:`pathduet.cohort.labels.task_labels`, indexed by patient_id.
    folds : DataFrame
        Columns patient_id and fold.
    expression_path : Path, optional
        The fold's .h5ad. Models of slides alone do not read it.
    protocol : str
        ``strict``: survival intervals, mean and standard deviation from the training part; ``paper``: from all patients of
        the cross-validation.
    cache : FeatureCache
        Features that were read, for all models and predictions of these data.
    """

    task: Task
    slides: pd.DataFrame
    labels: pd.DataFrame
    folds: pd.DataFrame
    expression_path: Path | None = None
    protocol: str = "strict"
    cache: FeatureCache = field(default_factory=FeatureCache)

    def target(self, fold: int) -> TaskTarget:
        """Return the target of the fold's models, see :func:`fold_target`."""
        return fold_target(self.task, self.labels, self.folds, fold, protocol=self.protocol)

    def samples(
        self, fold: int, target: TaskTarget, *parts: str, expression: FoldExpression | None = None
    ) -> list[SlideSample]:
        """Return the samples of some parts of a fold, see :func:`fold_samples`."""
        found = fold_samples(self.slides, self.labels, self.folds, fold, target, expression)
        return [sample for sample in found if sample.part in parts]

    def expression(self) -> FoldExpression:
        """Read the fold's expression."""
        from pathduet.expression.fold_matrix import load

        if self.expression_path is None:
            raise ValueError("the model reads expression: give the fold's .h5ad as expression_path")
        return load(self.expression_path)


def fold_target(
    task: Task, labels: pd.DataFrame, folds: pd.DataFrame, fold: int, *, protocol: str = "strict"
) -> TaskTarget:
    """Return the target of a fold's models: the task's classes, survival intervals, or z-scores of a number.

    The edges of the intervals, and mean and standard deviation of a number, come from the training part's patients (``strict``)
    or from all patients of the cross-validation (``paper``).

    Raises
    ------
    InputError
        If these patients' labels define no intervals or no standard deviation.
    """
    from pathduet.cohort.survival_bins import discretize

    if task.kind == "classification":
        return ClassTarget(task.classes)
    chosen = fitted_labels(labels, folds, fold, protocol)
    if task.kind == "survival":
        edges = discretize(chosen["survival_days"], chosen["event"], task.bins)
        return SurvivalTarget(tuple(float(edge) for edge in edges))
    values = chosen["value"].to_numpy(float)
    if len(set(values)) < 2:
        found = (
            f"{plural(len(values), 'patient')} with a value, all the same"
            if len(values)
            else "no patient with a value"
        )
        raise InputError.of(
            f"task {task.name}, training part of fold {fold}", found, "a regression needs values that differ"
        )
    return RegressionTarget(float(values.mean()), float(values.std()))


def fold_samples(
    slides: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int,
    target: TaskTarget,
    expression: FoldExpression | None = None,
) -> list[SlideSample]:
    """Return every slide as a sample of the fold, ordered by slide id; unknown labels are -1.

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
        Class names, edges, or mean and standard deviation.
    expression : FoldExpression, optional
        Its patients without a slide are appended, ordered by patient id, for networks of expression alone.
    """
    missing = sorted({"slide_id", "patient_id", "cohort", "features"} - set(slides.columns))
    if missing:
        raise ValueError(f"the table of slides lacks the columns {missing}")
    parts = fold_parts(folds, fold)
    numbers = _numbers(labels, target)
    rows = [
        (str(slide), str(patient), str(cohort), Path(features))
        for slide, patient, cohort, features in slides.sort_values("slide_id")[
            ["slide_id", "patient_id", "cohort", "features"]
        ].itertuples(index=False)
    ]
    others: list[tuple[str, str, str, None]] = []
    if expression is not None:
        pictured = {patient for _, patient, _, _ in rows}
        cohorts = dict(zip(expression.patients, expression.cohorts, strict=True))
        others = [("", patient, cohorts[patient], None) for patient in sorted(set(cohorts) - pictured)]
    return [
        SlideSample(
            slide, patient, cohort, parts.get(patient, "external"), features, **numbers.get(patient, {})
        )
        for slide, patient, cohort, features in [*rows, *others]
    ]


def _numbers(labels: pd.DataFrame, target: TaskTarget) -> dict[str, dict[str, Any]]:
    """Return the label, event and value of each patient with a known label, as stored in a sample."""
    from pathduet.cohort.survival_bins import bin_index

    known = known_labels(labels)
    patients = [str(patient) for patient in known.index]
    if isinstance(target, ClassTarget):
        position = {name: i for i, name in enumerate(target.classes)}
        return {p: {"label": position[name]} for p, name in zip(patients, known["label"], strict=True)}
    if isinstance(target, RegressionTarget):
        scores = (known["value"].to_numpy(float) - target.mean) / target.sd
        return {p: {"label": 0, "value": float(z)} for p, z in zip(patients, scores, strict=True)}
    bins = bin_index(known["survival_days"].to_numpy(float), target.edges)
    return {
        p: {"label": int(b), "event": float(e)}
        for p, b, e in zip(patients, bins, known["event"], strict=True)
    }
