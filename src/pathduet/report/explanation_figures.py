"""Figures of the explanations, drawn only from the tables in ``results/explanations/<task>/``."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pathduet.catalogue import CATALOGUE, Model, named
from pathduet.cohort.tasks import Task
from pathduet.core.checksums import checked
from pathduet.core.plural import plural
from pathduet.evaluation.survival_curves import kaplan_meier, log_rank
from pathduet.explain.colours import COLOUR_MAP, subspace_colours
from pathduet.explain.files import EMBEDDING_MEASURES, EVENT_CLASSES, REGION_MEASURES
from pathduet.explain.words import subspace_title, subspace_word
from pathduet.report.drawing import (
    INK,
    MUTED,
    PALETTE,
    PAPER,
    NothingToDraw,
    mean_and_interval,
    new_figure,
    style,
)
from pathduet.report.figures import colour_of, risk_group_curves, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEVEL = 0.05
#: Genes labelled in a figure, besides those pointed out.
_LABELLED = 3
_MARKERS = "os^Dv*"


@dataclass(frozen=True)
class About:
    """The data that a task's figures need besides their tables.

    Attributes
    ----------
    task : Task
    subspaces : tuple of str
        In the configuration's order.
    catalogue : mapping of str to Model
        Every model of the run.
    """

    task: Task
    subspaces: tuple[str, ...]
    catalogue: Mapping[str, Model] = field(default_factory=lambda: CATALOGUE)

    def name(self, model: str) -> str:
        """Return a model's name for an axis."""
        return short_name(model, self.catalogue)

    def colour(self, model: str, models: Sequence[str]) -> str:
        """Return a model's colour among `models`."""
        return colour_of(model, self.catalogue, models)

    @property
    def colours(self) -> dict[str, str]:
        """Colours of the subspaces."""
        return subspace_colours(self.subspaces)

    def genes_of(self, group: str) -> str:
        """Return the display name of a subspace's genes; for other groups, that several subspaces share them."""
        if group in self.subspaces:
            return f"{subspace_title(group)} genes"
        return f"Genes of {'both' if len(self.subspaces) == 2 else 'several'} lists"


def _order(names: pd.Series) -> list[str]:
    return list(dict.fromkeys(names.astype(str)))


def _need(table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        raise NothingToDraw
    return table


def embedding(coordinates: pd.DataFrame, about: About) -> Figure:
    """Test patients of each fold in the plane: a row per model, a column per fold, colour by class or value.

    Parameters
    ----------
    coordinates : DataFrame
        ``embedding.tsv``.
    about : About
    """
    table = _need(coordinates)
    models, folds = _order(table["model"]), sorted(set(table["fold"]))
    with style():
        figure = new_figure(1.1 + 2.0 * len(folds), 0.7 + 1.85 * len(models))
        axes = figure.subplots(len(models), len(folds), squeeze=False)
        for row, model in enumerate(models):
            for column, fold in enumerate(folds):
                axis: Axes = axes[row][column]
                points = table[(table["model"] == model) & (table["fold"] == fold)]
                if about.task.kind == "regression":
                    _by_value(axis, points, table["value"])
                else:
                    _by_class(axis, points, about.task)
                axis.set(xticks=[], yticks=[])
                axis.margins(0.1)
                axis.spines[["top", "right"]].set_visible(True)
                if row == 0:
                    axis.set_title(f"Fold {fold}")
                if column == 0:
                    axis.set_ylabel(about.name(model), color=INK)
        if about.task.kind == "regression":
            bar = figure.colorbar(axes[0][0].collections[-1], ax=axes, shrink=0.6, label=about.task.title)
            bar.outline.set_visible(False)  # type: ignore[operator]
            return figure
        handles, labels = axes[0][0].get_legend_handles_labels()
        unknown = (table["class"].fillna("") == "").any()
        present = [i for i, label in enumerate(labels) if label != "unknown" or unknown]
        figure.legend([handles[i] for i in present], [labels[i] for i in present], loc="outside lower center",
                      ncols=min(4, len(present)))  # fmt: skip
        return figure


def _by_class(axis: Axes, points: pd.DataFrame, task: Task) -> None:
    classes = EVENT_CLASSES if task.kind == "survival" else task.classes
    for place, name in enumerate(["", *classes], -1):
        own = points[points["class"].fillna("").astype(str) == name]
        colour = PALETTE[place % len(PALETTE)] if name else MUTED
        marker = _MARKERS[max(place, 0) // len(PALETTE) % len(_MARKERS)]
        axis.plot(own["x"], own["y"], marker, ms=5, mec=PAPER, mew=0.5, color=colour,
                  label=task.class_title(name) if name else "unknown", alpha=0.9)  # fmt: skip


def _by_value(axis: Axes, points: pd.DataFrame, values: pd.Series) -> None:
    """Draw a fold's patients on the same colour scale in every panel; those without a value are open."""
    known = points[points["value"].notna()]
    rest = points[points["value"].isna()]
    axis.plot(rest["x"], rest["y"], "o", ms=5, mfc="none", mec=MUTED, mew=0.8)
    axis.scatter(known["x"], known["y"], s=25, c=known["value"], cmap=COLOUR_MAP, vmin=values.min(), vmax=values.max(),
                 edgecolors=PAPER, linewidths=0.5)  # fmt: skip


def embedding_scores(scores: pd.DataFrame, about: About) -> Figure:
    """Separation in the representation space: folds, their mean and its interval, one panel per measure."""
    table, measures = _need(scores[scores["value"].notna()]), EMBEDDING_MEASURES[about.task.kind]
    models = _order(table["model"])
    with style():
        figure = new_figure(2.0 + 2.3 * len(measures), 1.1 + 0.4 * len(models))
        axes = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        for axis, (measure, name) in zip(axes, measures.items(), strict=True):
            for y, model in enumerate(models):
                own = table[(table["model"] == model) & (table["measure"] == measure)]
                _spread(axis, own, y, about.colour(model, models))
            chance = table.loc[(table["measure"] == measure) & (table["fold"] == "mean"), "chance"].mean()
            if np.isfinite(chance):
                axis.axvline(chance, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
            title, _, unit = name.partition(" (")
            axis.locator_params(axis="x", nbins=5)
            axis.set_title(title)
            axis.set_xlabel(unit.rstrip(")") or "-1 to 1", fontsize=8.5)
            axis.set_ylim(len(models) - 0.4, -0.6)
            axis.grid(axis="y", visible=False)
        axes[0].set_yticks(range(len(models)), [about.name(model) for model in models])
        return figure


def _spread(axis: Axes, own: pd.DataFrame, y: float, colour: str) -> None:
    for row in own[own["fold"] == "mean"].to_dict("records"):
        mean_and_interval(axis, y, row["value"], (row["ci_low"], row["ci_high"]), colour)
    values = own.loc[own["fold"] != "mean", "value"]
    axis.plot(values, [y] * len(values), "o", color=colour, ms=4, mfc="none", mew=1.1)


def gene_correlation(table: pd.DataFrame, about: About) -> Figure:
    """Pearson r of every gene, one panel per subspace, a column per model; genes with q < 0.05 are filled."""
    table = _need(table[table["r"].notna()])
    models, there = _order(table["model"]), _order(table["subspace"])
    # genes of several subspaces are grouped under their own name
    subspaces = [*(s for s in about.subspaces if s in there), *(s for s in there if s not in about.subspaces)]
    with style():
        figure = new_figure(1.0 + (0.6 + 1.25 * len(models)) * len(subspaces), 4.2)
        axes = figure.subplots(1, len(subspaces), sharey=True, squeeze=False)[0]
        for axis, subspace in zip(axes, subspaces, strict=True):
            colour = about.colours.get(subspace, MUTED)
            for x, model in enumerate(models):
                own = table[(table["model"] == model) & (table["subspace"] == subspace)]
                _genes_of(axis, own.reset_index(drop=True), x, colour)
            axis.axhline(0, color=MUTED, lw=0.9)
            axis.set_title(about.genes_of(subspace))
            axis.set_xticks(range(len(models)), [about.name(model).replace(" ", "\n", 1) for model in models])
            axis.set_xlim(-0.55, len(models) - 0.3)
            axis.grid(axis="x", visible=False)
        axes[0].set_ylabel("Pearson r with the score")
        return figure


def _genes_of(axis: Axes, own: pd.DataFrame, x: int, colour: str) -> None:
    """Draw one model's genes of one subspace in a column; label the first and those pointed out."""
    place = x + _scatter(own["r"].to_numpy())
    sure = (own["q"] < _LEVEL).to_numpy()
    axis.plot(place[~sure], own["r"][~sure], "o", ms=2.2, mfc="none", mec=colour, mew=0.5, alpha=0.45,
              rasterized=True)  # fmt: skip
    axis.plot(place[sure], own["r"][sure], "o", ms=3.4, color=colour, mec=PAPER, mew=0.3)
    for i in dict.fromkeys([*own.index[own["pointed_out"].astype(bool)], *own.index[:1]]):
        axis.plot(place[i], own["r"][i], "o", ms=6.5, mfc="none", mec=INK, mew=1.1)
        axis.annotate(f"{own['gene'][i]} {own['r'][i]:.2f}", (place[i], own["r"][i]), (5, 5),
                      textcoords="offset points", fontsize=7.5, color=INK,
                      bbox={"boxstyle": "round,pad=0.15", "fc": PAPER, "ec": "none", "alpha": 0.75})  # fmt: skip


def _scatter(values: np.ndarray) -> np.ndarray:
    """Return horizontal offsets that spread points with similar values: wide where there are many."""
    if not len(values):
        return np.zeros(0)
    counts, edges = np.histogram(values, bins=40)
    bin_of = np.clip(np.digitize(values, edges) - 1, 0, len(counts) - 1)
    offsets = np.zeros(len(values))
    for number in np.unique(bin_of):
        rows = np.flatnonzero(bin_of == number)
        width = 0.36 * len(rows) / counts.max()
        offsets[rows] = np.linspace(-width, width, len(rows)) if len(rows) > 1 else 0
    return offsets


def region_agreement(table: pd.DataFrame, about: About) -> Figure:
    """Dice and recall of each subspace by model and magnification, and the structures of one model; bars mark chance."""
    table = _need(table[table["value"].notna()])
    whole = table[table["measure"] != "structure"]
    keys = list(dict.fromkeys(zip(whole["model"], whole["magnification"], whole["part"])))
    models = _order(table["model"])
    shown = "distilled" if "distilled" in models else models[0]
    tested = (table["model"] == shown) & (table["part"] == "test")
    structures = table[tested & (table["measure"] == "structure")]
    names = list(dict.fromkeys(zip(structures["subspace"], structures["structure"])))
    subspaces = [name for name in about.subspaces if name in set(whole["subspace"])]
    height = 1.2 + max(0.26, 0.13 * len(subspaces)) * len(keys)
    with style():
        heights = [height, 0.8 + 0.34 * len(names)] if names else [height]
        figure = new_figure(8.6, sum(heights))
        parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        axes = parts[0].subplots(1, len(REGION_MEASURES), sharey=True)
        for axis, (measure, title) in zip(axes, REGION_MEASURES.items(), strict=True):
            for row in whole[whole["measure"] == measure].to_dict("records"):
                y = keys.index((row["model"], row["magnification"], row["part"]))
                shift = 0.7 * ((subspaces.index(row["subspace"]) + 0.5) / len(subspaces) - 0.5)
                _against_chance(axis, row, y + shift, about.colours[row["subspace"]])
            axis.set(title=title, xlim=(0, 1.02), ylim=(len(keys) - 0.4, -0.6))
            axis.grid(axis="y", visible=False)
        for subspace in subspaces:
            axes[0].plot([], [], "D", color=about.colours[subspace], ms=5, label=subspace_title(subspace))
        parts[0].legend(loc="outside lower center", ncols=len(subspaces))
        labels = [f"{about.name(model)}, {m}, {part}" for model, m, part in keys]
        axes[0].set_yticks(range(len(keys)), labels)
        if names:
            axis = parts[1].subplots()
            _structures(axis, structures, names, about)
            axis.set_title(f"{about.name(shown)}, test slides: share of a structure's tiles in its prototype")
        return figure


def _structures(axis: Axes, rows: pd.DataFrame, names: Sequence[tuple[str, str]], about: About) -> None:
    """Draw the share of each structure's tiles at both magnifications."""
    for y, (subspace, structure) in enumerate(names):
        own = rows[(rows["subspace"] == subspace) & (rows["structure"] == structure)].sort_values(
            "magnification"
        )
        for shift, row in zip((-0.17, 0.17), own.to_dict("records")):
            _against_chance(axis, row, y + shift, about.colours[subspace])
            axis.annotate(f"{row['magnification']}, {plural(row['tiles'], 'tile')}", (1.01, y + shift), fontsize=7,
                          color=MUTED, va="center", annotation_clip=False)  # fmt: skip
    labels = [f"{structure.replace('_', ' ')} ({subspace_word(subspace)})" for subspace, structure in names]
    axis.set_yticks(range(len(names)), labels)
    axis.set(xlim=(0, 1.0), ylim=(len(names) - 0.4, -0.6))
    axis.grid(axis="y", visible=False)


def _against_chance(axis: Axes, row: dict[Any, Any], y: float, colour: str) -> None:
    mean_and_interval(axis, y, row["value"], (row["ci_low"], row["ci_high"]), colour, size=5)
    if pd.notna(row["chance"]):
        axis.plot([row["chance"]], [y], "|", color=INK, ms=8, mew=1.4, zorder=3)


def top_tiles(tiles: pd.DataFrame, about: About) -> Figure:
    """Rows of tiles, one row for each group of slides and prototype."""
    from PIL import Image

    tiles = _need(tiles)
    rows = list(tiles.groupby(["group", "subspace"], sort=False))
    columns = max(len(row) for _, row in rows)
    with style():
        figure = new_figure(2.2 + columns, 0.3 + 1.06 * len(rows))
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for row, ((group, subspace), found) in zip(axes, rows, strict=True):
            for axis in row:
                axis.set_axis_off()
            for axis, picture in zip(row, found["picture"], strict=False):
                axis.imshow(
                    np.asarray(Image.open(io.BytesIO(base64.b64decode(picture)))), interpolation="none"
                )
            row[0].text(
                -0.08, 0.5, f"{group}\n{subspace_word(str(subspace))}", transform=row[0].transAxes, ha="right", va="center",
                color=about.colours[str(subspace)],
            )  # fmt: skip
        return figure


def gene_attention(genes: pd.DataFrame, sets: pd.DataFrame, about: About) -> Figure:
    """Weight in the selection at both magnifications, agreement of the magnifications, and means of gene sets."""
    genes = _need(genes)
    with style():
        rows = sets[sets["set"] != "all"]
        figure = new_figure(10.2, max(3.7, 1.2 + 0.27 * len(rows)))
        axes = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
        reach = max(0.05, float(genes["agreement"].abs().max())) if genes["agreement"].notna().any() else 1.0
        labelled: list[list[Any]] = []
        for subspace, own in genes.groupby("subspace", sort=False):
            colour, name = about.colours[str(subspace)], about.genes_of(str(subspace))
            axes[0].plot(own["selection_10x"], own["selection_20x"], "o", ms=3, color=colour, alpha=0.55, mew=0,
                         label=name)  # fmt: skip
            labelled += own.head(_LABELLED)[["gene", "selection_10x", "selection_20x"]].values.tolist()
            known = own["agreement"].dropna()
            if len(known):
                axes[1].hist(known, bins=np.linspace(-reach, reach, 41), color=colour, alpha=0.55, label=name)
        axes[0].set(title="Weight in the selection (1 = even)", xlabel="at 10x", ylabel="at 20x")
        axes[0].margins(0.08)
        _label_apart(axes[0], labelled)
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=4, markerscale=1.6
        )
        axes[1].axvline(0, color=MUTED, lw=0.9)
        axes[1].set(title="Same gene at 10x and 20x", xlabel="r over the sampled points", ylabel="genes")
        first = about.subspaces[0]
        gains = rows[[f"{first}_gain_10x", f"{first}_gain_20x"]]
        values, title = gains.mean(axis=1), f"On {subspace_word(first)} regions"
        if not values.notna().any():
            values, title = rows[["selection_10x", "selection_20x"]].mean(axis=1), "Gene sets"
        for y, (value, subspace) in enumerate(zip(values, rows["subspace"], strict=True)):
            axes[2].plot([value], [y], "D", color=about.colours[subspace], ms=5, mec=PAPER, mew=0.7)
        axes[2].axvline(1.0, color=MUTED, lw=1, ls=(0, (4, 3)))
        axes[2].set_yticks(range(len(rows)), [f"{name} ({n})" for name, n in zip(rows["set"], rows["genes"], strict=True)],
                           fontsize=8)  # fmt: skip
        axes[2].set(title=title, xlabel="1 = even", ylim=(max(len(rows), 1) - 0.4, -0.6))
        axes[2].grid(axis="y", visible=False)
        return figure


def _label_apart(axis: Axes, named: Sequence[Sequence[Any]]) -> None:
    """Write names beside points, above or below them; skip a name that would overlap another."""
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    taken: list[tuple[float, float]] = []
    for text, x, y in named:
        across, up = (x - left) / (right - left), (y - bottom) / (top - bottom)
        for points, shift in ((3, 0.0), (-9, -0.06)):
            if all(abs(across - a) > 0.24 or abs(up + shift - u) > 0.045 for a, u in taken):
                axis.annotate(text, (x, y), (3, points), textcoords="offset points", fontsize=7, color=INK)
                taken.append((across, up + shift))
                break


def risk_groups(patients: pd.DataFrame, about: About, part: str = "test", split: str = "median") -> Figure:
    """Kaplan-Meier curves of predicted risk groups, one panel per model.

    Parameters
    ----------
    patients : DataFrame
        ``risk_group_patients.tsv``.
    about : About
    part : {"test", "external"}
    split : {"median", "tertiles"}
    """
    rows = patients[(patients["part"] == part) & (patients["split"] == split)] if len(patients) else patients
    rows = _need(rows)
    curves = {}
    for model in _order(rows["model"]):
        own = rows[rows["model"] == model]
        curves[model] = (kaplan_meier(own, split), log_rank(own))
    return risk_group_curves(curves, about.task, about.catalogue)


def calibration(table: pd.DataFrame, about: About) -> Figure:
    """Predicted against observed event-free share: columns are horizons, rows test and external patients."""
    table = _need(
        table[table["group"].notna() & (table["group"] > 0)] if "group" in table else table.iloc[:0]
    )
    parts, models = _order(table["part"]), _order(table["model"])
    with style():
        columns = max(len(set(table.loc[table["part"] == part, "day"])) for part in parts)
        figure = new_figure(0.8 + 2.6 * columns, 0.9 + 2.6 * len(parts))
        axes = figure.subplots(len(parts), columns, squeeze=False)
        for line, part in zip(axes, parts, strict=True):
            days = sorted(set(table.loc[table["part"] == part, "day"]))
            for axis in line[len(days) :]:
                axis.remove()
            for axis, day in zip(line, days):
                axis.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)))
                for model in models:
                    own = table[(table["part"] == part) & (table["day"] == day) & (table["model"] == model)]
                    if own.empty:
                        continue
                    colour = about.colour(model, models)
                    shift = 0.008 * (models.index(model) - (len(models) - 1) / 2)
                    axis.vlines(
                        own["predicted"] + shift, own["low"], own["high"], color=colour, lw=1.2, alpha=0.5
                    )
                    axis.plot(own["predicted"] + shift, own["observed"], "o-", color=colour, ms=4.5, lw=1.2, mec=PAPER,
                              mew=0.6, label=about.name(model))  # fmt: skip
                axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), title=f"{_time(day, about.task)}, {part}")
                axis.set_aspect("equal")
            line[0].set_ylabel("observed share")
        for axis in axes[-1][: len(days)]:
            axis.set_xlabel("predicted")
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
        return figure


def dynamic_auc(table: pd.DataFrame, about: About) -> Figure:
    """AUC(t) by model with the SD over folds, one panel each for test and external patients."""
    table = _need(table[table["auc"].notna()] if "auc" in table else table.iloc[:0])
    parts, models, task = _order(table["part"]), _order(table["model"]), about.task
    with style():
        figure = new_figure(0.8 + 3.6 * len(parts), 3.3)
        axes = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
        for axis, part in zip(axes, parts, strict=True):
            inside = table[table["part"] == part]
            step = 0.02 * task.in_unit(max(inside["day"].max(), 36.5))
            for i, model in enumerate(models):
                own = inside[inside["model"] == model].sort_values("day")
                x = task.in_unit(own["day"]) + step * (i - (len(models) - 1) / 2)
                dashed = "-" if named(model, about.catalogue).kind == "method" else "--"
                axis.errorbar(x, own["auc"], own["sd"], color=about.colour(model, models), marker=_MARKERS[i % 6],
                              ms=4.5, lw=1.3, ls=dashed, elinewidth=1, label=about.name(model))  # fmt: skip
            axis.axhline(0.5, color=MUTED, lw=1, ls=(0, (4, 3)))
            axis.set(title=f"{part.capitalize()} patients", xlabel=task.unit)
        axes[0].set_ylabel("AUC(t)")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return figure


def _time(day: float, task: Task) -> str:
    """Return a time in the task's unit: ``12 months``, ``1 year``, ``730 days``."""
    number = f"{task.in_unit(day):.1f}".removesuffix(".0")
    return f"{number} {task.unit.removesuffix('s') if number == '1' else task.unit}"


#: Figure file to its function and the tables that it takes, before the :class:`About`.
FIGURES: dict[str, tuple[Callable[..., Figure], tuple[str, ...]]] = {
    "embedding.svg": (embedding, ("embedding.tsv",)),
    "embedding_scores.svg": (embedding_scores, ("embedding_scores.tsv",)),
    "gene_correlation.svg": (gene_correlation, ("gene_correlation.tsv",)),
    "region_agreement.svg": (region_agreement, ("region_agreement.tsv",)),
    "top_tiles.svg": (top_tiles, ("top_tiles.tsv",)),
    "gene_attention.svg": (gene_attention, ("gene_attention.tsv", "gene_attention_sets.tsv")),
    "risk_groups.svg": (risk_groups, ("risk_group_patients.tsv",)),
    "calibration.svg": (calibration, ("calibration.tsv",)),
    "dynamic_auc.svg": (dynamic_auc, ("dynamic_auc.tsv",)),
}


def read_table(path: Path) -> pd.DataFrame:
    """Return a table of an explanation; text columns stay text (``NA`` is a gene's name, not a missing value)."""
    table = pd.read_csv(
        checked(path), sep="\t", keep_default_na=False, na_values=[""], dtype={"gene": str, "fold": str}
    )
    for name in ("class", "structure", "reason"):
        if name in table:
            table[name] = table[name].fillna("").astype(str)
    return table
