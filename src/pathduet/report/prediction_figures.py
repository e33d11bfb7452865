"""Figures that compare predictions with the truth: classes and values."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pathduet.cohort.tasks import Task
from pathduet.report.drawing import BLUE, INK, MUTED, PALETTE, PAPER, style
from pathduet.report.figures import Catalogue, colour_of, panels, short_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Number of groups of similar prediction and the minimum number of cases in each, to compare with observations.
_LEVELS, _LEAST_CASES = 5, 5
#: Truth (n,) int and probability (n, K) of each fold, at the table's unit; by model.
FoldPredictions = Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]


#: Observed and predicted values (n,) of the cases of all folds; by model.
Values = Mapping[str, tuple[np.ndarray, np.ndarray]]


def class_style(place: int) -> dict[str, Any]:
    """Return colour and dashes of a class's line by the class's index; distinct for up to 18 classes."""
    dashes = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
    return {"color": PALETTE[place % len(PALETTE)], "ls": dashes[place // len(PALETTE) % len(dashes)]}


def roc(predictions: FoldPredictions, task: Task, catalogue: Catalogue) -> Figure:
    """ROC curves: thin lines are folds, thick ones the mean at each false-positive rate; a panel per model.

    With two classes, the positive one's; with more, each class against the rest.
    """
    from sklearn.metrics import auc, roc_curve

    grid = np.linspace(0, 1, 101)
    with style():
        figure, axes = panels(len(predictions), 3, 3.15, 3.3 + 0.1 * max(0, len(task.classes) - 6))
        for axis, (model, folds) in zip(axes, predictions.items(), strict=True):
            axis.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)))
            for place, name in enumerate(told_classes(task)):
                k, look = task.classes.index(name), class_style(place)
                curves, areas = [], []
                for truth, probability in folds:
                    positive = truth == k
                    if not 0 < positive.sum() < len(truth):
                        continue
                    false, true, _ = roc_curve(positive, probability[:, k])
                    areas.append(auc(false, true))
                    curve = np.interp(grid, false, true)
                    curve[0] = 0.0
                    curves.append(curve)
                    axis.plot(false, true, color=look["color"], lw=0.7, alpha=0.4)
                title = textwrap.shorten(task.class_title(name), 24, placeholder="…")
                if curves:
                    axis.plot(grid, np.mean(curves, axis=0), label=f"{title} {np.mean(areas):.2f}", **look)
                else:
                    axis.plot([], [], label=f"{title}: no case", **look)
            axis.set(title=short_name(model, catalogue), xlim=(-0.01, 1.01), ylim=(-0.01, 1.03), aspect="equal",
                     xlabel="false-positive rate")  # fmt: skip
            axis.legend(loc="lower right", handlelength=1.2, fontsize=7.5, borderaxespad=0.2)
        axes[0].set_ylabel("true-positive rate")
        return figure


def told_classes(task: Task) -> tuple[str, ...]:
    """Return the classes with a one-vs-rest curve: the positive one of two, else all."""
    return (task.positive,) if task.is_binary else task.classes


def confusion(matrices: Mapping[str, np.ndarray], task: Task, catalogue: Catalogue) -> Figure:
    """Counts of true (rows) against predicted classes, shaded by share of the row; one panel per model."""
    from matplotlib.patches import Rectangle

    labels = [textwrap.fill(task.class_title(name), 14, break_long_words=False) for name in task.classes]
    tilt: dict[str, Any] = {"rotation": 35, "ha": "right"} if max(map(len, labels), default=0) > 4 else {}
    count = len(task.classes)
    size = max(3.1, 0.8 + 0.42 * count)
    with style():
        figure, axes = panels(len(matrices), 3, size + 0.05, size)
        for i, (axis, (model, matrix)) in enumerate(zip(axes, matrices.items(), strict=True)):
            share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
            for r in range(count):
                for c in range(count):
                    axis.add_patch(Rectangle((c, r), 1, 1, fc=BLUE, alpha=float(share[r, c]), ec="none"))
                    axis.text(c + 0.5, r + 0.5, f"{int(matrix[r, c])}", ha="center", va="center",
                              color="white" if share[r, c] > 0.55 else INK,
                              fontweight="bold" if r == c else "normal")  # fmt: skip
            axis.set(
                xlim=(0, count),
                ylim=(count, 0),
                aspect="equal",
                title=short_name(model, catalogue),
                xlabel="predicted",
            )
            axis.set_xticks(np.arange(count) + 0.5, labels, fontsize=8, **tilt)
            axis.set_yticks(np.arange(count) + 0.5, labels if i % 3 == 0 else [""] * count, fontsize=8)
            axis.tick_params(length=0)
            axis.grid(visible=False)
            for spine in axis.spines.values():
                spine.set_visible(False)
        axes[0].set_ylabel("true class")
        return figure


def like_predictions(predicted: np.ndarray, levels: int = _LEVELS) -> list[np.ndarray]:
    """Return the indices of equally large groups of similar prediction, lowest first; fewer groups of few cases."""
    count = max(1, min(levels, len(predicted) // _LEAST_CASES))
    return [part for part in np.array_split(np.argsort(predicted, kind="stable"), count) if len(part)]


def reliability(predictions: FoldPredictions, task: Task, catalogue: Catalogue) -> Figure:
    """Observed frequency of a class by predicted probability, in groups of similar probability; one panel per model."""
    with style():
        figure, axes = panels(len(predictions), 3, 3.15, 3.3 + 0.1 * max(0, len(task.classes) - 6))
        for axis, (model, folds) in zip(axes, predictions.items(), strict=True):
            axis.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)))
            truth = np.concatenate([t for t, _ in folds])
            probability = np.concatenate([p for _, p in folds])
            for place, name in enumerate(told_classes(task)):
                k = task.classes.index(name)
                groups = like_predictions(probability[:, k])
                stated = [float(probability[g, k].mean()) for g in groups]
                seen = [float((truth[g] == k).mean()) for g in groups]
                title = textwrap.shorten(task.class_title(name), 24, placeholder="…")
                axis.plot(stated, seen, marker="o", ms=4, lw=1.3, mec=PAPER, mew=0.4, label=title,
                          **class_style(place))  # fmt: skip
            axis.set(title=short_name(model, catalogue), xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal",
                     xlabel="predicted probability")  # fmt: skip
            axis.legend(loc="upper left", handlelength=1.2, fontsize=7.5, borderaxespad=0.2)
        axes[0].set_ylabel("observed share")
        return figure


def predicted_observed(values: Values, catalogue: Catalogue) -> Figure:
    """Observed against predicted values on one scale; dashed: perfect prediction; one panel per model."""
    every = np.concatenate([part for pair in values.values() for part in pair])
    low, high = float(every.min()), float(every.max())
    margin = 0.04 * (high - low) or 1.0
    limits = low - margin, high + margin
    with style():
        figure, axes = panels(len(values), 3, 3.15, 3.3)
        for axis, (model, (observed, predicted)) in zip(axes, values.items(), strict=True):
            axis.plot(limits, limits, color=MUTED, lw=1, ls=(0, (4, 3)))
            axis.plot(predicted, observed, "o", color=colour_of(model, catalogue), ms=4, alpha=0.6, mew=0,
                      rasterized=len(observed) > 2000)  # fmt: skip
            axis.set(
                title=short_name(model, catalogue),
                xlim=limits,
                ylim=limits,
                aspect="equal",
                xlabel="predicted",
            )
        axes[0].set_ylabel("observed")
        return figure


def residuals(values: Values, catalogue: Catalogue) -> Figure:
    """Observed minus predicted values by prediction; diamonds: mean and 95 % interval of groups of similar prediction."""
    with style():
        figure, axes = panels(len(values), 3, 3.15, 2.8)
        reach = 1.08 * max(float(np.abs(o - p).max()) for o, p in values.values()) or 1.0
        for axis, (model, (observed, predicted)) in zip(axes, values.items(), strict=True):
            colour, left = colour_of(model, catalogue), observed - predicted
            axis.axhline(0, color=MUTED, lw=1, ls=(0, (4, 3)))
            axis.plot(
                predicted, left, "o", color=colour, ms=4, alpha=0.35, mew=0, rasterized=len(left) > 2000
            )
            for group in like_predictions(predicted):
                x, y = float(predicted[group].mean()), float(left[group].mean())
                half = 1.96 * float(left[group].std(ddof=1)) / np.sqrt(len(group)) if len(group) > 1 else 0.0
                axis.plot([x, x], [y - half, y + half], color=INK, lw=1.4)
                axis.plot([x], [y], "D", color=colour, ms=6, mec=PAPER, mew=0.8, zorder=4)
            axis.set(title=short_name(model, catalogue), ylim=(-reach, reach), xlabel="predicted")
        axes[0].set_ylabel("observed - predicted")
        return figure
