"""From a predictions table to ``metrics.json``, and the ensemble of the folds' models."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pathduet.core.errors import InputError, Problem
from pathduet.core.files import write_json, write_tsv
from pathduet.evaluation.bootstrap import mean_interval
from pathduet.evaluation.metrics import Scores, classification_scores, metric_names, survival_scores
from pathduet.evaluation.predictions import (
    SURVIVAL_TASK,
    TASKS,
    at_unit,
    average_patients,
    class_names,
    evaluated_part,
    label_indices,
    labelled,
    probabilities,
    read_predictions,
)
from pathduet.evaluation.survival_curves import risk_cuts

#: Which unit the headline numbers of a protocol are about.
PROTOCOL_UNIT = {"strict": "patient", "paper": "slide"}
#: A Cox model has no network variant.
CLINICAL_VARIANT = "clinical"


def score(rows: pd.DataFrame, task: str) -> Scores:
    """Return the metrics of rows that are already one a case (see `predictions.at_unit`)."""
    known = labelled(rows, task)
    if known.empty:
        return Scores.undefined(metric_names(task), "no case with a known outcome")
    if task == SURVIVAL_TASK:
        time, event, risk = (known[n].to_numpy(dtype=float) for n in ("survival_days", "event", "risk"))
        return survival_scores(time, event, risk)
    return classification_scores(label_indices(known), probabilities(known), class_names(known))


def evaluate_predictions(
    predictions: pd.DataFrame,
    task: str,
    model: str,
    fold: int | str,
    *,
    protocol: str = "strict",
    variant: str = "paper",
    resamples: int = 1000,
    seed: int = 42,
    train_risk: Sequence[float] | None = None,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the content of ``metrics.json`` for one model of one fold.

    Parameters
    ----------
    predictions : DataFrame
        A predictions table; rows with ``part == "train"`` are not scored (their risks give the cuts of the
        Kaplan-Meier groups).
    task : {"diagnosis", "grading", "survival"}
    model : str
        Model name, e.g. ``teacher`` or ``cox_age``.
    fold : int or "ensemble"
    protocol : {"strict", "paper"}
        Sets the unit of the headline numbers: patient or slide (patient where no row is a slide). Both
        are always there.
    variant : str
        Model variant, recorded; a clinical baseline's is always ``clinical``.
    resamples, seed : int
        Patient bootstrap; 0 resamples give no intervals.
    train_risk : sequence of float, optional
        Risks of the training patients, if the table does not hold them.
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
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; known: {TASKS}")
    _check_columns(predictions, task, f"{task}/{model}, fold {fold}")
    test = evaluated_part(predictions)
    has_slides = bool((test["slide_id"].astype(str) != "").any())
    unit = PROTOCOL_UNIT[protocol] if has_slides else "patient"
    collected = dict(notes or {})
    result: dict[str, Any] = {
        "task": task, "model": model, "fold": fold, "protocol": protocol, "unit": unit,
        "variant": CLINICAL_VARIANT if model.startswith("cox_") else variant,
        "part": "/".join(sorted(set(test["part"]))) if "part" in test else "test",
        "n_patients": int(test["patient_id"].nunique()),
        "n_slides": int((test["slide_id"].astype(str) != "").sum()),
    }  # fmt: skip
    if task != SURVIVAL_TASK:
        result["classes"] = class_names(test)
    for level in ("patient", "slide"):
        rows = at_unit(test, level)
        known = labelled(rows, task)
        if level == "slide" and rows.empty:
            scores = Scores.undefined(metric_names(task), "no slides: one prediction a patient")
        else:
            scores = score(rows, task)
        result[level] = scores.values
        result.setdefault("n_labelled", {})[level] = len(known)
        if scores.confusion is not None:
            result.setdefault("confusion", {})[level] = scores.confusion
        collected |= {f"{level}.{name}": reason for name, reason in scores.notes.items()}
        if len(known) < len(rows):
            collected[f"{level}.n"] = (
                f"{len(rows) - len(known)} of {len(rows)} without a known outcome left out"
            )
    cohorts = sorted(set(test["cohort"].astype(str)))
    if len(cohorts) > 1:
        result["by_cohort"] = {
            name: score(at_unit(test[test["cohort"] == name], unit), task).values for name in cohorts
        }
    intervals = mean_interval([test], task, unit, resamples=resamples, seed=seed)
    result["bootstrap"] = {"resamples": resamples, "seed": seed, "unit": unit, "interval": intervals}
    if task == SURVIVAL_TASK:
        result["risk_cuts"] = _risk_cuts(predictions, train_risk)
    result["notes"] = dict(sorted(collected.items()))
    return _plain(result)


def _check_columns(predictions: pd.DataFrame, task: str, where: str) -> None:
    needed = ["slide_id", "patient_id", "cohort"]
    needed += ["survival_days", "event", "risk"] if task == SURVIVAL_TASK else ["label"]
    missing = [name for name in needed if name not in predictions]
    if task != SURVIVAL_TASK and len(class_names(predictions)) < 2:
        missing.append("p_<class> (two or more)")
    if missing:
        raise InputError(
            [Problem(f"predictions of {where}", f"no column {', '.join(missing)}", "rerun inference")]
        )
    if evaluated_part(predictions).empty:
        raise InputError(
            [
                Problem(
                    f"predictions of {where}",
                    "no row outside the training part",
                    "see the fold's test patients",
                )
            ]
        )


def _risk_cuts(predictions: pd.DataFrame, train_risk: Sequence[float] | None) -> dict[str, Any]:
    if train_risk is None and "part" in predictions:
        train = predictions[predictions["part"] == "train"]
        train_risk = average_patients(train)["risk"].tolist() if len(train) else None
    source = "training part" if train_risk is not None else "test part"
    risks = train_risk if train_risk is not None else at_unit(predictions, "patient")["risk"].tolist()
    return {"source": source, **risk_cuts(np.asarray(risks, dtype=float))}


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


def ensemble_predictions(folds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the mean prediction of the folds' models on the same (external) slides.

    Probabilities and hazards are averaged. Where there are hazards, the risk is computed from the mean ones
    (risk = -sum_t S(t), S the cumulative product of 1 - hazard); otherwise (Cox models) risks are averaged.

    Returns
    -------
    DataFrame
        Columns of the first table, rows in its order, ``fold`` = ``"ensemble"``.

    Raises
    ------
    InputError
        If the tables do not hold the same slides.
    """
    if not folds:
        raise ValueError("an ensemble needs at least one table")
    keys = ["slide_id", "patient_id"]
    tables = [evaluated_part(table).set_index(keys) for table in folds]
    first = tables[0]
    problems = [
        Problem(
            f"ensemble, table {i}",
            f"{len(first.index.symmetric_difference(table.index))} slides differ from the first table's",
            "rerun the inference of every fold on the same slides",
        )
        for i, table in enumerate(tables)
        if not table.index.is_unique or len(first.index.symmetric_difference(table.index))
    ]
    if problems:
        raise InputError(problems)
    result = first.copy()
    outputs = [n for n in first.columns if n.startswith(("p_", "p10_", "p20_", "h_", "h10_", "h20_", "risk"))]
    stacked = np.stack([t.loc[first.index, outputs].to_numpy(dtype=float) for t in tables])
    result[outputs] = stacked.mean(axis=0)
    hazards = sorted((n for n in outputs if n.startswith("h_")), key=lambda name: int(name[2:]))
    if hazards:
        result["risk"] = -np.cumprod(1 - result[hazards].to_numpy(dtype=float), axis=1).sum(axis=1)
    classes = class_names(result)
    if classes:
        result["predicted"] = [
            classes[k] for k in result[[f"p_{c}" for c in classes]].to_numpy().argmax(axis=1)
        ]
    if "expert" in result:
        result["expert"] = ""
    result["fold"] = "ensemble"
    return result.reset_index()[list(folds[0].columns)]


def _failed_folds(tables: Sequence[str | os.PathLike[str]]) -> str:
    """Return why an ensemble cannot be made: folds whose metrics.json, beside the table, is that of a failure."""
    reasons = []
    for table in map(Path, tables):
        beside = table.parent / "metrics.json"
        metrics = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        if "failed" in metrics:
            reasons.append(f"{table.parent.name}: {metrics['failed']}")
    return "; ".join(reasons)


def write_ensemble(
    tables: Sequence[str | os.PathLike[str]],
    predictions_path: str | os.PathLike[str],
    metrics_path: str | os.PathLike[str],
    model: str,
    settings: Mapping[str, Any],
    *,
    task: str = "survival",
) -> None:
    """Write predictions and metrics of the ensemble of the folds' models; none of it where a fold failed.

    Parameters
    ----------
    tables : sequence of path
        ``predictions.tsv`` of every fold, on the same external slides.
    settings : mapping
        ``protocol``, ``variant``, ``seed``, ``bootstrap`` (number of resamples).
    """
    failed = _failed_folds(tables)
    if failed:
        write_tsv(predictions_path, read_predictions(tables[0]).iloc[:0])
        write_json(metrics_path, {"task": task, "model": model, "fold": "ensemble", "failed": failed})
        return
    combined = ensemble_predictions([read_predictions(path) for path in tables])
    metrics = evaluate_predictions(
        combined, task, model, "ensemble",
        protocol=settings["protocol"],
        variant=settings["variant"],
        resamples=settings["bootstrap"], seed=settings["seed"],
    )  # fmt: skip
    write_tsv(predictions_path, combined)
    write_json(metrics_path, metrics)
