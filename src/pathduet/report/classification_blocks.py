"""Curves of a class task: how each class is told from the rest, and which classes are mistaken for each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pathduet.evaluation.predictions import at_unit, class_names, label_indices, labelled, probabilities
from pathduet.report import figures
from pathduet.report.blocks import Block, Drawer, gap
from pathduet.report.findings import Findings

#: By model, truth and probabilities of each fold.
FoldPredictions = dict[str, list[tuple[np.ndarray, np.ndarray]]]


def classification_blocks(found: Findings, name: str, drawer: Drawer) -> list[Block]:
    """Return ROC curves and confusion matrices of a task's models."""
    metrics = found.collected[name].metrics.values()
    unit = next((m["unit"] for m in metrics), "patient")
    blocks = []
    curves, classes = _fold_predictions(found, name, unit)
    if curves:
        blocks.append(
            drawer.draw(
                f"roc-{name}", figures.roc, {"predictions": curves, "classes": classes},
                message=_roc_message(curves, classes),
                caption=f"One class against the rest, by {unit}. Thin: folds; thick: their mean; numbers: mean AUC of "
                "the class over the folds in which it has cases.",
                source=f"models/{name}/<model>/fold-*/predictions.tsv",
            )
        )  # fmt: skip
    totals = {
        m: figures.fold_sums([one for one in metrics if one["model"] == m], unit) for m in found.models(name)
    }
    matrices = {model: total for model, total in totals.items() if total is not None}
    classes = next((m["classes"] for m in metrics if "classes" in m), [])
    if matrices and classes:
        blocks.append(
            drawer.draw(
                f"confusion-{name}", figures.confusion, {"matrices": matrices, "classes": classes},
                message=_confusion_message(matrices, classes),
                caption=f"Counts of all folds' test parts together, by {unit}; rows are the truth, shade is the share of "
                "the row.",
                source=f"metrics/{name}.json",
            )
        )  # fmt: skip
    return blocks or [gap("No curves.", "No fold of any model has predictions.")]


def _fold_predictions(found: Findings, name: str, unit: str) -> tuple[FoldPredictions, list[str]]:
    """Return each model's truth and probabilities by fold, and the classes."""
    curves: FoldPredictions = {}
    classes: list[str] = []
    by_fold = sorted(found.collected[name].predictions.items(), key=lambda item: item[0][1])
    for (model, _), predictions in by_fold:
        rows = labelled(at_unit(predictions, unit), name)
        if rows.empty or not np.isfinite(probabilities(rows)).all():
            continue
        classes = class_names(rows)
        curves.setdefault(model, []).append((label_indices(rows), probabilities(rows)))
    return {model: curves[model] for model in found.models(name) if model in curves}, classes


def _roc_message(curves: FoldPredictions, classes: list[str]) -> str:
    """Say which class a model tells best and worst, for the model that stands first."""
    from sklearn.metrics import roc_auc_score

    model, folds = next(iter(curves.items()))
    areas: dict[str, float] = {}
    for k, name in enumerate(classes):
        known = [
            float(roc_auc_score(truth == k, probability[:, k]))
            for truth, probability in folds
            if 0 < (truth == k).sum() < len(truth)
        ]
        if known:
            areas[name] = float(np.mean(known))
    if len(areas) < 2:
        return ""
    best, worst = max(areas, key=lambda n: areas[n]), min(areas, key=lambda n: areas[n])
    return (
        f"{figures.short_name(model)}: {figures.class_title(best)} is told from the rest best (AUC {areas[best]:.2f}), "
        f"{figures.class_title(worst)} worst ({areas[worst]:.2f})."
    )


def _confusion_message(matrices: Mapping[str, np.ndarray], classes: list[str]) -> str:
    model, matrix = next(iter(matrices.items()))
    wrong = matrix - np.diag(np.diag(matrix))
    if wrong.sum() == 0:
        return f"{figures.short_name(model)}: no case is mistaken."
    true, called = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return (
        f"{figures.short_name(model)}: the most frequent mistake is {figures.class_title(classes[true])} taken for "
        f"{figures.class_title(classes[called])} ({int(wrong[true, called])} of {int(matrix[true].sum())})."
    )
