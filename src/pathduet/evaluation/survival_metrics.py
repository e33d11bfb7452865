"""Harrell's C-index (lifelines), and the pairs of patients that it can order."""

from __future__ import annotations

import numpy as np

from pathduet.core.plural import plural
from pathduet.evaluation.scores import Scores

SURVIVAL_METRICS = ("c_index",)


def comparable_pairs(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Return which pairs the C-index can order.

    Returns
    -------
    (n, n) bool array
        ``[i, j]`` is true where i's event is known to precede j's: i's event was observed and j's time is later,
        or equal with j censored (a censored patient outlasted those with the event on that day). Two events on
        the same day are not comparable. Harrell's rule, as in lifelines.
    """
    happened = event.astype(bool)
    earlier = time[:, None] < time[None, :]
    same_day = (time[:, None] == time[None, :]) & ~happened[None, :]
    return np.asarray(happened[:, None] & (earlier | same_day))


def survival_scores(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> Scores:
    """Return Harrell's C-index on the original times, and the number of comparable pairs.

    Parameters
    ----------
    time, event : (n,) arrays
        Days to the event (1) or the last contact (0).
    risk : (n,) array
        Higher = worse. lifelines expects the opposite direction; only this function changes the sign.
    """
    from lifelines.utils import concordance_index

    pairs = int(comparable_pairs(time, event).sum())
    if not np.isfinite(risk).all():
        reason = f"the risk of {int((~np.isfinite(risk)).sum())} of {len(risk)} cases is not finite"
        return Scores({"c_index": None, "n_comparable": pairs}, {"c_index": reason})
    if pairs == 0:
        reason = (
            f"no comparable pair among {plural(len(time), 'case')} with {plural(int(event.sum()), 'event')}"
        )
        return Scores({"c_index": None, "n_comparable": 0}, {"c_index": reason})
    return Scores({"c_index": float(concordance_index(time, -risk, event)), "n_comparable": pairs})
