"""Find the metrics and predictions of a results folder and put the tables together."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.evaluation.calibration import calibration_rows
from pathduet.evaluation.model_facts import ModelFacts, read_model_facts
from pathduet.evaluation.predictions import read_predictions
from pathduet.evaluation.table_files import write_table
from pathduet.evaluation.tables import cross_fold_table, external_table


@dataclass
class Collected:
    """What a results folder holds of one task.

    Attributes
    ----------
    metrics : list of dict
        Contents of ``metrics.json``.
    predictions : dict of (model, fold) to DataFrame
        Folds' predictions.
    failures : dict of (model, fold) to str
        Expected but not there, and why as far as the folder tells.
    """

    metrics: list[dict[str, Any]] = field(default_factory=list)
    predictions: dict[tuple[str, int], pd.DataFrame] = field(default_factory=dict)
    failures: dict[tuple[str, int], str] = field(default_factory=dict)


def _reason(folder: Path) -> str:
    """Return why a fold's folder has no metrics: what stands there tells which step is missing."""
    if not folder.is_dir():
        return "not run, or the training failed (no folder)"
    if not (folder / "weights.safetensors").is_file() and not folder.parent.name.startswith(
        ("cox_", "logistic_")
    ):
        return "the training left no weights"
    if not (folder / "predictions.tsv").is_file():
        return "trained, but the evaluation left no predictions"
    return "predictions without metrics.json"


def collect(parent: Path, models: Sequence[str], n_folds: int, *, ensemble: bool = False) -> Collected:
    """Collect ``{parent}/{model}/fold-{k}/{metrics.json,predictions.tsv}``.

    Parameters
    ----------
    parent : Path
        ``results/models/<task>`` or ``results/external/survival``.
    models : sequence of str
        Models that should be there.
    n_folds : int
    ensemble : bool
        Also read ``{model}/ensemble``.
    """
    found = Collected()
    for model in models:
        for fold in range(n_folds):
            folder = parent / model / f"fold-{fold}"
            if not (folder / "metrics.json").is_file() or not (folder / "predictions.tsv").is_file():
                found.failures[(model, fold)] = _reason(folder)
                continue
            try:
                metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
                predictions = read_predictions(folder / "predictions.tsv")
            # Broken JSON and broken tables (pandas' ParserError) are ValueErrors; one costs its fold only.
            except (OSError, ValueError) as error:
                found.failures[(model, fold)] = f"cannot be read: {type(error).__name__}: {str(error)[:200]}"
                continue
            if "failed" in metrics:
                found.failures[(model, fold)] = str(metrics["failed"])
                continue
            found.metrics.append(metrics)
            found.predictions[(model, fold)] = predictions
        whole = parent / model / "ensemble" / "metrics.json"
        if ensemble and whole.is_file():
            metrics = json.loads(whole.read_text(encoding="utf-8"))
            if "failed" not in metrics:
                found.metrics.append(metrics)
    return found


def write_task_table(
    results: str | os.PathLike[str],
    name: str,
    models: Sequence[str],
    n_folds: int,
    settings: Mapping[str, Any],
    tsv: str | os.PathLike[str],
    md: str | os.PathLike[str],
    *,
    html: str | os.PathLike[str] | None = None,
    figure: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Collect a task's results, write its table as TSV and Markdown (and as HTML and SVG), and return it.

    Parameters
    ----------
    name : {"diagnosis", "grading", "survival", "external"}
    models : sequence of str
        Rows, in whichever order.
    settings : mapping
        ``seed``, ``bootstrap`` (number of resamples).
    """
    external = name == "external"
    task = "survival" if external else name
    parent = Path(results) / ("external/survival" if external else f"models/{name}")
    found = collect(parent, models, n_folds, ensemble=external)
    # an external cohort's predictions come from the same models
    facts = {m: read_model_facts(Path(results) / "models" / task, m, range(n_folds)) for m in models}
    options: dict[str, Any] = {
        "predictions": found.predictions,
        "models": models,
        "n_folds": n_folds,
        "failures": found.failures,
        "resamples": settings["bootstrap"],
        "seed": settings["seed"],
        "facts": facts,
    }
    if external:
        table, title = external_table(found.metrics, **options), "Survival on the external cohort"
    else:
        table, title = (
            cross_fold_table(name, found.metrics, **options),
            f"{name.capitalize()}, cross-validated",
        )
    write_table(table, tsv, md, title, html=html, figure=figure, calibration=calibration(found, task, facts))
    return table


def calibration(found: Collected, task: str, facts: Mapping[str, ModelFacts]) -> pd.DataFrame:
    """Return model, fold, of, measure and value of every prediction that can be calibrated."""
    units = {(m["model"], m["fold"]): str(m["unit"]) for m in found.metrics}
    rows = [
        {"model": model, "fold": fold, **row}
        for (model, fold), table in found.predictions.items()
        for row in calibration_rows(table, task, units[(model, fold)], facts[model].edges.get(fold))
    ]
    return pd.DataFrame(rows, columns=["model", "fold", "of", "measure", "value"])
