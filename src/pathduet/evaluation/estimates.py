"""Metrics of arrays with 95 % intervals: the tables' numbers for one fold, for predictions of any source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pathduet.evaluation.bootstrap import (
    classification_replicates,
    interval,
    patient_counts,
    regression_replicates,
    survival_replicates,
)
from pathduet.evaluation.classification_metrics import classification_scores
from pathduet.evaluation.regression_metrics import regression_scores
from pathduet.evaluation.scores import Scores
from pathduet.evaluation.survival_metrics import survival_scores

RESAMPLES = 1000


class Estimate(NamedTuple):
    """A metric's value and its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


def classification_estimates(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    positive: int | None = None,
    ordered: bool = False,
    patients: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return AUC, average precision, accuracy and the other metrics of predicted classes.

    Parameters
    ----------
    truth : (n,) int array
        Index of each case's class.
    probability : (n, classes) array
    positive : int, optional
        Of two classes, the one that sensitivity, F1 and average precision describe; if omitted, means over the classes.
    ordered : bool
        Whether the classes are steps of a scale: adds the quadratic kappa.
    patients : sequence of str, optional
        Patient of each case. The bootstrap draws patients with their cases; by default each case is a patient.
    resamples, seed : int
        Of the bootstrap.

    Raises
    ------
    ValueError
        If lengths differ, or a label is no class.

    Examples
    --------
    >>> found = classification_estimates([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    >>> found["auc"].value, found["accuracy"].value
    (1.0, 0.75)
    """
    labels, chances = np.asarray(truth), np.asarray(probability, dtype=float)
    if chances.ndim != 2 or len(chances) != len(labels):
        raise ValueError(f"probability has shape {chances.shape}; ({len(labels)}, classes) is needed")
    if not np.isin(labels, np.arange(chances.shape[1])).all():
        raise ValueError(f"truth has {np.unique(labels).tolist()}; 0 to {chances.shape[1] - 1} are classes")
    labels = labels.astype(int)
    scores = classification_scores(
        labels, chances, list(map(str, range(chances.shape[1]))), positive, ordered
    )
    return _estimates(
        scores,
        lambda weight: classification_replicates(labels, chances, weight, positive, ordered),
        len(labels), patients, resamples, seed,
    )  # fmt: skip


def survival_estimates(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    *,
    patients: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return Harrell's C-index of predicted risks.

    Parameters
    ----------
    time, event : (n,) arrays
        Time to the event (1) or the last contact (0), in any unit.
    risk : (n,) array
        Higher = earlier event.
    patients, resamples, seed
        See :func:`classification_estimates`.

    Raises
    ------
    ValueError
        If lengths differ.

    Examples
    --------
    >>> survival_estimates([5, 8, 9, 12], [1, 1, 0, 1], [3.0, 1.0, 2.0, 0.5])["c_index"].value
    0.8
    """
    times, events, risks = (np.asarray(values, dtype=float) for values in (time, event, risk))
    _same_length(time=times, event=events, risk=risks)
    return _estimates(
        survival_scores(times, events, risks),
        lambda weight: survival_replicates(times, events, risks, weight),
        len(times), patients, resamples, seed,
    )  # fmt: skip


def regression_estimates(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    patients: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return R2, Spearman's correlation and the mean absolute error of predicted values.

    Parameters
    ----------
    truth, prediction : (n,) arrays
        In the same unit, which is also that of the error.
    patients, resamples, seed
        See :func:`classification_estimates`.

    Raises
    ------
    ValueError
        If lengths differ.

    Examples
    --------
    >>> regression_estimates([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])["r2"].value
    0.5
    """
    true, predicted = np.asarray(truth, dtype=float), np.asarray(prediction, dtype=float)
    _same_length(truth=true, prediction=predicted)
    return _estimates(
        regression_scores(true, predicted),
        lambda weight: regression_replicates(true, predicted, weight),
        len(true), patients, resamples, seed,
    )  # fmt: skip


def _same_length(**arrays: np.ndarray) -> None:
    if len({values.shape for values in arrays.values()}) > 1 or next(iter(arrays.values())).ndim != 1:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in arrays.items())
        raise ValueError(f"one number a case is needed in each array; found {shapes}")


def _estimates(
    scores: Scores,
    replicates: Callable[[np.ndarray], dict[str, np.ndarray]],
    cases: int,
    patients: Sequence[str] | None,
    resamples: int,
    seed: int,
) -> dict[str, Estimate]:
    """Return each metric with its bootstrap interval; patients are sorted by id."""
    names, place = np.unique(
        np.arange(cases) if patients is None else np.asarray(patients), return_inverse=True
    )
    if len(place) != cases:
        raise ValueError(f"patients names {len(place)} of {cases} cases")
    defined = any(value is not None for value in scores.values.values())
    drawn = (
        replicates(patient_counts(len(names), resamples, np.random.default_rng(seed))[:, place])
        if defined
        else {}
    )
    found = {}
    for name, value in scores.values.items():
        if name in drawn or value is None:
            limits = interval(drawn[name]) if value is not None else None
            found[name] = Estimate(None if value is None else float(value), *(limits or (None, None)))
    return found
