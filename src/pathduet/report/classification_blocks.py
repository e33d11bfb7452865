"""Curves of a classification: separation of classes, confusion between them, reliability of probabilities."""

from __future__ import annotations

import numpy as np

from pathduet.cohort.tasks import Task
from pathduet.evaluation.ensemble import ENSEMBLE
from pathduet.evaluation.predictions import at_unit, label_indices, labelled, probabilities
from pathduet.report import prediction_figures
from pathduet.report.blocks import Block, Drawer, gap
from pathduet.report.figures import short_name
from pathduet.report.findings import Findings
from pathduet.report.prediction_figures import FoldPredictions, told_classes


def classification_blocks(found: Findings, name: str, drawer: Drawer) -> list[Block]:
    """Return ROC curves, confusion matrices and reliability of a classification's models, or on external cohorts."""
    task, external = found.task_of(name), found.wanted[name].external
    metrics = found.collected[name].metrics.values()
    unit = next((m["unit"] for m in metrics), "patient")
    source = f"models/{name}/<model>/fold-*/predictions.tsv"
    whose = "Thin: folds; thick: their mean; numbers: mean AUC over the folds in which it has cases."
    counted = "Counts of all folds' test parts together"
    if external:
        source = f"external/{task.name}/<model>/ensemble/predictions.tsv"
        whose, counted = "Of the folds' ensemble; numbers: its AUC.", "Counts of the folds' ensemble"
    about = (
        f"The class {task.class_title(task.positive)} against the other"
        if task.is_binary
        else "One class against the rest"
    )
    shown = {"task": task, "catalogue": found.catalogue}
    blocks = []
    curves = _fold_predictions(found, name, unit)
    if curves:
        blocks.append(
            drawer.draw(
                f"roc-{name}", prediction_figures.roc, {"predictions": curves, **shown},
                message=_roc_message(found, curves, task), caption=f"{about}, by {unit}. {whose}", source=source,
            )
        )  # fmt: skip
    matrices = {
        model: total
        for model in found.models(name)
        if (total := _confusion(found, name, model, unit)) is not None
    }
    if matrices:
        blocks.append(
            drawer.draw(
                f"confusion-{name}", prediction_figures.confusion, {"matrices": matrices, **shown},
                message=_confusion_message(found, matrices, task),
                caption=f"{counted}, by {unit}; rows are the truth, shade is the share of the row.",
                source=f"metrics/{name}.json",
            )
        )  # fmt: skip
    if curves:
        blocks.append(
            drawer.draw(
                f"reliability-{name}", prediction_figures.reliability, {"predictions": curves, **shown}, message="",
                caption=f"{about}: up to five equally large groups of similar probability, their mean probability against the share "
                f"of the class, by {unit}{'' if external else ', all folds together'}. On the dashed line, predicted probabilities equal observed shares.",
                source=source,
            )
        )  # fmt: skip
    return blocks or [gap("No curves.", "No fold of any model has predictions.")]


def _fold_predictions(found: Findings, name: str, unit: str) -> FoldPredictions:
    """Return each model's truth and probabilities, by fold or of the ensemble."""
    task, curves = found.task_of(name), {}
    for model, parts in found.predictions(name).items():
        known = [labelled(at_unit(part, unit), task) for part in parts]
        usable = [rows for rows in known if len(rows) and np.isfinite(probabilities(rows)).all()]
        if usable:
            curves[model] = [(label_indices(rows), probabilities(rows)) for rows in usable]
    return curves


def _confusion(found: Findings, name: str, model: str, unit: str) -> np.ndarray | None:
    """Return the counts of a model's folds added up, or of its ensemble; None if there are none."""
    external = found.wanted[name].external
    metrics = [
        m
        for (of, fold), m in found.collected[name].metrics.items()
        if of == model and (fold == ENSEMBLE) == external
    ]
    matrices = [np.asarray(m["confusion"][unit]) for m in metrics if m.get("confusion", {}).get(unit)]
    return np.sum(matrices, axis=0) if matrices else None


def _roc_message(found: Findings, curves: FoldPredictions, task: Task) -> str:
    """Name the classes that the first model separates best and worst."""
    from sklearn.metrics import roc_auc_score

    model, folds = next(iter(curves.items()))
    areas: dict[str, float] = {}
    for name in told_classes(task):
        k = task.classes.index(name)
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
        f"{short_name(model, found.catalogue)}: {task.class_title(best)} is separated best from the rest (AUC {areas[best]:.2f}), "
        f"{task.class_title(worst)} worst ({areas[worst]:.2f})."
    )


def _confusion_message(found: Findings, matrices: dict[str, np.ndarray], task: Task) -> str:
    model, matrix = next(iter(matrices.items()))
    wrong = matrix - np.diag(np.diag(matrix))
    title = short_name(model, found.catalogue)
    if wrong.sum() == 0:
        return f"{title}: no case is mistaken."
    true, called = np.unravel_index(int(wrong.argmax()), wrong.shape)
    message = (
        f"{title}: the most frequent mistake is {task.class_title(task.classes[true])} taken for "
        f"{task.class_title(task.classes[called])} ({int(wrong[true, called])} of {int(matrix[true].sum())})"
    )
    if task.ordered:
        steps = np.abs(np.subtract.outer(np.arange(len(matrix)), np.arange(len(matrix))))
        message += (
            f"; {int(wrong[steps > 1].sum())} of {int(wrong.sum())} mistakes are more than one step off"
        )
    return f"{message}."
