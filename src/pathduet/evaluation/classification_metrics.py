"""Metrics of class predictions (scikit-learn).

Of two classes, sensitivity, specificity, F1 and average precision describe the positive one. Of more, they are averages over the
classes that have test cases (macro). A class without test cases has no sensitivity, and setting it to zero (or one) would report
a number that nobody measured; the notes list the classes left out. Balanced accuracy, the mean of the classes' sensitivities, is
macro sensitivity where there are more than two.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pathduet.evaluation.scores import Scores

CLASSIFICATION_METRICS = (
    "auc", "average_precision", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1"
)  # fmt: skip


def classification_metrics(ordered: bool = False) -> tuple[str, ...]:
    """Return the metrics of a classification; ordered classes add quadratic weighted kappa."""
    return (*CLASSIFICATION_METRICS, "quadratic_kappa") if ordered else CLASSIFICATION_METRICS


def classification_scores(
    truth: np.ndarray,
    probability: np.ndarray,
    classes: list[str],
    positive: int | None = None,
    ordered: bool = False,
) -> Scores:
    """Return the metrics of :func:`classification_metrics` and the confusion matrix; AUC is one-vs-rest.

    The predicted class is the most probable one; the first of several equally probable.

    Parameters
    ----------
    truth : (n,) int array
        True class indices.
    probability : (n, K) array
        Predicted probabilities.
    classes : list of str, length K
        Class names.
    positive : int, optional
        Of two classes, the index of the one that the metrics describe; None: macro averages.
    ordered : bool
        Whether the classes are steps of a scale.
    """
    from sklearn.metrics import confusion_matrix

    names = classification_metrics(ordered)
    if len(truth) == 0:
        return Scores.undefined(names, "no case with a label")
    broken = int((~np.isfinite(probability)).any(axis=1).sum())
    if broken:
        reason = f"the prediction of {broken} of {len(truth)} cases is not finite"
        return Scores.undefined(names, reason)
    predicted = probability.argmax(axis=1)
    confusion = confusion_matrix(truth, predicted, labels=list(range(len(classes))))
    values: dict[str, Any] = {"accuracy": float((predicted == truth).mean())}
    if positive is None:
        found, notes = _macro(truth, probability, predicted, classes)
    else:
        found, notes = _of_positive(truth, probability, predicted, classes, positive)
    values |= found
    if ordered:
        values["quadratic_kappa"], reason = _quadratic_kappa(truth, predicted, classes)
        notes |= {"quadratic_kappa": reason} if reason else {}
    return Scores({name: values[name] for name in names}, notes, confusion.tolist())


def _macro(
    truth: np.ndarray, probability: np.ndarray, predicted: np.ndarray, classes: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return averages over the classes with test cases, and which classes have none."""
    from sklearn.metrics import average_precision_score, f1_score, recall_score, roc_auc_score

    present = [k for k in range(len(classes)) if (truth == k).any()]
    with_both = [k for k in present if (truth != k).any()]
    sensitivity = float(recall_score(truth, predicted, labels=present, average="macro"))
    values: dict[str, Any] = {
        "sensitivity": sensitivity,
        "balanced_accuracy": sensitivity,
        "f1": float(f1_score(truth, predicted, labels=present, average="macro", zero_division=0)),
        "auc": None,
        "average_precision": None,
        "specificity": None,
    }
    notes: dict[str, str] = {}
    absent = [name for k, name in enumerate(classes) if k not in present]
    if absent:
        note = f"averaged over the classes with test cases; without: {', '.join(absent)}"
        notes = dict.fromkeys(values, note)
    if with_both:
        one_against_rest = [(truth == k, probability[:, k]) for k in with_both]
        values["auc"] = float(np.mean([roc_auc_score(*pair) for pair in one_against_rest]))
        values["average_precision"] = float(
            np.mean([average_precision_score(*pair) for pair in one_against_rest])
        )
        values["specificity"] = float(np.mean([((predicted != k) & (truth != k)).sum() / (truth != k).sum()
                                               for k in with_both]))  # fmt: skip
    else:
        notes |= dict.fromkeys(
            ("auc", "average_precision", "specificity"), _all_alike(truth, classes[present[0]])
        )
    return values, notes


def _of_positive(
    truth: np.ndarray, probability: np.ndarray, predicted: np.ndarray, classes: list[str], positive: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the metrics of two classes, for the positive one, and why some are undefined."""
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

    happened, called = truth == positive, predicted == positive
    values: dict[str, Any] = dict.fromkeys(
        ("auc", "average_precision", "balanced_accuracy", "sensitivity", "specificity", "f1")
    )
    if happened.any():
        values["sensitivity"] = float(called[happened].mean())
        values["f1"] = float(f1_score(happened, called, zero_division=0))
    if not happened.all():
        values["specificity"] = float((~called)[~happened].mean())
    if happened.any() and not happened.all():
        values["auc"] = float(roc_auc_score(happened, probability[:, positive]))
        values["average_precision"] = float(average_precision_score(happened, probability[:, positive]))
        values["balanced_accuracy"] = (values["sensitivity"] + values["specificity"]) / 2
    reason = _all_alike(truth, classes[int(truth[0])])
    return values, {name: reason for name, value in values.items() if value is None}


def _quadratic_kappa(
    truth: np.ndarray, predicted: np.ndarray, classes: list[str]
) -> tuple[float | None, str]:
    """Return quadratic weighted kappa, or why it is undefined."""
    from sklearn.metrics import cohen_kappa_score

    if len({*truth, *predicted}) == 1:
        return None, f"{_all_alike(truth, classes[int(truth[0])])}, and all are predicted so"
    labels = list(range(len(classes)))
    return float(cohen_kappa_score(truth, predicted, labels=labels, weights="quadratic")), ""


def _all_alike(truth: np.ndarray, name: str) -> str:
    return f"all {len(truth)} cases are {name}: nothing to tell apart"
