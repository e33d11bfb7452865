"""The models' predictions and representations of a task's own test patients, read and checked.

Every explanation reads its patients through this module, so that none uses a patient that the model was trained
on: a prediction counts only in the fold whose test part contains its patient.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathduet.catalogue import CATALOGUE, Model, catalogue_of, named
from pathduet.cohort.folds import read_folds
from pathduet.cohort.labels import task_labels
from pathduet.cohort.sheets import read_patients
from pathduet.cohort.tasks import Task
from pathduet.core.checksums import checked
from pathduet.core.errors import InputError
from pathduet.core.faults import raise_machine_fault
from pathduet.evaluation.predictions import average_patients, read_predictions, with_truth
from pathduet.evaluation.survival_curves import risk_cuts
from pathduet.features.check import verify_features
from pathduet.models.method.config import MAGNIFICATIONS
from pathduet.results import DESCRIPTION, PREDICTIONS, REPRESENTATIONS, TRAINING_PREDICTIONS, Results
from pathduet.training.failures import failure_of
from pathduet.training.fold_jobs import usable_slides

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FoldResult:
    """One model's predictions in one fold: one row per patient of the fold's test part, sorted by patient id.

    Attributes
    ----------
    task : Task
    model : str
    fold : int
    patients : DataFrame
        As from :func:`pathduet.evaluation.predictions.average_patients`.
    representation : (patients, r) array or None
        Mean over the patient's slides of the input of the last linear layer; None if the model saves none.
    edges : tuple of float
        Inner edges of the survival intervals in days; empty for other tasks and models.
    risk_cuts : dict
        Cut points of the training part's risks, for risk groups; empty for other tasks.
    """

    task: Task
    model: str
    fold: int
    patients: pd.DataFrame
    representation: NDArray[np.float64] | None
    edges: tuple[float, ...] = ()
    risk_cuts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskRun:
    """One task of a run: the inputs of its explanations, and where they are written.

    Attributes
    ----------
    task : Task
    results : Results
    settings : mapping
        ``subspaces`` (names), ``catalogue`` (the sections that :func:`pathduet.catalogue.catalogue_of` reads), ``seed``,
        ``bootstrap``, ``models`` (of this task), ``folds`` (their number), ``external`` (whether external cohorts are
        predicted), ``has_slides``, ``has_expression``, and ``explanations`` (that section of the configuration).
    patients : path
        The patients' sheet.
    out_dir : Path
    slides_sheet : path
        The slides' sheet; empty in a run without slides.
    """

    task: Task
    results: Results
    settings: Mapping[str, Any]
    patients: str | Path
    out_dir: Path
    slides_sheet: str | Path = ""

    @property
    def models(self) -> list[str]:
        """The explained models."""
        return list(self.settings["models"])

    @property
    def subspaces(self) -> list[str]:
        """Names of the subspaces, in the configuration's order."""
        return list(self.settings["subspaces"])

    @cached_property
    def catalogue(self) -> dict[str, Model]:
        """Every model of the run."""
        return catalogue_of(self.settings["catalogue"])

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The configuration's section on explanations."""
        return self.settings["explanations"]  # type: ignore[no-any-return]

    @property
    def folds(self) -> range:
        """The folds' numbers."""
        return range(self.settings["folds"])

    @cached_property
    def split(self) -> pd.DataFrame:
        """The fold of each patient."""
        return read_folds(self.results.folds)

    @cached_property
    def labels(self) -> pd.DataFrame:
        """Every patient's label, or why there is none."""
        return task_labels(read_patients(self.patients), self.task)

    @cached_property
    def slides(self) -> pd.DataFrame:
        """Slides that have features: slide_id, patient_id, cohort, features (path)."""
        slides = usable_slides(self.results.root)
        verify_features(self.results, slides["slide_id"])
        return slides

    @cached_property
    def read(self) -> tuple[dict[str, list[FoldResult]], dict[str, list[str]]]:
        """Every model's readable folds, and a reason for each unreadable one."""
        both = {model: read_folds_of(self.results, self.task, model, self.folds) for model in self.models}
        return {m: found for m, (found, _) in both.items()}, {m: reasons for m, (_, reasons) in both.items()}

    @property
    def networks(self) -> dict[str, list[FoldResult]]:
        """The folds of the networks among the models: a regression has no representation to explain."""
        found = self.read[0].items()
        return {model: folds for model, folds in found if named(model, self.catalogue).is_network}

    @property
    def no_network(self) -> list[str]:
        """The reason why nothing is explained, if none of the explained models is a network."""
        return [] if self.networks else ["none of explanations.models is a network of this run"]

    def role(self, model: str) -> str:
        """Return a model's role (see :class:`pathduet.catalogue.Model`); a variation has that of the model it varies."""
        for fold in self.folds if model not in CATALOGUE else ():
            path = self.results.model(self.task.name, model, fold) / DESCRIPTION
            if checked(path).is_file():
                model = json.loads(path.read_text(encoding="utf-8")).get("base", model)
                break
        return CATALOGUE[model].role if model in CATALOGUE else "baseline"

    def test_patients(self, fold: int) -> set[str]:
        """Return the patients of a fold's test part."""
        return patients_of_test_part(self.split, fold)


def patients_of_test_part(folds: pd.DataFrame, fold: int) -> set[str]:
    """Return the patients of a fold's test part."""
    return set(folds.loc[folds["fold"].astype(int) == fold, "patient_id"].astype(str))


def read_representations(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Return slide ids and representations (slides, r) of a ``representations.h5``.

    The dataset `representation` if it exists, else the magnifications' X_R side by side.

    Raises
    ------
    InputError
        If the file cannot be read or its rows do not match its slides.
    """
    import h5py

    try:
        with h5py.File(checked(path), "r") as file:
            slides = [str(value) for value in file["slide_id"].asstr()[:]]
            if "representation" in file:
                parts = [file["representation"][:]]
            else:
                parts = [file[m][:] for m in MAGNIFICATIONS if m in file]
            if not parts:
                raise KeyError("neither 'representation' nor a magnification")
            values = np.concatenate(parts, axis=1).astype(np.float64)
        if len(values) != len(slides) or not np.isfinite(values).all():
            finite = bool(np.isfinite(values).all())
            raise ValueError(f"{len(values)} rows of {len(slides)} slides, finite: {finite}")
    except (OSError, KeyError, ValueError) as error:
        raise InputError.of(f"representations {path}", str(error), "train the model again") from None
    return slides, values


def read_fold(results: Results, task: Task, model: str, fold: int) -> FoldResult:
    """Return a model's predictions for the test part of a fold.

    Raises
    ------
    InputError
        If the predictions are missing, or include no test patient of the fold.
    """
    folder, where = results.model(task.name, model, fold), f"{task.name}, {model}, fold {fold}"
    failed = failure_of(folder)
    if failed is not None:
        raise InputError.of(where, f"the training failed: {failed}", "see its log")
    if not checked(folder / PREDICTIONS).is_file():
        raise InputError.of(where, f"no {PREDICTIONS}", "train the model first")
    whole = read_predictions(folder / PREDICTIONS)
    allowed = patients_of_test_part(read_folds(results.folds), fold)
    rows = np.flatnonzero((whole["part"] == "test") & whole["patient_id"].isin(allowed))
    if not len(rows):
        raise InputError.of(where, "no test patient predicted", "see its log")
    table, values = whole.iloc[rows].reset_index(drop=True), None
    if checked(folder / REPRESENTATIONS).is_file():
        slides, every = read_representations(folder / REPRESENTATIONS)
        if slides != list(whole["slide_id"]):
            found = f"{REPRESENTATIONS} is about other slides than {PREDICTIONS}"
            raise InputError.of(where, found, "train the model again")
        values = patient_means(table["patient_id"], every[rows])
    cuts = training_cuts(folder) if task.kind == "survival" else {}
    return FoldResult(task, model, fold, average_patients(table), values, _edges(folder), cuts)


def training_cuts(folder: Path) -> Mapping[str, Any]:
    """Return the cut points of a survival model's training risks; {} without predictions of its training part."""
    path = folder / TRAINING_PREDICTIONS
    if not checked(path).is_file():
        return {}
    return risk_cuts(average_patients(read_predictions(path))["risk"].to_numpy(dtype=float))


def patient_means(patients: pd.Series, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each patient's mean of the rows of `values`, sorted by patient id."""
    groups = patients.groupby(patients.to_numpy(), sort=True).indices
    return np.stack([values[rows].mean(axis=0) for rows in groups.values()])


def _readable(
    read: Callable[[int], FoldResult], folds: Sequence[int], where: str
) -> tuple[list[FoldResult], list[str]]:
    """Return the readable folds, and a reason for each unreadable one."""
    found, reasons = [], []
    for fold in folds:
        try:
            found.append(read(fold))
        except InputError as error:
            raise_machine_fault(error, f"{where}, fold {fold}")
            reasons += [str(problem) for problem in error.problems]
        except (OSError, ValueError, KeyError) as error:
            raise_machine_fault(error, f"{where}, fold {fold}")
            reasons.append(f"{where}, fold {fold}: {type(error).__name__}: {str(error)[:200]}")
    return found, reasons


def read_folds_of(
    results: Results, task: Task, model: str, folds: Sequence[int]
) -> tuple[list[FoldResult], list[str]]:
    """Return a model's readable folds, and a reason for each unreadable one."""
    return _readable(lambda fold: read_fold(results, task, model, fold), folds, f"{task.name}, {model}")


def read_external_of(
    results: Results, task: Task, model: str, folds: Sequence[int], labels: pd.DataFrame
) -> tuple[list[FoldResult], list[str]]:
    """Return each fold's predictions of the external cohorts, with their labels, and reasons for what is missing."""

    def read(fold: int) -> FoldResult:
        table = read_predictions(results.external(task.name, model, fold) / PREDICTIONS)
        table = table[table["part"] == "external"]
        if table.empty:
            raise InputError.of(f"{model}, fold {fold}", "no external patient predicted", "see its log")
        edges = _edges(results.model(task.name, model, fold))
        return FoldResult(task, model, fold, average_patients(with_truth(table, labels)), None, edges)

    return _readable(read, folds, model)


def _edges(folder: Path) -> tuple[float, ...]:
    """Return the survival intervals' inner edges of a trained network, () for other models."""
    path = folder / DESCRIPTION
    if not checked(path).is_file():
        return ()
    target = json.loads(path.read_text(encoding="utf-8")).get("target") or {}
    return tuple(float(edge) for edge in target.get("edges_days") or ())
