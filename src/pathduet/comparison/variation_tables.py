"""The tables of variations: rows of several tasks, grouped by what they compare."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.atomic import write_text, write_tsv
from pathduet.evaluation.collect import collect
from pathduet.evaluation.metrics import metric_names
from pathduet.evaluation.tables import METRIC_NAMES, cross_fold_table, with_spread

TITLES = {
    "ablation": "Ablation",
    "hvg": "Gene selection",
    "findings": "Findings: modality, gene input, attention and magnification",
}


def variation_table(
    results: str | os.PathLike[str],
    rows: Sequence[Mapping[str, str]],
    n_folds: int,
    settings: Mapping[str, Any],
) -> pd.DataFrame:
    """Return the rows of a table of variations, holes with their reasons.

    Parameters
    ----------
    results : path
        The results folder.
    rows : sequence of mapping
        ``task``, ``model``, ``group`` and ``title`` of each row, from :meth:`pathduet.plan.Plan.variation_rows`.
    n_folds : int
    settings : mapping
        ``seed``, ``bootstrap`` (number of resamples).

    Returns
    -------
    DataFrame
        Columns of :func:`pathduet.evaluation.tables.cross_fold_table` with `group` and `title` before them; a model that is
        compared in two groups stands in both.
    """
    parts = []
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        models = list(dict.fromkeys(row["model"] for row in mine))
        found = collect(Path(results) / "models" / task, models, n_folds)
        numbers = cross_fold_table(
            task, found.metrics, predictions=found.predictions, models=models, n_folds=n_folds,
            failures=found.failures, resamples=settings["bootstrap"], seed=settings["seed"],
        )  # fmt: skip
        for row in mine:
            part = numbers[numbers["model"] == row["model"]].copy()
            part.insert(0, "title", row["title"])
            part.insert(0, "group", row["group"])
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def variation_markdown(table: pd.DataFrame, title: str) -> str:
    """Return a table of variations for people: a section a task and group, then the holes."""
    lines = [f"# {title}", ""]
    for (task, group), part in table.groupby(["task", "group"], sort=False):
        metrics = [m for m in metric_names(str(task)) if m in set(part["metric"])]
        lines += [f"## {str(task).capitalize()}: {group}", ""]
        lines += ["| " + " | ".join(["", *(METRIC_NAMES.get(m, m) for m in metrics)]) + " |"]
        lines += ["|" + "---|" * (len(metrics) + 1)]
        for name, rows in part.groupby("title", sort=False):
            unit = rows["unit"].iloc[0]
            by_metric = rows[rows["unit"] == unit].set_index("metric")
            cells = [with_spread(by_metric.loc[m].to_dict()) for m in metrics]
            lines += ["| " + " | ".join([str(name), *cells]) + " |"]
        lines.append("")
    holes = table.loc[table["holes"].fillna("") != "", ["task", "model", "holes"]].drop_duplicates()
    if len(holes):
        lines += ["## Holes", ""]
        lines += [f"- {row.task}, {row.model}: {row.holes}" for row in holes.itertuples()]
        lines.append("")
    return "\n".join(lines)


def write_variation_table(
    results: str | os.PathLike[str],
    name: str,
    rows: Sequence[Mapping[str, str]],
    n_folds: int,
    settings: Mapping[str, Any],
    tsv: str | os.PathLike[str],
    md: str | os.PathLike[str],
) -> pd.DataFrame:
    """Write a table of variations as TSV and Markdown, and return it; parameters as in :func:`variation_table`."""
    table = variation_table(results, rows, n_folds, settings)
    write_tsv(tsv, table)
    write_text(md, variation_markdown(table, TITLES[name]))
    return table
