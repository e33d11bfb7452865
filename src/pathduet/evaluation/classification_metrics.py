"""Metrics of class predictions (scikit-learn).

Macro values are averages over the classes that have test cases. A class without one has no sensitivity, and
calling it zero (or one) would be a number nobody measured; the classes left out stand in the notes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pathduet.evaluation.scores import Scores

CLASSIFICATION_METRICS = ("auc", "accuracy", "sensitivity", "specificity", "f1")


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
