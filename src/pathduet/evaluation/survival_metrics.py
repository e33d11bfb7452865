"""Harrell's C-index (lifelines), and the pairs of patients that it can order."""

from __future__ import annotations

import numpy as np

from pathduet.evaluation.scores import Scores

SURVIVAL_METRICS = ("c_index",)


def comparable_pairs(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Return which pairs the C-index can order.

    Returns
    -------
    (n, n) bool array
        ``[i, j]`` is true where i is known to have died before j: i's death was seen and j's time is later,
        or equal with j censored (a censored patient outlived those who died that day). Two deaths on the
        same day are not comparable. Harrell's rule, as in lifelines.
    """
    died = event.astype(bool)
    earlier = time[:, None] < time[None, :]
    same_day = (time[:, None] == time[None, :]) & ~died[None, :]
    return np.asarray(died[:, None] & (earlier | same_day))


def survival_scores(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> Scores:
    """Return Harrell's C-index on the original times, and the number of comparable pairs.

    Parameters
    ----------
    time, event : (n,) arrays
        Days to death (event 1) or last contact (event 0).
    risk : (n,) array
        Higher = worse. lifelines expects the opposite direction, so its sign is changed here, once.
    """
    from lifelines.utils import concordance_index

    pairs = int(comparable_pairs(time, event).sum())
    if not np.isfinite(risk).all():
        reason = f"the risk of {int((~np.isfinite(risk)).sum())} of {len(risk)} cases is not finite"
        return Scores({"c_index": None, "n_comparable": pairs}, {"c_index": reason})
    if pairs == 0:
        reason = f"no comparable pair among {len(time)} cases with {int(event.sum())} deaths"
        return Scores({"c_index": None, "n_comparable": 0}, {"c_index": reason})
    return Scores({"c_index": float(concordance_index(time, -risk, event)), "n_comparable": pairs})
