"""95 % intervals by resampling patients.

Within each fold, test patients are drawn with replacement, the fold's metric is computed on the draw, and
the folds' values are averaged: the interval is that of the mean that a table shows. Scores of different
folds come from different models and need not share a scale, so they are never ranked against each other, as
a pooled AUC or C-index would. Slides follow their patient (a cluster bootstrap), because two slides of one
patient are not independent. The interval (percentiles of the replicates) covers the choice of test patients;
the effect of another training set shows in the spread over folds, not here.

A replicate is a vector of counts (how often each patient was drawn), so all replicates of a metric are a few
matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from pathduet.cohort.tasks import Task
from pathduet.evaluation.censoring import ipcw_c_index
from pathduet.evaluation.metrics import metric_names, positive_index
from pathduet.evaluation.predictions import at_unit, class_names, label_indices, labelled, probabilities
from pathduet.evaluation.survival_metrics import comparable_pairs

LEVEL = 0.95
#: Minimum share of replicates that must be defined for an interval or a test.
LEAST_DEFINED = 0.5
_BLOCK = 2**24


def patient_counts(n_patients: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each patient is drawn in each resample, shape (resamples, n_patients), float64."""
    return rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=resamples).astype(float)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def weighted_auc(positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the AUC under each row of case weights.

    Parameters
    ----------
    positive : (n,) bool array
    score : (n,) array
        Higher = more likely positive.
    weight : (R, n) array
        Case weights of R replicates.

    Returns
    -------
    (R,) array
        NaN where a replicate has no positive or no negative.
    """
    order = np.argsort(score, kind="stable")
    score, positive, weight = score[order], positive[order], weight[:, order]
    up, down = weight * positive, weight * ~positive
    below = np.concatenate([np.zeros((len(weight), 1)), down.cumsum(axis=1)], axis=1)
    first = np.searchsorted(score, score, side="left")
    after = np.searchsorted(score, score, side="right")
    won = (up * (below[:, first] + below[:, after]) / 2).sum(axis=1)
    return _divide(won, up.sum(axis=1) * down.sum(axis=1))


def weighted_average_precision(positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the average precision under each row of case weights, as :func:`weighted_auc`; NaN without a positive."""
    order = np.argsort(-score, kind="stable")
    score, positive, weight = score[order], positive[order], weight[:, order]
    up = weight * positive
    # a threshold includes all cases with the same score or none
    last = np.searchsorted(-score, -score, side="right") - 1
    precision = _divide(up.cumsum(axis=1), weight.cumsum(axis=1))[:, last]
    return _divide(np.where(up > 0, up * precision, 0).sum(axis=1), up.sum(axis=1))


def classification_replicates(
    truth: np.ndarray,
    probability: np.ndarray,
    weight: np.ndarray,
    positive: int | None = None,
    ordered: bool = False,
) -> dict[str, np.ndarray]:
    """Return every classification metric under each row of `weight`; same rules as the point values.

    Parameters
    ----------
    truth : (n,) int array
    probability : (n, K) array
    weight : (R, n) array
        Case weights.
    positive, ordered
        See :func:`pathduet.evaluation.classification_metrics.classification_scores`.
    """
    n_classes = probability.shape[1]
    predicted = probability.argmax(axis=1)
    cell = np.eye(n_classes**2)[truth * n_classes + predicted]
    confusion = (weight @ cell).reshape(-1, n_classes, n_classes)
    total = confusion.sum(axis=(1, 2))
    hit = np.einsum("rkk->rk", confusion)
    true, called = confusion.sum(axis=2), confusion.sum(axis=1)
    others = total[:, None] - true
    present, with_both = true > 0, (true > 0) & (others > 0)

    def macro(value: np.ndarray, over: np.ndarray) -> np.ndarray:
        return _divide(np.where(over, value, 0).sum(axis=1), over.sum(axis=1))

    def one_against_rest(metric: Callable[..., np.ndarray]) -> np.ndarray:
        found = [metric(truth == k, probability[:, k], weight) for k in range(n_classes)]
        return np.stack(found, axis=1)

    aucs, precisions = one_against_rest(weighted_auc), one_against_rest(weighted_average_precision)
    sensitivity, specificity = _divide(hit, true), _divide(others - called + hit, others)
    f1 = _divide(2 * hit, true + called)
    values = {"accuracy": _divide(hit.sum(axis=1), total)}
    if positive is None:
        values |= {
            "auc": macro(aucs, with_both),
            "average_precision": macro(precisions, with_both),
            "balanced_accuracy": macro(sensitivity, present),
            "sensitivity": macro(sensitivity, present),
            "specificity": macro(specificity, with_both),
            "f1": macro(f1, present),
        }
    else:
        values |= {
            "auc": aucs[:, positive],
            "average_precision": np.where(with_both[:, positive], precisions[:, positive], np.nan),
            "balanced_accuracy": sensitivity.mean(axis=1),
            "sensitivity": sensitivity[:, positive],
            "specificity": specificity[:, positive],
            "f1": np.where(present[:, positive], f1[:, positive], np.nan),
        }
    if ordered:
        steps = np.arange(n_classes)
        distance = (steps[:, None] - steps[None, :]) ** 2
        by_chance = np.einsum("ri,rj,ij->r", true, called, distance)
        values["quadratic_kappa"] = 1 - _divide(total * (confusion * distance).sum(axis=(1, 2)), by_chance)
    return values


def survival_replicates(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, weight: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the C-index under each row of `weight` (R, n); NaN where no pair is comparable."""
    pairs = comparable_pairs(time, event).astype(float)
    agreement = pairs * np.where(risk[:, None] > risk[None, :], 1.0, 0.5 * (risk[:, None] == risk[None, :]))
    step = max(1, _BLOCK // max(1, len(time)))
    values = []
    for start in range(0, len(weight), step):
        block = weight[start : start + step]
        won = ((block @ agreement) * block).sum(axis=1)
        values.append(_divide(won, ((block @ pairs) * block).sum(axis=1)))
    return {"c_index": np.concatenate(values)}


def regression_replicates(
    truth: np.ndarray, prediction: np.ndarray, weight: np.ndarray
) -> dict[str, np.ndarray]:
    """Return R2, Spearman's correlation and the mean absolute error under each row of `weight` (R, n)."""
    total, truth, prediction = weight.sum(axis=1), truth - truth.mean(), prediction - truth.mean()
    mean = _divide(weight @ truth, total)
    left = weight @ (truth - prediction) ** 2
    spread = (weight * (truth[None, :] - mean[:, None]) ** 2).sum(axis=1)
    # equal values have no spread, up to rounding
    spread = np.where(spread > 1e-12 * (weight @ truth**2), spread, 0)
    return {
        "r2": 1 - _divide(left, spread),
        "spearman": _weighted_correlation(
            _mean_ranks(truth, weight), _mean_ranks(prediction, weight), weight
        ),
        "mae": _divide(weight @ np.abs(truth - prediction), total),
    }


def _mean_ranks(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return each case's mean rank under each row of `weight`, up to a constant; shape (R, n)."""
    order = np.argsort(values, kind="stable")
    known = values[order]
    below = np.concatenate([np.zeros((len(weight), 1)), weight[:, order].cumsum(axis=1)], axis=1)
    ranks = np.empty_like(weight)
    first, after = (np.searchsorted(known, known, side=side) for side in ("left", "right"))
    ranks[:, order] = (below[:, first] + below[:, after]) / 2
    return ranks


def _weighted_correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the correlation of two (R, n) arrays under (R, n) weights, shape (R,); NaN where one has no spread."""
    total = weight.sum(axis=1, keepdims=True)
    a, b = (x - _divide((weight * x).sum(axis=1, keepdims=True), total) for x in (a, b))
    variances = (weight * a**2).sum(axis=1) * (weight * b**2).sum(axis=1)
    return _divide((weight * a * b).sum(axis=1), np.sqrt(variances))


def replicates(
    predictions: pd.DataFrame, task: Task, unit: str, counts: pd.DataFrame
) -> dict[str, np.ndarray]:
    """Return the replicates of every metric of one model's evaluated part.

    Parameters
    ----------
    predictions : DataFrame
        A predictions table.
    task : Task
    unit : {"patient", "slide"}
    counts : DataFrame, resamples x patients
        Draws by patient_id (columns), for example from :func:`draw`.

    Returns
    -------
    dict of str to (resamples,) array
        NaN where a replicate leaves a metric undefined. IPCW C-index and integrated Brier score are included if
        the table holds each case's share in them (:func:`pathduet.evaluation.censored_folds.with_shares`).
    """
    rows = labelled(at_unit(predictions, unit), task)
    if rows.empty:
        return {name: np.full(len(counts), np.nan) for name in metric_names(task)}
    weight = counts[rows["patient_id"]].to_numpy()
    if task.kind == "survival":
        time, event, risk = (rows[name].to_numpy(dtype=float) for name in ("survival_days", "event", "risk"))
        if not np.isfinite(risk).all():
            return {"c_index": np.full(len(counts), np.nan)}
        values = survival_replicates(time, event, risk, weight)
        if "ipcw_weight" in rows and rows["ipcw_weight"].notna().all():
            values["ipcw_c_index"] = ipcw_c_index(
                time, event, risk, rows["ipcw_weight"].to_numpy(dtype=float), weight
            )
        if "brier" in rows and rows["brier"].notna().all():
            values["integrated_brier"] = _divide(
                weight @ rows["brier"].to_numpy(dtype=float), weight.sum(axis=1)
            )
        return values
    if task.kind == "regression":
        truth, prediction = (rows[name].to_numpy(dtype=float) for name in ("value", "prediction"))
        if not np.isfinite(prediction).all():
            return {name: np.full(len(counts), np.nan) for name in metric_names(task)}
        return regression_replicates(truth, prediction, weight)
    probability = probabilities(rows)
    if not np.isfinite(probability).all() or not class_names(rows):
        return {name: np.full(len(counts), np.nan) for name in metric_names(task)}
    return classification_replicates(
        label_indices(rows), probability, weight, positive_index(task), task.ordered
    )


def mean_replicates(
    trainings: Sequence[pd.DataFrame], task: Task, unit: str, counts: pd.DataFrame
) -> dict[str, np.ndarray]:
    """Return the mean of :func:`replicates` over trainings on the same patients."""
    values = [replicates(table, task, unit, counts) for table in trainings]
    return {name: np.mean([one[name] for one in values], axis=0) for name in in_all(values)}


def draw(
    parts: Sequence[pd.DataFrame], task: Task, resamples: int, seed: int | Sequence[int]
) -> pd.DataFrame:
    """Draw patients with replacement from the union of some parts' labelled patients.

    Returns
    -------
    DataFrame, resamples x patients
        Counts; columns are sorted patient ids, so the draw does not depend on the order of rows.
    """
    patients = sorted({p for part in parts for p in labelled(at_unit(part, "patient"), task)["patient_id"]})
    rng = np.random.default_rng(seed)
    counts = patient_counts(len(patients), resamples, rng) if patients else np.zeros((resamples, 0))
    return pd.DataFrame(counts, columns=patients)


def interval(values: np.ndarray) -> tuple[float, float] | None:
    """Return the 2.5th and 97.5th percentile of the defined replicates, or None if under half are defined."""
    defined = values[np.isfinite(values)]
    if len(defined) == 0 or len(defined) < LEAST_DEFINED * len(values):
        return None
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def mean_interval(
    parts: Sequence[Sequence[pd.DataFrame]],
    task: Task,
    unit: str,
    *,
    resamples: int,
    seed: int,
    shared: bool = False,
) -> dict[str, tuple[float, float] | None]:
    """Return the interval of each metric's mean over folds and their trainings.

    Parameters
    ----------
    parts : sequence of sequences of DataFrame
        The predictions of each fold's trainings, all on the same patients.
    shared : bool
        False: every fold has its own test patients, drawn independently. True: the folds' models predict
        the same patients (an external cohort), so all share one draw.
    """
    if not parts or resamples < 1:
        return dict.fromkeys(metric_names(task))
    drawn = draws([trainings[0] for trainings in parts], task, resamples, seed, shared)
    values = [mean_replicates(of, task, unit, counts) for of, counts in zip(parts, drawn, strict=True)]
    return {name: interval(np.mean([v[name] for v in values], axis=0)) for name in in_all(values)}


def draws(
    parts: Sequence[pd.DataFrame], task: Task, resamples: int, seed: int, shared: bool
) -> list[pd.DataFrame]:
    """Return one draw per part, or the same draw for all if the parts share their patients."""
    if shared:
        return [draw(parts, task, resamples, seed)] * len(parts)
    return [draw([part], task, resamples, [seed, i]) for i, part in enumerate(parts)]


def in_all(values: Sequence[dict[str, np.ndarray]]) -> list[str]:
    """Return the metrics that every part has."""
    return [name for name in values[0] if all(name in one for one in values)]
