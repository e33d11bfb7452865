"""What a results folder holds of a table's models: predictions, metrics, and why there are none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

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
        Those that a table shows, in its order.
    n_folds : int
    external : bool
        Whether the predictions are of the external cohorts.
    truth : DataFrame, optional
        Labels of these cohorts' patients, which predictions of them come without.
    predictions : dict of (model, fold) to DataFrame
        Of the models, and of those that they are compared with.
    metrics : dict of (model, fold) to dict
        From :func:`~pathduet.evaluation.fold_metrics.evaluate_predictions`; the fold may be ``"ensemble"``.
    failures : dict of (model, fold) to str
        Why there are no predictions or no metrics.
    """

    task: Task
    models: list[str]
    n_folds: int
    external: bool = False
    truth: pd.DataFrame | None = None
    predictions: dict[tuple[str, int], pd.DataFrame] = field(default_factory=dict)
    metrics: dict[tuple[str, int | str], dict[str, Any]] = field(default_factory=dict)
    failures: dict[tuple[str, int | str], str] = field(default_factory=dict)

    def add_predictions(self, results: Results, models: Sequence[str]) -> None:
        """Read the predictions of models in every fold; those that cannot be read get their reason."""
        for model in models:
            for fold in range(self.n_folds):
                described = results.model(self.task.name, model, fold)
                folder = results.external(self.task.name, model, fold) if self.external else described
                failed = read_record(described / DESCRIPTION).get("failed")
                found = str(failed) if failed is not None else _read(folder)
                if isinstance(found, str):
                    self.failures[(model, fold)] = found
                else:
                    own = found if self.truth is None else with_truth(found, self.truth)
                    self.predictions[(model, fold)] = own


def _read(folder: Path) -> pd.DataFrame | str:
    """Return a fold's predictions, or why there are none."""
    if not folder.is_dir():
        return "not run, or the training failed (no folder)"
    try:
        return read_predictions(folder / PREDICTIONS)
    except FileNotFoundError:
        return f"the training left no predictions (no {PREDICTIONS})"
    # a broken table (pandas' ParserError is a ValueError) costs its fold only
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
) -> Collected:
    """Return the predictions of a task's models in every fold, on the test parts or on the external cohorts, see :class:`Collected`."""
    found = Collected(task, list(models), n_folds, external, truth)
    found.add_predictions(results, models)
    return found


def read_metrics(results: Results, table: str) -> dict[tuple[str, str, int | str], dict[str, Any]]:
    """Return the metrics of a table's models by task, model and fold (a number, or ``"ensemble"``).

    A model without metrics has ``failed``, the reason, in place of them.

    Raises
    ------
    OSError, ValueError
        If the table was not evaluated, or the file is broken.
    """
    whole = json.loads(checked(results.metrics(table)).read_text(encoding="utf-8"))
    return {(one["task"], one["model"], one["fold"]): one for one in whole.values()}
