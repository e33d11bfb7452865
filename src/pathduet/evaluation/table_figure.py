"""A result table as a figure: one panel per metric, one line per model with its interval and folds."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pathduet.evaluation.metrics import CHANCE, LOWER_IS_BETTER, METRIC_NAMES

# Okabe and Ito's colours, safe for red-green colour blindness; shapes repeat the information.
_STYLE = {
    "both": ("#0072B2", "o", "slides + expression"),
    "slides": ("#D55E00", "s", "slides"),
    "expression": ("#009E73", "^", "expression"),
    "clinical": ("#555555", "D", "clinical"),
    "": ("#000000", "o", "not known"),
}
_PANELS_IN_A_ROW = 4


def _labels(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return task and title of each line, in the table's order."""
    keys = table[["task", "model", "title", "variant", "protocol"]].fillna("").drop_duplicates()
    return [(str(row.task), str(row.model)) for row in keys.itertuples()]


def caption(table: pd.DataFrame) -> str:
    """Return the figure's caption; its first sentence names the model with the highest mean."""
    if table.empty:
        return "No results."
    metric = str(table["metric"].iloc[0])
    rows = table[(table["metric"] == metric) & table["mean"].notna()]
    if rows.empty:
        return f"No model has a {METRIC_NAMES[metric]}."
    best = rows.iloc[int(rows["mean"].astype(float).to_numpy().argmax())]
    missing = table["model"].nunique() - rows["model"].nunique()
    text = f"Highest mean {METRIC_NAMES[metric]}: {best['title']}, {best['mean']:.3f}"
    if pd.notna(best["ci_low"]):
        text += f" [{best['ci_low']:.3f}, {best['ci_high']:.3f}]"
    if missing:
        text += f"; {missing} of {table['model'].nunique()} models without a result"
    return text + ". Filled mark: mean over folds; line: its 95 % patient bootstrap interval; small: folds."


def draw_table(table: pd.DataFrame, title: str, tasks: Mapping[str, str]) -> str:
    """Return the figure as SVG text; the same table gives the same bytes.

    Parameters
    ----------
    table : DataFrame
        From :mod:`pathduet.evaluation.tables`.
    title : str
        Heading; :func:`caption`'s first sentence follows below.
    tasks : mapping of str to str
        Titles of the tasks.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    table = table.drop_duplicates(["task", "model", "variant", "protocol", "metric"])
    metrics = [str(m) for m in dict.fromkeys(table["metric"])] if len(table) else []
    lines = _labels(table) if len(table) else []
    across = min(max(len(metrics), 1), _PANELS_IN_A_ROW)
    down = -(-max(len(metrics), 1) // across)
    height = 1.6 + 0.3 * max(len(lines), 1)
    figure = Figure(figsize=(3.2 + 2.5 * across, height * down))
    FigureCanvasSVG(figure)
    axes = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axis in axes[len(metrics) :] if metrics else ():
        axis.set_axis_off()
    used: dict[str, Any] = {}
    for axis, metric in zip(axes, metrics):
        for row in table[table["metric"] == metric].to_dict("records"):
            used |= _draw_row(axis, row, lines.index((str(row["task"]), str(row["model"]))))
        if metric in CHANCE:
            axis.axvline(CHANCE[metric], color="0.6", lw=0.8, ls=":")
        better = " (lower is better)" if metric in LOWER_IS_BETTER else ""
        axis.set_xlabel(METRIC_NAMES[metric] + better, fontsize=9)
        axis.grid(axis="x", color="0.92")
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    if lines:
        axes[0].set_yticks(range(len(lines)), _line_titles(table, lines, tasks), fontsize=8)
        axes[0].set_ylim(len(lines) - 0.5, -0.5)
    if used:
        figure.legend(
            list(used.values()), [f"reads {m}" for m in used], loc="lower center", ncols=4, fontsize=8,
            frameon=False, bbox_to_anchor=(0.5, -0.06),
        )  # fmt: skip
    figure.suptitle(f"{title}. {caption(table).split('. Filled')[0]}", fontsize=10, wrap=True)
    figure.tight_layout()
    fixed: Any = {"svg.hashsalt": "pathduet", "svg.fonttype": "none"}
    buffer = io.StringIO()
    with matplotlib.rc_context(fixed):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue()


def _draw_row(axis: Any, row: dict[Any, Any], place: int) -> dict[str, Any]:
    """Draw a row's folds, interval and mean; return its marker by the model's inputs, for the legend."""
    colour, marker, meaning = _STYLE[row["reads"] if row["reads"] in _STYLE else ""]
    if pd.isna(row["mean"]):
        axis.annotate(
            "no result", (0.5, place), xycoords=("axes fraction", "data"), ha="center", va="center",
            fontsize=7, color="#777777", style="italic",
        )  # fmt: skip
        return {}
    folds = [value for name, value in row.items() if str(name).startswith("fold_") and pd.notna(value)]
    axis.plot(folds, np.full(len(folds), place), marker, ms=2.5, mfc="white", mec=colour, mew=0.6, ls="")
    if pd.notna(row["ci_low"]):
        axis.plot([row["ci_low"], row["ci_high"]], [place, place], color=colour, lw=1.4)
    return {meaning: axis.plot([row["mean"]], [place], marker, ms=5.5, color=colour, ls="")[0]}


def _line_titles(table: pd.DataFrame, lines: list[tuple[str, str]], tasks: Mapping[str, str]) -> list[str]:
    """Return the label of each line, with the task if there are several."""
    several = len({task for task, _ in lines}) > 1
    titles = {(str(r["task"]), str(r["model"])): r["title"] or r["model"] for r in table.to_dict("records")}
    return [f"{tasks[line[0]]}: {titles[line]}" if several else str(titles[line]) for line in lines]
