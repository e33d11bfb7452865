"""Predictions and metrics of a table's models, collected from a results folder, with reasons for gaps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.catalogue import CATALOGUE, Model, named
from pathduet.cohort.tasks import Task
from pathduet.core.checksums import checked
from pathduet.core.faults import raise_machine_fault
from pathduet.evaluation.model_summary import read_record
from pathduet.evaluation.predictions import read_predictions, with_truth
from pathduet.results import DESCRIPTION, PREDICTIONS, Results


@dataclass
class Collected:
    """One task's models in every fold.

    Attributes
    ----------
    task : Task
    models : list of str
        Models that the table shows, in its order.
    n_folds : int
    external : bool
        Whether the predictions are on the external cohorts.
    truth : DataFrame, optional
        Labels of these cohorts' patients; their predictions contain none.
    seeds : int
        Trainings of a network on each fold.
    catalogue : mapping of str to Model
        The run's; it tells which models are networks.
    predictions : dict of (model, fold) to DataFrame
        Of the models and of those they are compared with; with several trainings, the first's.
    repeats : dict of (model, fold) to list of DataFrame
        Predictions of the further trainings.
    metrics : dict of (model, fold) to dict
        From :func:`~pathduet.evaluation.fold_metrics.evaluate_predictions`; the fold may be ``"ensemble"``.
    failures : dict of (model, fold) to str
        Why predictions or metrics are missing.
    """

    task: Task
    models: list[str]
    n_folds: int
    external: bool = False
    truth: pd.DataFrame | None = None
    seeds: int = 1
    catalogue: Mapping[str, Model] = field(default_factory=lambda: CATALOGUE)
    predictions: dict[tuple[str, int], pd.DataFrame] = field(default_factory=dict)
    repeats: dict[tuple[str, int], list[pd.DataFrame]] = field(default_factory=dict)
    metrics: dict[tuple[str, int | str], dict[str, Any]] = field(default_factory=dict)
    failures: dict[tuple[str, int | str], str] = field(default_factory=dict)

    def add_predictions(self, results: Results, models: Sequence[str]) -> None:
        """Read the predictions of models in every fold; record a reason for each that cannot be read."""
        for model in models:
            seeds = range(self.seeds if named(model, self.catalogue).is_network else 1)
            for fold in range(self.n_folds):
                found = [self._read(results, model, fold, seed) for seed in seeds]
                failures = [one for one in found if isinstance(one, str)]
                if failures:
                    self.failures[(model, fold)] = failures[0]
                    continue
                tables = [one for one in found if not isinstance(one, str)]
                self.predictions[(model, fold)] = tables[0]
                self.repeats[(model, fold)] = tables[1:]

    def trainings(self, model: str, fold: int) -> list[pd.DataFrame]:
        """Return the predictions of every training of a model that has predictions in a fold."""
        return [self.predictions[(model, fold)], *self.repeats.get((model, fold), ())]

    def _read(self, results: Results, model: str, fold: int, seed: int) -> pd.DataFrame | str:
        described = results.model(self.task.name, model, fold, seed)
        failed = read_record(described / DESCRIPTION).get("failed")
        if failed is not None:
            return str(failed)
        found = _read(results.external(self.task.name, model, fold, seed) if self.external else described)
        return found if isinstance(found, str) or self.truth is None else with_truth(found, self.truth)


def _read(folder: Path) -> pd.DataFrame | str:
    """Return a fold's predictions, or why they are missing."""
    if not folder.is_dir():
        return "not run, or the training failed (no folder)"
    try:
        return read_predictions(folder / PREDICTIONS)
    except FileNotFoundError:
        return f"the training left no predictions (no {PREDICTIONS})"
    # a broken table (pandas' ParserError is a ValueError) loses only its fold
    except (OSError, ValueError) as error:
        raise_machine_fault(error, str(folder))
        return f"cannot be read: {type(error).__name__}: {str(error)[:200]}"


def collect(
    results: Results,
    task: Task,
    models: Sequence[str],
    n_folds: int,
    *,
    external: bool = False,
    truth: pd.DataFrame | None = None,
    seeds: int = 1,
    catalogue: Mapping[str, Model] = CATALOGUE,
) -> Collected:
    """Return the predictions of a task's models in every fold, on the test parts or on the external cohorts, see :class:`Collected`."""
    found = Collected(task, list(models), n_folds, external, truth, seeds, catalogue)
    found.add_predictions(results, models)
    return found


def read_metrics(results: Results, table: str) -> dict[tuple[str, str, int | str], dict[str, Any]]:
    """Return the metrics of a table's models by task, model and fold (a number, or ``"ensemble"``).

    A model without metrics has ``failed``, the reason, instead.

    Raises
    ------
    OSError, ValueError
        If the table was not evaluated, or the file is broken.
    """
    whole = json.loads(checked(results.metrics(table)).read_text(encoding="utf-8"))
    return {(one["task"], one["model"], one["fold"]): one for one in whole.values()}
