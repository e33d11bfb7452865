"""What the models of a task said about their own test patients: predictions and representations, read and checked.

Every explanation reads its patients through here, so that none of them sees a patient whom the model was trained
on: a prediction counts only in the fold whose test part its patient is in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathduet.cohort.folds import read_folds
from pathduet.core.errors import InputError, Problem
from pathduet.evaluation.predictions import average_patients, read_predictions
from pathduet.models.method.config import MAGNIFICATIONS
from pathduet.training.failures import failure_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FoldResult:
    """One model's answers in one fold, a row a patient of the fold's test part, sorted by patient id.

    Attributes
    ----------
    task, model : str
    fold : int
    patients : DataFrame
        As from :func:`pathduet.evaluation.predictions.average_patients`.
    representation : (patients, r) array or None
        Mean over the patient's slides of what the last linear layer reads; None if the model leaves none.
    edges : tuple of float
        Inner edges of the survival intervals in days; empty for other tasks and models.
    risk_cuts : dict
        From ``metrics.json``; empty for other tasks.
    """

    task: str
    model: str
    fold: int
    patients: pd.DataFrame
    representation: NDArray[np.float64] | None
    edges: tuple[float, ...] = ()
    risk_cuts: dict[str, Any] | None = None


def patients_of_test_part(folds: pd.DataFrame, fold: int) -> set[str]:
    """Return the patients of a fold's test part."""
    return {str(p) for p, f in zip(folds["patient_id"], folds["fold"], strict=True) if int(f) == fold}


def read_representations(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Return slide ids and representations (slides, r) of a ``representations.h5``.

    A dataset `representation` if there is one, else the magnifications' X_R beside each other.

    Raises
    ------
    InputError
        If the file cannot be read or its rows do not fit its slides.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            slides = [str(value) for value in file["slide_id"].asstr()[:]]
            if "representation" in file:
                parts = [file["representation"][:]]
            else:
                parts = [file[m][:] for m in MAGNIFICATIONS if m in file]
            if not parts:
                raise KeyError("neither 'representation' nor a magnification")
            values = np.concatenate(parts, axis=1).astype(np.float64)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            [Problem(f"representations {path}", str(error), "evaluate the model again")]
        ) from None
    if len(values) != len(slides) or not np.isfinite(values).all():
        found = f"{len(values)} rows of {len(slides)} slides, finite: {bool(np.isfinite(values).all())}"
        raise InputError([Problem(f"representations {path}", found, "evaluate the model again")])
    return slides, values


def read_fold(results: Path, task: str, model: str, fold: int) -> FoldResult:
    """Return a model's answers about the test part of a fold.

    Raises
    ------
    InputError
        If the predictions are missing or none is about a test patient of the fold.
    """
    folder = results / "models" / task / model / f"fold-{fold}"
    failed = failure_of(folder)
    if failed is not None:
        found = f"the training failed: {failed}"
        raise InputError([Problem(f"{task}, {model}, fold {fold}", found, "see its log")])
    path = folder / "predictions.tsv"
    if not path.is_file():
        raise InputError(
            [Problem(f"{task}, {model}, fold {fold}", "no predictions.tsv", "evaluate the model first")]
        )
    allowed = patients_of_test_part(read_folds(results / "split" / "folds.tsv"), fold)
    table = read_predictions(path)
    table = table[(table["part"] == "test") & table["patient_id"].isin(allowed)].reset_index(drop=True)
    if table.empty:
        raise InputError(
            [Problem(f"{task}, {model}, fold {fold}", "no test patient predicted", "see its log")]
        )
    values = None
    if (folder / "representations.h5").is_file():
        slides, rows = read_representations(folder / "representations.h5")
        values = patient_means(table, slides, rows)
    cuts = None
    if (folder / "metrics.json").is_file():
        cuts = json.loads((folder / "metrics.json").read_text(encoding="utf-8")).get("risk_cuts")
    return FoldResult(task, model, fold, average_patients(table), values, _edges(folder), cuts)


def patient_means(
    table: pd.DataFrame, slides: Sequence[str], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean representation of each patient of a predictions table, patients sorted by id.

    Raises
    ------
    InputError
        If a predicted slide has no representation.
    """
    row_of = {slide: row for row, slide in enumerate(slides)}
    missing = sorted(set(table["slide_id"]) - set(row_of))
    if missing:
        found = f"none of slide {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
        raise InputError([Problem("representations", found, "evaluate the model again")])
    groups = table.groupby("patient_id", sort=True)["slide_id"]
    return np.stack([values[[row_of[slide] for slide in part]].mean(axis=0) for _, part in groups])


def read_folds_of(
    results: Path, task: str, model: str, folds: Sequence[int]
) -> tuple[list[FoldResult], list[str]]:
    """Return the folds of a model that can be read, and a reason for each that cannot."""
    found, reasons = [], []
    for fold in folds:
        try:
            found.append(read_fold(results, task, model, fold))
        except InputError as error:
            reasons += [str(problem) for problem in error.problems]
        except (OSError, ValueError, KeyError) as error:
            reasons.append(f"{task}, {model}, fold {fold}: {type(error).__name__}: {str(error)[:200]}")
    return found, reasons


def read_external_of(results: Path, model: str, folds: Sequence[int]) -> tuple[list[FoldResult], list[str]]:
    """Return what each fold's survival model says about the external cohorts, and reasons for what is missing."""
    found, reasons = [], []
    for fold in folds:
        where = f"{model}, fold {fold}"
        path = results / "external" / "survival" / model / f"fold-{fold}" / "predictions.tsv"
        try:
            table = read_predictions(path)
            table = table[table["part"] == "external"]
            if table.empty:
                reasons.append(f"{where}: no external patient predicted")
                continue
            edges = _edges(results / "models" / "survival" / model / f"fold-{fold}")
            found.append(FoldResult("survival", model, fold, average_patients(table), None, edges))
        except (OSError, ValueError, KeyError) as error:
            reasons.append(f"{where}: {type(error).__name__}: {str(error)[:200]}")
        except InputError as error:
            reasons += [str(problem) for problem in error.problems]
    return found, reasons


def _edges(folder: Path) -> tuple[float, ...]:
    """Return the survival intervals' inner edges of a trained network, () for other models."""
    path = folder / "model.json"
    if not path.is_file():
        return ()
    record = json.loads(path.read_text(encoding="utf-8"))
    return tuple(float(edge) for edge in record.get("survival_edges_days") or ())
