"""Calibration of one fold's predictions: how well probabilities and values match the observations.

Brier score (Monthly Weather Review 1950) and expected calibration error (Naeini et al., AAAI 2015), each class against the rest,
or only the positive one of two classes; for survival, at each inner edge of the model's intervals, the mean predicted survival
against Kaplan-Meier's, and the calibration slope (Cox, Biometrika 1958: 1 = right spread, below 1 = too extreme); for values,
slope and intercept of observed on predicted values, and the mean of both in groups of similar predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pathduet.cohort.tasks import Task
from pathduet.evaluation.predictions import (
    at_unit,
    class_names,
    has_slides,
    label_indices,
    labelled,
    probabilities,
    with_outcome,
)

BINS = 10
#: Number of groups of similar predicted values, and the minimum number of cases in each.
GROUPS, LEAST_IN_GROUP = 4, 5


def expected_calibration_error(happened: np.ndarray, probability: np.ndarray, bins: int = BINS) -> float:
    """Return the mean distance of predicted and observed frequency over equal-width bins, weighted by their cases.

    Parameters
    ----------
    happened : (n,) bool array
    probability : (n,) array
        In [0, 1].
    """
    index = np.minimum((probability * bins).astype(int), bins - 1)
    cases = np.bincount(index, minlength=bins)
    gap = np.bincount(index, weights=probability - happened, minlength=bins)
    return float(np.abs(gap).sum() / cases.sum())


def classification_calibration(predictions: pd.DataFrame, task: Task, unit: str) -> list[dict[str, Any]]:
    """Return Brier score and expected calibration error of each class, or the positive one; empty without labelled cases."""
    rows = labelled(at_unit(predictions, unit), task)
    if rows.empty or not np.isfinite(probabilities(rows)).all():
        return []
    truth, probability = label_indices(rows), probabilities(rows)
    found = []
    for k, name in enumerate(class_names(rows)):
        if task.is_binary and name != task.positive:
            continue  # its probability is 1 minus the other's
        happened = truth == k
        found.append(
            {"of": name, "measure": "brier", "value": float(((probability[:, k] - happened) ** 2).mean())}
        )
        found.append({"of": name, "measure": "ece", "value": expected_calibration_error(happened, probability[:, k])})  # fmt: skip
    return found


def survival_calibration(
    predictions: pd.DataFrame, unit: str, edges: Sequence[float]
) -> list[dict[str, Any]]:
    """Return predicted and observed survival at each edge (days), and the calibration slope.

    Parameters
    ----------
    predictions : DataFrame
        With ``h_1`` ... ``h_K``, the hazards of the K intervals.
    edges : sequence of K - 1 floats
    """
    from lifelines import KaplanMeierFitter

    rows = with_outcome(at_unit(predictions, unit))
    hazards = [f"h_{k + 1}" for k in range(len(edges))]
    if (
        rows.empty
        or not set(hazards) <= set(rows)
        or not np.isfinite(rows[hazards].to_numpy(dtype=float)).all()
    ):
        return []
    time, event = (rows[n].to_numpy(dtype=float) for n in ("survival_days", "event"))
    survival = np.cumprod(1 - rows[hazards].to_numpy(dtype=float), axis=1)
    curve = KaplanMeierFitter().fit(time, event)
    found = []
    for k, days in enumerate(edges):
        if days > time.max():
            continue  # nobody was followed that long: nothing to compare with
        values = {"predicted survival": survival[:, k].mean(), "observed survival": curve.predict(days)}
        values["predicted - observed"] = values["predicted survival"] - values["observed survival"]
        # the edges differ from fold to fold, so they are named by position
        values = {"days": days, **values}
        found += [{"of": f"edge {k + 1}", "measure": m, "value": float(v)} for m, v in values.items()]
    slope = calibration_slope(time, event, survival[:, -1])
    if slope is not None:
        found.append({"of": f"edge {len(edges)}", "measure": "slope", "value": slope})
    return found


def calibration_slope(time: np.ndarray, event: np.ndarray, survival: np.ndarray) -> float | None:
    """Return the Cox coefficient of log(-log S) of the predicted survival; None if it cannot be fitted."""
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError

    score = np.log(-np.log(np.clip(survival, 1e-9, 1 - 1e-9)))
    if event.sum() < 2 or np.ptp(score) == 0:
        return None
    data = pd.DataFrame({"score": score, "time": time, "event": event})
    try:
        return float(CoxPHFitter().fit(data, "time", "event").params_["score"])
    except (ConvergenceError, np.linalg.LinAlgError):
        return None


def regression_calibration(predictions: pd.DataFrame, task: Task, unit: str) -> list[dict[str, Any]]:
    """Return slope and intercept of the observed on the predicted values, and the means of both in groups of similar predictions.

    Groups are quantiles of the predictions, at most :data:`GROUPS`, each with at least :data:`LEAST_IN_GROUP` cases. Empty
    for fewer than three labelled cases, or for predictions that are constant or not finite.
    """
    rows = labelled(at_unit(predictions, unit), task)
    observed, predicted = (rows[name].to_numpy(dtype=float) for name in ("value", "prediction"))
    if len(rows) < 3 or not np.isfinite(predicted).all() or np.ptp(predicted) == 0:
        return []
    slope, intercept = np.polyfit(predicted, observed, 1)
    found: list[dict[str, Any]] = [
        {"of": "all cases", "measure": "slope", "value": float(slope)},
        {"of": "all cases", "measure": "intercept", "value": float(intercept)},
    ]
    order = np.argsort(predicted, kind="stable")
    n_groups = min(GROUPS, len(rows) // LEAST_IN_GROUP)
    for g, members in enumerate(np.array_split(order, n_groups) if n_groups > 1 else []):
        means = {"predicted": predicted[members].mean(), "observed": observed[members].mean()}
        # the groups' limits differ from fold to fold, so they are named by position
        found += [{"of": f"group {g + 1}", "measure": m, "value": float(v)} for m, v in means.items()]
    return found


def calibration_rows(
    predictions: pd.DataFrame, task: Task, unit: str, edges: Sequence[float] | None
) -> list[dict[str, Any]]:
    """Return of, measure and value of one fold's predictions; empty if nothing can be calibrated."""
    unit = unit if has_slides(predictions) else "patient"
    if task.kind == "survival":
        return survival_calibration(predictions, unit, edges) if edges else []
    calibrate = regression_calibration if task.kind == "regression" else classification_calibration
    return calibrate(predictions, task, unit)
