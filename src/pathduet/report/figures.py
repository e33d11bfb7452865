"""The report's figures; each function takes data and returns a matplotlib figure, drawn in the page's style."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pathduet.catalogue import Model, named
from pathduet.cohort.tasks import Task
from pathduet.evaluation.metrics import CHANCE, METRIC_NAMES
from pathduet.evaluation.survival_curves import SurvivalCurve
from pathduet.explain.colours import subspace_colours
from pathduet.report.drawing import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    PALETTE,
    PAPER,
    PURPLE,
    RED,
    SKY,
    mean_and_interval,
    new_figure,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GROUP_COLOURS = {"low risk": BLUE, "middle": ORANGE, "high risk": RED}
#: The "cohort" of the target stain vectors; no real cohort can have this name (it contains a blank).
TARGET = "target of normalisation"
#: Metrics side by side; more go into further rows.
_METRICS_A_ROW = 5

Catalogue = Mapping[str, Model]


def short_name(model: str, catalogue: Catalogue) -> str:
    """Return a model's name for an axis."""
    return named(model, catalogue).short_title


def colour_of(model: str, catalogue: Catalogue, models: Sequence[str] = ()) -> str:
    """Return a model's colour: its own, or one of the palette by its position among others in `models`."""
    if named(model, catalogue).colour:
        return named(model, catalogue).colour
    others = [name for name in models if not named(name, catalogue).colour]
    palette = (PURPLE, *PALETTE[3:])
    return palette[others.index(model) % len(palette)] if model in others else PURPLE


def panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` panels of `width` x `height` inches, at most `columns` side by side."""
    columns = 2 if count == 4 else min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(width * columns, height * rows)
    figure.set_layout_engine("constrained", h_pad=0.12)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def spread(table: pd.DataFrame, metrics: Sequence[str], catalogue: Catalogue) -> Figure:
    """Every fold's value, their mean and its interval, one line per model, one panel per metric.

    Parameters
    ----------
    table : DataFrame
        From :func:`pathduet.evaluation.tables.result_table`; rows without any value stay as empty lines.
    """
    with style():
        keys = list(dict.fromkeys(zip(table["model"], table["variant"], table["protocol"])))
        folds = [str(name) for name in table if str(name).startswith("fold_")]
        columns = min(len(metrics), _METRICS_A_ROW)
        rows = -(-len(metrics) // columns)
        panel = 2.35 if len(metrics) > 1 else 5.2
        figure = new_figure(2.0 + panel * columns, rows * (0.9 + 0.36 * len(keys)))
        figure.set_layout_engine("constrained", h_pad=0.1)
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for spare in grid.ravel()[len(metrics) :]:
            spare.remove()
        for axis, metric in zip(grid.ravel(), metrics):
            records = table[table["metric"] == metric].to_dict("records")
            found = {(r["model"], r["variant"], r["protocol"]): r for r in records}
            for y, key in enumerate(keys):
                row, colour = found[key], colour_of(key[0], catalogue)
                values = [row[f] for f in folds if not pd.isna(row[f])]
                if values:
                    mean_and_interval(axis, y, row["mean"], (row["ci_low"], row["ci_high"]), colour)
                    axis.plot(values, [y] * len(values), "o", color=colour, ms=4, mfc="none", mew=1.1)
                else:
                    axis.annotate("no result", (0.5, y), xycoords=("axes fraction", "data"), ha="center",
                                  va="center", color=MUTED, fontsize=8.5)  # fmt: skip
                if "ensemble" in row and not pd.isna(row["ensemble"]):
                    axis.plot([row["ensemble"]], [y], "*", color=colour, ms=11, mec=PAPER, mew=0.6, zorder=5)
            if metric in CHANCE:
                axis.axvline(CHANCE[metric], color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
            axis.set_title(METRIC_NAMES[metric])
            axis.set_ylim(len(keys) - 0.4, -0.6)
        for axis in grid[:, 0]:
            axis.set_yticks(range(len(keys)), [short_name(model, catalogue) for model, _, _ in keys])
        return figure


def endpoints(tables: Mapping[str, pd.DataFrame], metric: str, catalogue: Catalogue) -> Figure:
    """A metric of several tasks: one line per model, one panel per task, one scale.

    Parameters
    ----------
    tables : mapping of title to DataFrame
        A result table of each task.
    """
    with style():
        models = list(dict.fromkeys(model for table in tables.values() for model in table["model"]))
        figure = new_figure(2.0 + 2.35 * len(tables), 0.9 + 0.36 * len(models))
        axes = figure.subplots(1, len(tables), sharex=True, sharey=True, squeeze=False)[0]
        for axis, (title, table) in zip(axes, tables.items(), strict=True):
            rows = table[(table["metric"] == metric) & table["mean"].notna()]
            for row in rows.drop_duplicates("model").to_dict("records"):
                colour = colour_of(row["model"], catalogue)
                limits = row["ci_low"], row["ci_high"]
                mean_and_interval(axis, models.index(row["model"]), row["mean"], limits, colour)
            if metric in CHANCE:
                axis.axvline(CHANCE[metric], color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
            axis.set_title(textwrap.fill(title, 26))
            axis.set_ylim(len(models) - 0.4, -0.6)
        axes[0].set_yticks(range(len(models)), [short_name(model, catalogue) for model in models])
        return figure


def risk_group_curves(
    curves: Mapping[str, tuple[Sequence[SurvivalCurve], float | None]],
    task: Task,
    catalogue: Catalogue,
) -> Figure:
    """Share without the event by predicted risk group, with 95 % bands, censoring ticks and numbers at risk.

    Parameters
    ----------
    curves : mapping of model to (curves, log-rank p)
    task : Task
        Its unit is used for times.
    """
    from matplotlib.ticker import MaxNLocator

    with style():
        rows = max((len(group) for group, _ in curves.values()), default=0)
        figure, axes = panels(len(curves), 3, 3.3, 3.1 + 0.16 * rows)
        last = [task.in_unit(c.time.max()) for group, _ in curves.values() for c in group]
        end = max(last, default=1.0)
        ticks = [t for t in MaxNLocator(5).tick_values(0, end) if t <= end]
        for axis, (model, (group, p_value)) in zip(axes, curves.items(), strict=True):
            for i, curve in enumerate(group):
                colour, times = _GROUP_COLOURS[curve.group], task.in_unit(curve.time)
                axis.step(times, curve.survival, where="post", color=colour,
                          label=f"{curve.group} (n = {curve.n}, {_events(curve.deaths)})")  # fmt: skip
                axis.fill_between(times, curve.low, curve.high, step="post", color=colour, alpha=0.15, lw=0)
                axis.plot(task.in_unit(curve.censored_at), [curve.at(t) for t in curve.censored_at], "|",
                          color=colour, ms=4, mew=0.8)  # fmt: skip
                exits = task.in_unit(curve.exits)
                for tick in ticks:
                    axis.annotate(f"{int(np.sum(exits >= tick))}", (tick, 0), xycoords=axis.get_xaxis_transform(),
                                  xytext=(0, -25 - 11 * i), textcoords="offset points", color=colour,
                                  fontsize=7.5, ha="center", va="center", annotation_clip=False)  # fmt: skip
            axis.set(title=short_name(model, catalogue), ylim=(0, 1.14 + 0.1 * rows), xlim=(0, end * 1.02))
            axis.set_xticks(ticks)
            axis.set_yticks(np.linspace(0, 1, 6))
            axis.set_xlabel(
                f"{task.unit}; coloured: patients still at risk", fontsize=8.5, labelpad=3 + 11 * rows
            )
            axis.legend(loc="upper right", fontsize=7.5, handlelength=1.2, borderaxespad=0.1,
                        title=log_rank_text(p_value), title_fontsize=8, alignment="left")  # fmt: skip
        axes[0].set_ylabel("share without the event")
        return figure


def _events(count: int) -> str:
    return f"{count} event{'' if count == 1 else 's'}"


def log_rank_text(p_value: float | None) -> str:
    """Return the log-rank test's p as text."""
    if p_value is None:
        return "log-rank: not defined"
    return "log-rank p < 0.0001" if p_value < 1e-4 else f"log-rank p = {p_value:.2g}"


def training(histories: Mapping[str, Sequence[pd.DataFrame]], loss: str, catalogue: Catalogue) -> Figure:
    """Training loss by epoch, one line per fold, one panel per model.

    Parameters
    ----------
    histories : mapping of model to [history]
        Each with the column `loss` and ``epoch``.
    """
    with style():
        figure, axes = panels(len(histories), 3, 3.15, 2.3)
        for axis, (model, folds) in zip(axes, histories.items(), strict=True):
            for history in folds:
                by_epoch = history.groupby("epoch")[loss].mean()
                axis.plot(by_epoch.index, by_epoch, color=colour_of(model, catalogue), alpha=0.75, lw=1.3,
                          marker="o" if len(by_epoch) < 3 else None, ms=3)  # fmt: skip
            axis.set(title=short_name(model, catalogue), xlabel="epoch")
            axis.locator_params(axis="x", integer=True)
        axes[0].set_ylabel("training loss")
        return figure


def gene_selection(var: pd.DataFrame, subspaces: Sequence[str]) -> Figure:
    """Mean against normalised dispersion; selected genes filled, the others faint; coloured by subspace.

    Parameters
    ----------
    var : DataFrame
        From a fold's expression file; genes of several subspaces, whatever their ``subspace``, come last.
    """
    groups = list(dict.fromkeys([*subspaces, *var["subspace"].astype(str)]))
    colours = subspace_colours(subspaces) | dict.fromkeys(groups[len(subspaces) :], MUTED)
    with style():
        figure = new_figure(6.6, 3.6)
        axis = figure.subplots()
        # the largest group first, so that its dots do not hide the others
        for name in sorted(groups, key=lambda group: -int((var["subspace"] == group).sum())):
            rows = var[var["subspace"] == name]
            if rows.empty:
                continue
            chosen = rows["highly_variable"].astype(bool)
            axis.plot(rows.loc[~chosen, "mean"], rows.loc[~chosen, "dispersion_norm"], "o", color=colours[name], ms=3,
                      alpha=0.25, mew=0, rasterized=len(var) > 2500)  # fmt: skip
            label = f"{name}: {int(chosen.sum())} of {len(rows)} selected"
            axis.plot(rows.loc[chosen, "mean"], rows.loc[chosen, "dispersion_norm"], "o", color=colours[name], ms=4,
                      mec=PAPER, mew=0.4, label=label, rasterized=len(var) > 2500)  # fmt: skip
        axis.set(xlabel="mean expression in the training part (log2)", ylabel="normalised dispersion")
        axis.legend(loc="upper right")
        return figure


def stain_vectors(stains: pd.DataFrame) -> Figure:
    """Each slide's two stain vectors in hue-saturation-density coordinates, in the colour they represent.

    Coordinates after van der Laak et al. (2000): c_x = OD_R / D - 1, c_y = (OD_G - OD_B) / (sqrt(3) D), with
    D the mean optical density; they do not depend on the amount of stain.

    Parameters
    ----------
    stains : DataFrame
        slide_id, cohort (:data:`TARGET` for what slides are mapped to), stain (``haematoxylin`` | ``eosin``),
        r, g, b (optical densities of the unit vector).
    """
    markers = "osD^vP"
    with style():
        figure = new_figure(6.6, 3.8)
        axis = figure.subplots()
        density = stains[["r", "g", "b"]].to_numpy(dtype=float)
        mean = density.mean(axis=1)
        x = density[:, 0] / mean - 1
        y = (density[:, 1] - density[:, 2]) / (np.sqrt(3) * mean)
        colours = np.clip(np.exp(-1.1 * density), 0, 1)
        cohorts = sorted(set(stains["cohort"]) - {TARGET})
        for i, cohort in enumerate(cohorts):
            here = (stains["cohort"] == cohort).to_numpy()
            axis.scatter(x[here], y[here], c=colours[here], s=34, marker=markers[i % len(markers)],
                         edgecolors=MUTED, linewidths=0.5)  # fmt: skip
            axis.scatter([], [], c=MUTED, s=34, marker=markers[i % len(markers)], label=cohort)
        target = (stains["cohort"] == TARGET).to_numpy()
        if target.any():
            axis.scatter(x[target], y[target], c=colours[target], s=190, marker="*", edgecolors=INK, linewidths=1.2,
                         zorder=5)  # fmt: skip
            axis.scatter([], [], c="none", edgecolors=INK, s=110, marker="*", label=TARGET)
        for name in dict.fromkeys(stains["stain"]):
            here = (stains["stain"] == name).to_numpy()
            axis.annotate(name, (np.median(x[here]), np.max(y[here])), xytext=(0, 9), textcoords="offset points",
                          ha="center", fontweight="bold")  # fmt: skip
        axis.margins(0.12, 0.16)
        axis.set(xlabel="c_x: share of red absorbed", ylabel="c_y: green against blue absorbed")
        axis.legend(loc="best")
        return figure


def tiles_per_slide(ledger: pd.DataFrame) -> Figure:
    """Tiles of every used slide at 10x and 20x, by cohort (log scale)."""
    cohorts = sorted(set(ledger["cohort"]))
    rng = np.random.default_rng(0)
    with style():
        figure = new_figure(6.6, 0.9 + 0.55 * len(cohorts))
        axis = figure.subplots()
        for y, cohort in enumerate(cohorts):
            rows = ledger[ledger["cohort"] == cohort]
            for offset, column, colour, label in ((-0.17, "n_10x", SKY, "10x"), (0.17, "n_20x", BLUE, "20x")):
                values = pd.to_numeric(rows[column]).dropna().to_numpy(dtype=float)
                jitter = rng.uniform(-0.12, 0.12, len(values))
                axis.plot(values, y + offset + jitter, "o", color=colour, ms=3.5, alpha=0.6, mew=0,
                          label=label if y == 0 else None, rasterized=len(ledger) > 2000)  # fmt: skip
                if len(values):
                    middle = np.median(values)
                    axis.plot([middle] * 2, [y + offset - 0.15, y + offset + 0.15], color=INK, lw=1.6)
        axis.set_xscale("log")
        axis.set_yticks(range(len(cohorts)), cohorts)
        axis.set(ylim=(len(cohorts) - 0.45, -0.55), xlabel="tissue tiles per slide; black = median")
        axis.grid(axis="y", visible=False)
        axis.legend(loc="upper left", ncols=2, bbox_to_anchor=(0, 1.25), borderaxespad=0)
        return figure


def time_by_rule(times: pd.DataFrame) -> Figure:
    """Seconds per rule, summed over its jobs.

    Parameters
    ----------
    times : DataFrame
        rule, seconds; longest first.
    """
    with style():
        figure = new_figure(6.6, 0.7 + 0.3 * len(times))
        axis = figure.subplots()
        minutes = times["seconds"] / 60
        axis.barh(range(len(times)), minutes, color=BLUE, height=0.62)
        for y, value in enumerate(minutes):
            axis.annotate(f"{value:.1f}", (value, y), xytext=(4, 0), textcoords="offset points", va="center",
                          fontsize=8.5)  # fmt: skip
        axis.set_yticks(range(len(times)), times["rule"])
        axis.invert_yaxis()
        axis.set_xlabel("minutes, all jobs of the rule together")
        axis.grid(axis="y", visible=False)
        axis.margins(x=0.1)
        return figure
