"""Metrics of predicted values (scikit-learn, SciPy)."""

from __future__ import annotations

import numpy as np

from pathduet.evaluation.scores import Scores

#: R2 first: scale and offset of the predicted values count, not only their rank; predicting the mean gives 0.
REGRESSION_METRICS = ("r2", "spearman", "mae")


def regression_scores(truth: np.ndarray, prediction: np.ndarray) -> Scores:
    """Return R2 against the cases' own mean, Spearman's rank correlation, and the mean absolute error.

    Parameters
    ----------
    truth, prediction : (n,) arrays
        In the label's own unit.
    """
    from scipy.stats import spearmanr
    from sklearn.metrics import mean_absolute_error, r2_score

    if len(truth) == 0:
        return Scores.undefined(REGRESSION_METRICS, "no case with a value")
    broken = int((~np.isfinite(prediction)).sum())
    if broken:
        reason = f"the prediction of {broken} of {len(truth)} cases is not finite"
        return Scores.undefined(REGRESSION_METRICS, reason)
    values: dict[str, float | int | None] = {
        "r2": None,
        "spearman": None,
        "mae": float(mean_absolute_error(truth, prediction)),
    }
    notes: dict[str, str] = {}
    if np.ptp(truth) == 0:
        notes = dict.fromkeys(("r2", "spearman"), f"all {len(truth)} cases have the same value")
    else:
        values["r2"] = float(r2_score(truth, prediction))
        if np.ptp(prediction) == 0:
            notes["spearman"] = f"all {len(truth)} cases are predicted alike"
        else:
            values["spearman"] = float(spearmanr(truth, prediction).statistic)
    return Scores(values, notes)
