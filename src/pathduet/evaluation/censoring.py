"""Survival metrics that correct for censoring: IPCW C-index and integrated Brier score, and the curves they need.

The censoring distribution is the training part's (Kaplan-Meier), as in scikit-survival, whose functions give the point
values. Both metrics are sums over patients (or pairs of them) with fixed weights, so what they need per patient
is kept, and resampled patients give intervals without recomputing curves.

Uno et al., Statistics in Medicine 2011 (IPCW C-index); Graf et al., Statistics in Medicine 1999 (Brier score).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathduet.evaluation.survival_metrics import comparable_pairs

Floats = NDArray[np.float64]


def _outcome(time: Floats, event: Floats) -> NDArray:
    from sksurv.util import Surv

    return np.asarray(Surv.from_arrays(np.asarray(event).astype(bool), np.asarray(time, dtype=float)))


def _not_censored(train_time: Floats, train_event: Floats, at: Floats) -> Floats:
    """Return G(t), the training part's probability of no censoring by `at`; 0 beyond the last training time's drop."""
    from sksurv.nonparametric import CensoringDistributionEstimator

    estimator = CensoringDistributionEstimator().fit(_outcome(train_time, train_event))
    inside = at <= np.max(train_time)
    probability = np.zeros(len(at))
    if inside.any():
        probability[inside] = estimator.predict_proba(at[inside])
    return probability


def ipcw_weights(
    train_time: Floats, train_event: Floats, time: Floats, event: Floats, horizon: float
) -> Floats:
    """Return each patient's weight in the IPCW C-index: 1 / G(t)^2 of events seen before the horizon, else 0.

    Parameters
    ----------
    train_time, train_event : (m,) arrays
        The part from which the censoring distribution is estimated.
    time, event : (n,) arrays
        Days, and 1 = event.
    horizon : float
        Days; must not lie beyond the training part's follow-up.
    """
    counted = (np.asarray(event) == 1) & (np.asarray(time) < horizon)
    weights = np.zeros(len(time))
    probability = _not_censored(train_time, train_event, np.asarray(time, dtype=float)[counted])
    if (probability <= 0).any():
        raise ValueError(
            f"nobody of the training part is under observation at the horizon of {horizon:g} days"
        )
    weights[counted] = 1 / probability**2
    return weights


def ipcw_c_index(time: Floats, event: Floats, risk: Floats, weights: Floats, counts: Floats) -> Floats:
    """Return the IPCW C-index under each row of patient counts.

    Parameters
    ----------
    risk : (n,) array
        Higher = earlier event.
    weights : (n,) array
        From :func:`ipcw_weights`.
    counts : (R, n) array
        How often each patient counts in each replicate; ones for the point value.

    Returns
    -------
    (R,) array
        NaN where no pair is comparable.
    """
    pairs = comparable_pairs(time, event) * weights[:, None]
    right = np.where(risk[:, None] > risk[None, :], 1.0, 0.5 * (risk[:, None] == risk[None, :]))
    won = ((counts @ (pairs * right)) * counts).sum(axis=1)
    all_pairs = ((counts @ pairs) * counts).sum(axis=1)
    return np.divide(won, all_pairs, out=np.full(len(counts), np.nan), where=all_pairs > 0)


def brier_contributions(
    train_time: Floats, train_event: Floats, time: Floats, event: Floats, survival: Floats, days: Floats
) -> Floats:
    """Return each patient's share in the integrated Brier score; their mean is the score.

    Parameters
    ----------
    survival : (n, T) array
        Predicted probability of no event until each of `days`.
    days : (T,) array
        Increasing; the score is integrated from the first to the last, and divided by their distance.
    """
    time, event = np.asarray(time, dtype=float), np.asarray(event, dtype=float)
    at_event = _not_censored(train_time, train_event, time)
    at_day = _not_censored(train_time, train_event, days)
    if (at_day <= 0).any():
        raise ValueError("nobody of the training part is under observation at the last day")
    happened = (time[:, None] <= days[None, :]) & (event[:, None] == 1)
    # an event after the last training follow-up has no weight; sksurv assigns it infinite censoring odds
    weight_happened = np.divide(1.0, at_event, out=np.zeros(len(time)), where=at_event > 0)
    free = time[:, None] > days[None, :]
    score = survival**2 * happened * weight_happened[:, None] + (1 - survival) ** 2 * free / at_day[None, :]
    integral: Floats = np.trapezoid(score, days, axis=1) / (days[-1] - days[0])
    return integral


def interval_survival(hazards: Floats, edges: Floats, days: Floats) -> Floats:
    """Return survival curves of a discrete-time model at days up to its last edge.

    The hazard is assumed constant within an interval (S is log-linear); the last interval is open, so nothing is
    known beyond its edge.

    Parameters
    ----------
    hazards : (n, K) array
        Probability of the event in each interval after reaching it.
    edges : (K - 1,) array
        Inner edges in days.
    days : (T,) array
        In [0, edges[-1]].
    """
    if days.max() > edges[-1] or days.min() < 0:
        raise ValueError(f"a discrete-time model says nothing beyond its last edge, {edges[-1]:g} days")
    knots = np.concatenate([[0.0], edges])
    log_survival = np.log1p(-np.clip(hazards[:, :-1], 0.0, 1 - 1e-12)).cumsum(axis=1)
    log_survival = np.concatenate([np.zeros((len(hazards), 1)), log_survival], axis=1)
    return np.stack([np.exp(np.interp(days, knots, row)) for row in log_survival])
