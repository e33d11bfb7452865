"""The tables of variations: rows of several tasks, grouped by what they compare."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.evaluation.collect import collect
from pathduet.evaluation.model_facts import read_model_facts
from pathduet.evaluation.multiple_testing import holm
from pathduet.evaluation.table_files import write_table
from pathduet.evaluation.tables import cross_fold_table

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
        ``task``, ``model``, ``group`` and ``title`` of each row, from :meth:`pathduet.workflow.plan.Plan.variation_rows`.
    n_folds : int
    settings : mapping
        ``seed``, ``bootstrap`` (number of resamples).

    Returns
    -------
    DataFrame
        Columns of :func:`pathduet.evaluation.tables.cross_fold_table` with `group` before them; a model that is compared in two groups
        stands in both. Holm's correction is over all tests of the table.
    """
    parts = []
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        models = list(dict.fromkeys(row["model"] for row in mine))
        parent = Path(results) / "models" / task
        # what a variation is tested against has to be there, whether the table shows it or not
        facts = {name: read_model_facts(parent, name, range(n_folds)) for name in models}
        others = {one.compared_with for one in facts.values()} - {"", *models}
        found = collect(parent, models, n_folds)
        predictions = {**collect(parent, sorted(others), n_folds).predictions, **found.predictions}
        numbers = cross_fold_table(
            task, found.metrics, predictions=predictions, models=models, n_folds=n_folds, facts=facts,
            failures=found.failures, resamples=settings["bootstrap"], seed=settings["seed"],
        )  # fmt: skip
        for row in mine:
            part = numbers[numbers["model"] == row["model"]].copy()
            part["title"] = row["title"]
            part.insert(0, "group", row["group"])
            parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    # a model that stands in two groups is tested once
    keys = ["task", "model", "variant", "protocol", "metric"]
    once = table.drop_duplicates(keys).set_index(keys)["p"]
    adjusted = pd.Series(
        holm([None if pd.isna(p) else float(p) for p in once]), index=once.index, dtype=float
    )
    table["p_holm"] = adjusted.reindex(pd.MultiIndex.from_frame(table[keys])).to_numpy()
    return table


def write_variation_table(
    results: str | os.PathLike[str],
    name: str,
    rows: Sequence[Mapping[str, str]],
    n_folds: int,
    settings: Mapping[str, Any],
    tsv: str | os.PathLike[str],
    md: str | os.PathLike[str],
    *,
    html: str | os.PathLike[str] | None = None,
    figure: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Write a table of variations in every form, and return it; parameters as in :func:`variation_table`."""
    table = variation_table(results, rows, n_folds, settings)
    write_table(table, tsv, md, TITLES[name], html=html, figure=figure)
    return table
