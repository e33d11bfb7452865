"""The figure of the patients' labels."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pathduet.cohort.tasks import Task
from pathduet.report.drawing import BLUE, SKY, style
from pathduet.report.figures import panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INTERNAL, _EXTERNAL = BLUE, SKY


def labels(known: Mapping[str, tuple[Task, pd.DataFrame]]) -> Figure:
    """The patients' labels: class counts, time to the event, values; one panel per task.

    Parameters
    ----------
    known : mapping of name to (Task, DataFrame)
        Labelled patients: the columns of :data:`pathduet.cohort.labels.TRUTH`, and `external` (bool).
    """
    from matplotlib.patches import Patch

    draw = {"classification": _class_counts, "survival": _time_to_event, "regression": _value_histogram}
    with style():
        most = max(len(task.classes) for task, _ in known.values())
        figure, axes = panels(len(known), 3, 3.3, max(2.5, 0.9 + 0.24 * most))
        for axis, (task, table) in zip(axes, known.values(), strict=True):
            parts = [
                ("internal", _INTERNAL, table[~table["external"]]),
                ("external", _EXTERNAL, table[table["external"]]),
            ]
            draw[task.kind](axis, task, [part for part in parts if len(part[2])])
            axis.set_title(textwrap.fill(task.title, 34))
        if any(table["external"].any() for _, table in known.values()):
            marks = [
                Patch(color=colour, label=title)
                for title, colour in (("internal", _INTERNAL), ("external", _EXTERNAL))
            ]
            figure.legend(handles=marks, loc="outside lower center", ncols=2)
        return figure


_LabelParts = list[tuple[str, str, pd.DataFrame]]


def _class_counts(axis: Axes, task: Task, parts: _LabelParts) -> None:
    places, left = np.arange(len(task.classes)), np.zeros(len(task.classes))
    for title, colour, rows in parts:
        counts = rows["label"].value_counts().reindex(list(task.classes), fill_value=0).to_numpy(dtype=float)
        axis.barh(places, counts, left=left, color=colour, height=0.65, label=title)
        left += counts
    for place, total in zip(places, left, strict=True):
        axis.annotate(
            f"{int(total)}",
            (total, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    axis.set_yticks(
        places, [textwrap.shorten(task.class_title(name), 24, placeholder="…") for name in task.classes]
    )
    axis.set(xlabel="patients", ylim=(len(places) - 0.45, -0.55))
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.12)
    axis.locator_params(axis="x", integer=True, nbins=5)


def _time_to_event(axis: Axes, task: Task, parts: _LabelParts) -> None:
    from lifelines import KaplanMeierFitter

    for title, colour, rows in parts:
        time, event = rows["survival_days"].astype(float), rows["event"].astype(float)
        fitter = KaplanMeierFitter().fit(time, event)
        curve = fitter.survival_function_
        axis.step(
            task.in_unit(curve.index.to_numpy(dtype=float)),
            curve.iloc[:, 0],
            where="post",
            color=colour,
            label=title,
        )
        censored = np.sort(time[event == 0].to_numpy())
        axis.plot(task.in_unit(censored), fitter.predict(censored), "|", color=colour, ms=4, mew=0.8)
    axis.set(xlabel=task.unit, ylabel="share without the event", ylim=(0, 1.03))
    axis.set_xlim(left=0)


def _value_histogram(axis: Axes, task: Task, parts: _LabelParts) -> None:
    values = [rows["value"].to_numpy(dtype=float) for _, _, rows in parts]
    edges = np.histogram_bin_edges(
        np.concatenate(values), bins=min(20, max(5, len(np.concatenate(values)) // 8))
    )
    axis.hist(
        values,
        bins=edges.tolist(),
        stacked=True,
        color=[c for _, c, _ in parts],
        label=[title for title, _, _ in parts],
    )
    axis.set(xlabel=task.column.replace("_", " "), ylabel="patients")
