"""The corrected resampled t test (Nadeau, Bengio: Inference for the Generalization Error, Machine Learning 52, 2003)."""

from __future__ import annotations

import numpy as np
from scipy.stats import t


def corrected_error(differences: np.ndarray) -> float:
    """Return the corrected standard error of the mean of differences (k, s), see :func:`corrected_resampled_p`."""
    return float(differences.std(ddof=1) * np.sqrt(1 / differences.size + 1 / (len(differences) - 1)))


def corrected_resampled_p(differences: np.ndarray) -> float | None:
    """Return the two-sided p of no difference between two models over the folds of a cross-validation.

    Trainings on other folds share most of their training patients, so their differences are not independent: the variance of the
    mean is ``(1 / J + n_test / n_train)`` times that of the J differences, not ``1 / J`` times. In a cross-validation with k
    folds the ratio is ``1 / (k - 1)``, which corresponds to a correlation of 1 / k between any two. Trainings on one fold that
    differ only in their seed are covered: if they were identical and the folds independent, the mean correlation over all pairs
    would be lower, (s - 1) / (ks - 1).

    Parameters
    ----------
    differences : (k, s) array
        By fold and seed, k >= 2 for a test.

    Returns
    -------
    float or None
        By Student's t with J - 1 degrees of freedom; None for one fold, an undefined difference, or constant differences.
    """
    if len(differences) < 2 or not np.isfinite(differences).all():
        return None
    mean, error = float(differences.mean()), corrected_error(differences)
    if error == 0:
        return 1.0 if mean == 0 else None
    return float(2 * t.sf(abs(mean) / error, differences.size - 1))
