"""The metrics of one model in one fold, per patient and per slide, with intervals and risk group cut points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pathduet.cohort.labels import TRUTH
from pathduet.cohort.tasks import Kind, Task
from pathduet.core.errors import InputError
from pathduet.core.plural import plural
from pathduet.evaluation.bootstrap import mean_interval
from pathduet.evaluation.metrics import metric_names, score
from pathduet.evaluation.patient_average import average_patients
from pathduet.evaluation.predictions import at_unit, class_names, evaluated_part, has_slides, labelled
from pathduet.evaluation.scores import Scores
from pathduet.evaluation.survival_curves import risk_cuts

#: The unit of each protocol's headline numbers.
PROTOCOL_UNIT = {"strict": "patient", "paper": "slide"}
#: Columns that a model predicts, by kind of task; a classification has one per class instead.
_PREDICTED: dict[Kind, tuple[str, ...]] = {
    "classification": (),
    "survival": ("risk",),
    "regression": ("prediction",),
}


def evaluate_predictions(
    predictions: pd.DataFrame,
    task: Task,
    model: str,
    fold: int | str,
    *,
    repeats: Sequence[pd.DataFrame] = (),
    protocol: str = "strict",
    variant: str = "paper",
    resamples: int = 1000,
    seed: int = 42,
    training: pd.DataFrame | None = None,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the metrics of one model in one fold; with several trainings, their means.

    Parameters
    ----------
    predictions : DataFrame
        A predictions table; rows with ``part == "train"`` are not scored.
    task : Task
    model : str
        Model name, e.g. ``teacher``.
    fold : int or "ensemble"
    repeats : sequence of DataFrame, optional
        Predictions of trainings with further seeds, on the same patients. The confusion matrix and the risk groups' cut points
        are those of `predictions`.
    protocol : {"strict", "paper"}
        Sets the unit of the headline numbers: patient or slide (patient if no row is a slide). The
        metrics of both units are always included.
    variant : str
        Model variant; only recorded.
    resamples, seed : int
        Patient bootstrap; 0 resamples give no intervals.
    training : DataFrame, optional
        Predictions of the training part: their risks determine the cut points of the Kaplan-Meier groups, so
        that test patients do not influence them.
    notes : mapping, optional
        Further notes to keep (e.g. imputed covariates).

    Returns
    -------
    dict
        JSON-ready: undefined metrics are None with a reason under ``notes`` as ``<unit>.<metric>``.

    Raises
    ------
    InputError
        If the table has no row to score or lacks columns.
    """
    _check_columns(predictions, task, f"predictions of {task.name}/{model}, fold {fold}")
    test = evaluated_part(predictions)
    unit = PROTOCOL_UNIT[protocol] if has_slides(test) else "patient"
    collected = dict(notes or {})
    result: dict[str, Any] = {
        "task": task.name, "model": model, "fold": fold, "protocol": protocol, "unit": unit, "variant": variant,
        "part": "/".join(sorted(set(test["part"]))) if "part" in test else "test",
        "n_patients": int(test["patient_id"].nunique()),
        "n_slides": int((test["slide_id"].astype(str) != "").sum()),
    }  # fmt: skip
    if task.kind == "classification":
        result["classes"] = class_names(test)
    trainings = [test, *(evaluated_part(table) for table in repeats)]
    for level in ("patient", "slide"):
        rows = at_unit(test, level)
        known = labelled(rows, task)
        if level == "slide" and rows.empty:
            scores = Scores.undefined(metric_names(task), "no slides: one prediction per patient")
        else:
            several = [score(at_unit(table, level), task) for table in trainings]
            scores = Scores.mean(several)
            if repeats:
                result.setdefault("by_training", {})[level] = [one.values for one in several]
        result[level] = scores.values
        result.setdefault("n_labelled", {})[level] = len(known)
        if scores.confusion is not None:
            result.setdefault("confusion", {})[level] = scores.confusion
        collected |= {f"{level}.{name}": reason for name, reason in scores.notes.items()}
        if len(known) < len(rows):
            collected[f"{level}.n"] = (
                f"{len(rows) - len(known)} of {len(rows)} without a known outcome left out"
            )
    if unit == "slide" and (without := test["slide_id"].astype(str) == "").any():
        collected["slide.patients"] = f"{plural(int(without.sum()), 'patient')} without slides left out"
    cohorts = sorted(set(test["cohort"].astype(str)))
    if len(cohorts) > 1:
        result["by_cohort"] = {
            name: Scores.mean(
                [score(at_unit(table[table["cohort"] == name], unit), task) for table in trainings]
            ).values
            for name in cohorts
        }
    intervals = mean_interval([trainings], task, unit, resamples=resamples, seed=seed)
    result["bootstrap"] = {"resamples": resamples, "seed": seed, "unit": unit, "interval": intervals}
    if task.kind == "survival":
        result["risk_cuts"] = _risk_cuts(test, training)
    result["notes"] = dict(sorted(collected.items()))
    return _plain(result)


def _check_columns(predictions: pd.DataFrame, task: Task, where: str) -> None:
    needed = ["slide_id", "patient_id", "cohort", *TRUTH[task.kind], *_PREDICTED[task.kind]]
    missing = [name for name in needed if name not in predictions]
    if missing:
        raise InputError.of(where, f"no column {', '.join(missing)}", "train the model again")
    classes = class_names(predictions)
    if task.kind == "classification" and classes != list(task.classes):
        found = f"columns p_<class> are about {', '.join(classes) or 'no class'}, the task's classes are {', '.join(task.classes)}"
        raise InputError.of(where, found, "train the model again")
    if evaluated_part(predictions).empty:
        raise InputError.of(where, "no row outside the training part", "see the fold's test patients")


def _risk_cuts(test: pd.DataFrame, training: pd.DataFrame | None) -> dict[str, Any]:
    known = training is not None and len(training) > 0
    source = "training part" if known else "test part"
    risks = average_patients(training if training is not None and known else test)["risk"]
    return {"source": source, **risk_cuts(risks.to_numpy(dtype=float))}


def _plain(value: Any) -> Any:
    """Return `value` with numpy scalars as Python's and non-finite floats as None, ready for JSON."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value
