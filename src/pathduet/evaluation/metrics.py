"""The metrics of each kind of task: their names, and their values for one set of predictions.

Each kind has its own file: :mod:`~pathduet.evaluation.classification_metrics`,
:mod:`~pathduet.evaluation.survival_metrics` and :mod:`~pathduet.evaluation.regression_metrics`; metrics that correct
for censoring, which need the training part, are in :mod:`~pathduet.evaluation.censoring`.
"""

from __future__ import annotations

import pandas as pd

from pathduet.cohort.tasks import Task
from pathduet.evaluation.classification_metrics import classification_metrics, classification_scores
from pathduet.evaluation.predictions import class_names, label_indices, labelled, probabilities
from pathduet.evaluation.regression_metrics import REGRESSION_METRICS, regression_scores
from pathduet.evaluation.scores import Scores
from pathduet.evaluation.survival_metrics import SURVIVAL_METRICS, survival_scores

METRIC_NAMES = {
    "auc": "AUC",
    "average_precision": "Average precision",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "f1": "F1",
    "quadratic_kappa": "Quadratic kappa",
    "c_index": "C-index",
    "ipcw_c_index": "IPCW C-index",
    "integrated_brier": "Integrated Brier",
    "r2": "R²",
    "spearman": "Spearman",
    "mae": "MAE",
}
#: Metrics where lower is better.
LOWER_IS_BETTER = ("integrated_brier", "mae")
#: Metrics in the label's own unit; all others are dimensionless.
IN_LABEL_UNITS = ("mae",)
#: Values that an uninformative model reaches, where they are the same for every task.
CHANCE = {"auc": 0.5, "c_index": 0.5, "ipcw_c_index": 0.5, "quadratic_kappa": 0.0, "r2": 0.0, "spearman": 0.0}
#: Metrics that correct for censoring: only in the tables, since they need the other folds.
CENSORING_METRICS = ("ipcw_c_index", "integrated_brier")


def metric_names(task: Task) -> tuple[str, ...]:
    """Return the metrics of a task; the first is the primary one, which is tested.

    AUC and C-index need no arbitrary threshold; R2 reflects the size of errors.
    """
    if task.kind == "survival":
        return SURVIVAL_METRICS
    return REGRESSION_METRICS if task.kind == "regression" else classification_metrics(task.ordered)


def positive_index(task: Task) -> int | None:
    """Return the index of the class that sensitivity, F1 and average precision describe; None for more than two classes."""
    return task.classes.index(task.positive) if task.is_binary else None


def score(rows: pd.DataFrame, task: Task) -> Scores:
    """Return the metrics of rows with one row per case (see `predictions.at_unit`)."""
    known = labelled(rows, task)
    if known.empty:
        return Scores.undefined(metric_names(task), "no case with a known outcome")
    if task.kind == "survival":
        time, event, risk = (known[n].to_numpy(dtype=float) for n in ("survival_days", "event", "risk"))
        return survival_scores(time, event, risk)
    if task.kind == "regression":
        return regression_scores(*(known[n].to_numpy(dtype=float) for n in ("value", "prediction")))
    return classification_scores(
        label_indices(known), probabilities(known), class_names(known), positive_index(task), task.ordered
    )
