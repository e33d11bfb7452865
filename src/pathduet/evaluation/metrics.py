"""Metrics of one set of predictions: classification (scikit-learn) and survival (lifelines).

Macro values are averages over the classes that have test cases. A class without one has no sensitivity, and
calling it zero (or one) would be a number nobody measured; the classes left out stand in the notes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

CLASSIFICATION_METRICS = ("auc", "accuracy", "sensitivity", "specificity", "f1")
SURVIVAL_METRICS = ("c_index",)


def metric_names(task: str) -> tuple[str, ...]:
    """Return the metrics of a task, the first being the one to look at first."""
    return SURVIVAL_METRICS if task == "survival" else CLASSIFICATION_METRICS


@dataclass
class Scores:
    """Values of the metrics, None where undefined, and why.

    Attributes
    ----------
    values : dict of str to float, int or None
        Metric name to value.
    notes : dict of str to str
        Metric name to the reason for a None or for a restriction.
    confusion : list of list of int or None
        Rows are true classes, columns predicted ones, in the order of the classes.
    """

    values: dict[str, float | int | None]
    notes: dict[str, str] = field(default_factory=dict)
    confusion: list[list[int]] | None = None

    @classmethod
    def undefined(cls, names: tuple[str, ...], reason: str) -> Scores:
        """Return None for every metric, with one reason."""
        return cls(dict.fromkeys(names), dict.fromkeys(names, reason))


def classification_scores(truth: np.ndarray, probability: np.ndarray, classes: list[str]) -> Scores:
    """Return macro one-vs-rest AUC, accuracy, macro sensitivity, specificity and F1, and the confusion matrix.

    The predicted class is the most probable one, the first of equals.

    Parameters
    ----------
    truth : (n,) int array
        True class indices.
    probability : (n, K) array
        Predicted probabilities.
    classes : list of str, length K
        Class names.
    """
    from sklearn.metrics import confusion_matrix, f1_score, recall_score, roc_auc_score

    if len(truth) == 0:
        return Scores.undefined(CLASSIFICATION_METRICS, "no case with a label")
    broken = int((~np.isfinite(probability)).any(axis=1).sum())
    if broken:
        reason = f"the prediction of {broken} of {len(truth)} cases is not finite"
        return Scores.undefined(CLASSIFICATION_METRICS, reason)
    indices = list(range(len(classes)))
    predicted = probability.argmax(axis=1)
    confusion = confusion_matrix(truth, predicted, labels=indices)
    present = [k for k in indices if (truth == k).any()]
    with_both = [k for k in present if (truth != k).any()]
    values: dict[str, Any] = {
        "accuracy": float((predicted == truth).mean()),
        "sensitivity": float(recall_score(truth, predicted, labels=present, average="macro")),
        "f1": float(f1_score(truth, predicted, labels=present, average="macro", zero_division=0)),
        "auc": None,
        "specificity": None,
    }
    notes: dict[str, str] = {}
    absent = [classes[k] for k in indices if k not in present]
    if absent:
        note = f"averaged over the classes with test cases; without: {', '.join(absent)}"
        notes = dict.fromkeys(("auc", "sensitivity", "specificity", "f1"), note)
    if with_both:
        values["auc"] = float(np.mean([roc_auc_score(truth == k, probability[:, k]) for k in with_both]))
        values["specificity"] = float(np.mean([((predicted != k) & (truth != k)).sum() / (truth != k).sum()
                                               for k in with_both]))  # fmt: skip
    else:
        reason = f"all {len(truth)} cases are {classes[present[0]]}: nothing to tell apart"
        notes |= {"auc": reason, "specificity": reason}
    ordered = {name: values[name] for name in CLASSIFICATION_METRICS}
    return Scores(ordered, notes, confusion.tolist())


def comparable_pairs(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Return which pairs the C-index can order.

    Returns
    -------
    (n, n) bool array
        ``[i, j]`` is true where i is known to have died before j: i's death was seen and j's time is later,
        or equal with j censored (a censored patient outlived those who died that day). Two deaths on the
        same day are not comparable. Harrell's rule, as in lifelines.
    """
    died = event.astype(bool)
    earlier = time[:, None] < time[None, :]
    same_day = (time[:, None] == time[None, :]) & ~died[None, :]
    return np.asarray(died[:, None] & (earlier | same_day))


def survival_scores(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> Scores:
    """Return Harrell's C-index on the original times, and the number of comparable pairs.

    Parameters
    ----------
    time, event : (n,) arrays
        Days to death (event 1) or last contact (event 0).
    risk : (n,) array
        Higher = worse. lifelines expects the opposite direction, so its sign is changed here, once.
    """
    from lifelines.utils import concordance_index

    pairs = int(comparable_pairs(time, event).sum())
    if not np.isfinite(risk).all():
        reason = f"the risk of {int((~np.isfinite(risk)).sum())} of {len(risk)} cases is not finite"
        return Scores({"c_index": None, "n_comparable": pairs}, {"c_index": reason})
    if pairs == 0:
        reason = f"no comparable pair among {len(time)} cases with {int(event.sum())} deaths"
        return Scores({"c_index": None, "n_comparable": 0}, {"c_index": reason})
    return Scores({"c_index": float(concordance_index(time, -risk, event)), "n_comparable": pairs})
