"""The metrics of each kind of task: their names, and their values for one set of predictions.

One file a kind: :mod:`~pathduet.evaluation.classification_metrics` and :mod:`~pathduet.evaluation.survival_metrics`; metrics that
correct for censoring, which need the training part, are in :mod:`~pathduet.evaluation.censoring`.
"""

from __future__ import annotations

import pandas as pd

from pathduet.evaluation.classification_metrics import CLASSIFICATION_METRICS, classification_scores
from pathduet.evaluation.predictions import (
    SURVIVAL_TASK,
    class_names,
    label_indices,
    labelled,
    probabilities,
)
from pathduet.evaluation.scores import Scores
from pathduet.evaluation.survival_metrics import SURVIVAL_METRICS, survival_scores

METRIC_NAMES = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "f1": "F1",
    "c_index": "C-index",
    "ipcw_c_index": "IPCW C-index",
    "integrated_brier": "Integrated Brier",
}
#: Metrics of which less is better.
LOWER_IS_BETTER = ("integrated_brier",)
#: Metrics that correct for censoring: they are in the tables only, since they need the other folds.
CENSORING_METRICS = ("ipcw_c_index", "integrated_brier")


def metric_names(task: str) -> tuple[str, ...]:
    """Return the metrics of a task, the first being the one to look at first."""
    return SURVIVAL_METRICS if task == SURVIVAL_TASK else CLASSIFICATION_METRICS


def score(rows: pd.DataFrame, task: str) -> Scores:
    """Return the metrics of rows that are already one a case (see `predictions.at_unit`)."""
    known = labelled(rows, task)
    if known.empty:
        return Scores.undefined(metric_names(task), "no case with a known outcome")
    if task == SURVIVAL_TASK:
        time, event, risk = (known[n].to_numpy(dtype=float) for n in ("survival_days", "event", "risk"))
        return survival_scores(time, event, risk)
    return classification_scores(label_indices(known), probabilities(known), class_names(known))
