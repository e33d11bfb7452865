"""A finished run for notebooks: its tables and predictions as DataFrames, its features and representations as arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathduet.catalogue import catalogue_of
from pathduet.cohort.folds import read_folds
from pathduet.cohort.ledger import read_ledger
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core.checksums import checked
from pathduet.core.errors import InputError
from pathduet.core.provenance import read_run_record
from pathduet.evaluation.predictions import read_predictions
from pathduet.explain.fold_results import read_representations
from pathduet.features.export import SlideTiles, slide_tiles
from pathduet.results import PREDICTIONS, REPRESENTATIONS, Results

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    results : Results
        Paths of its files.
    config : mapping
        The run's complete configuration.
    """

    results: Results
    config: Mapping[str, Any]

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """The run's tasks, by name."""
        return tasks_of(self.config)

    def models(self, task: str) -> list[str]:
        """Return the models with predictions for a task: first the catalogue's in its order, then variations."""
        folder = self.results.models(self._task(task))
        found = sorted({path.parts[-3] for path in folder.glob(f"*/fold-*/{PREDICTIONS}")})
        order = list(catalogue_of(self.config))
        return sorted(found, key=lambda name: order.index(name) if name in order else len(order))

    @cached_property
    def slides(self) -> pd.DataFrame:
        """The slide ledger: one row per slide, used or not, and why."""
        return read_ledger(self.results.ledger)

    @cached_property
    def folds(self) -> pd.DataFrame:
        """The fold whose test part holds each internal patient."""
        return read_folds(self.results.folds)

    def table(self, name: str) -> pd.DataFrame:
        """Return a result table: a task's name, ``external_<task>``, ``ablation``, ``hvg`` or ``findings``.

        Raises
        ------
        InputError
            If the run has no such table.
        """
        import pandas as pd

        path = self.results.table(name)
        if not checked(path).is_file():
            there = sorted(one.stem for one in path.parent.glob("*.tsv"))
            raise InputError.of(f"table {name!r}", "not in the run", f"one of {', '.join(there) or 'none'}")
        return pd.read_csv(path, sep="\t")

    def predictions(self, task: str, model: str, *, external: bool = False) -> pd.DataFrame:
        """Return a model's predictions for patients that it never saw, one row per slide with the truth.

        Parameters
        ----------
        external : bool
            False: each test part by the model of its `fold`. True: the external cohorts by the folds' ensemble.

        Raises
        ------
        InputError
            If the run has no such predictions.
        """
        import pandas as pd

        self._task(task)
        if external:
            path = self.results.ensemble(task, model) / PREDICTIONS
            if not checked(path).is_file():
                raise InputError.of(f"{model}, {task}", "no external cohort was predicted", "see external/")
            return read_predictions(path)
        tables = [self._read(folder) for folder in self._fold_folders(task, model)]
        return pd.concat(tables, ignore_index=True)

    def representations(self, task: str, model: str) -> NDArray[np.float64]:
        """Return the input of a network's last layer, (rows, width), a row for each of :meth:`predictions`.

        Each fold has its own network: compare rows only within a fold.

        Raises
        ------
        InputError
            If the model has none.
        """
        parts = []
        for folder in self._fold_folders(task, model):
            values = read_representations(folder / REPRESENTATIONS)[1]
            parts.append(values[(read_predictions(folder / PREDICTIONS)["part"] == "test").to_numpy()])
        return np.concatenate(parts)

    def features(self, slide_id: str) -> dict[str, SlideTiles]:
        """Return a slide's tiles by magnification: features (n, dim), lattice and corners in level-0 pixels.

        Raises
        ------
        InputError
            If the slide has none.
        """
        return {one.magnification: one for one in slide_tiles(self.results, slide_id)}

    def _task(self, name: str) -> str:
        if name not in self.tasks:
            raise InputError.of(f"task {name!r}", "not in the run", f"one of {', '.join(self.tasks)}")
        return name

    def _fold_folders(self, task: str, model: str) -> list[Path]:
        if model not in (there := self.models(task)):
            found = f"no predictions of {task}"
            raise InputError.of(f"model {model!r}", found, f"one of {', '.join(there) or 'none'}")
        folders = (self.results.model(task, model, fold) for fold in range(self.config["split"]["folds"]))
        return [folder for folder in folders if checked(folder / PREDICTIONS).is_file()]

    @staticmethod
    def _read(folder: Path) -> pd.DataFrame:
        table = read_predictions(folder / PREDICTIONS)
        return table[table["part"] == "test"]


def load_run(results: str | os.PathLike[str] = "results") -> Run:
    """Open the results folder of a finished run.

    Raises
    ------
    InputError
        If the folder holds no finished run of this version.

    Examples
    --------
    >>> import pathduet
    >>> run = pathduet.load_run("results")  # doctest: +SKIP
    >>> run.table("survival"), run.predictions("survival", "student")  # doctest: +SKIP
    """
    root = Path(results)
    return Run(Results(root), read_run_record(Results(root).provenance)["config"])
