"""Find the metrics and predictions of a results folder and put the tables together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.evaluation.predictions import read_predictions


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
    if not (folder / "weights.safetensors").is_file() and not folder.parent.name.startswith("cox"):
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
            found.metrics.append(json.loads((folder / "metrics.json").read_text(encoding="utf-8")))
            found.predictions[(model, fold)] = read_predictions(folder / "predictions.tsv")
        whole = parent / model / "ensemble" / "metrics.json"
        if ensemble and whole.is_file():
            found.metrics.append(json.loads(whole.read_text(encoding="utf-8")))
    return found
