"""One model against another on the same patients: differences with intervals and a two-sided test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from pathduet.cohort.tasks import Task
from pathduet.evaluation.bootstrap import LEAST_DEFINED, draws, in_all, interval, replicates
from pathduet.evaluation.predictions import at_unit, has_slides, labelled


@dataclass(frozen=True)
class PairedDifference:
    """How much one model's metric lies above another's on the same patients.

    Attributes
    ----------
    value : float
        Mean over folds of the difference.
    low, high : float or None
        95 % interval; None without resamples or where under half of them are defined.
    p : float or None
        Two-sided, of no difference: the difference over its bootstrap standard error, against the normal distribution
        (as pROC's bootstrap test does); unlike a count of replicates beyond 0 it has no floor at 1 / resamples.
    n_patients : int
        In common.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    n_patients: int


def two_sided_p(observed: float, replicated: np.ndarray) -> float | None:
    """Return the two-sided p of a difference with bootstrap replicates; 1 where there is nothing that differs."""
    defined = replicated[np.isfinite(replicated)]
    if len(defined) < max(2, LEAST_DEFINED * len(replicated)):
        return None
    error = float(defined.std(ddof=1))
    if error == 0:
        return 1.0 if observed == 0 else None
    return float(2 * norm.sf(abs(observed) / error))


def paired_differences(
    parts: Sequence[pd.DataFrame],
    reference: Sequence[pd.DataFrame],
    task: Task,
    unit: str,
    *,
    resamples: int,
    seed: int,
    shared: bool = False,
) -> tuple[dict[str, PairedDifference], int]:
    """Return how one model differs from another in every metric, on the patients that both predict.

    Paired: the same draw of patients serves both models, so what makes a draw easy for both cancels.

    Parameters
    ----------
    parts, reference : sequences of DataFrame
        Predictions of the two models, fold by fold in the same order.

    Returns
    -------
    differences : dict of str to PairedDifference
        By metric, model minus reference; without the metrics that are undefined.
    n_patients : int
        In common.
    """
    pairs, patients = [], []
    for ours, theirs in zip(parts, reference, strict=True):
        known = [set(labelled(at_unit(table, "patient"), task)["patient_id"]) for table in (ours, theirs)]
        common = known[0] & known[1]
        patients.append(common)
        pairs.append([table[table["patient_id"].isin(common)] for table in (ours, theirs)])
    n_patients = len(set().union(*patients)) if shared else sum(len(p) for p in patients)
    if not pairs or not all(patients):
        return {}, n_patients

    def differences(counts: Sequence[pd.DataFrame]) -> dict[str, np.ndarray]:
        values = []
        for (a, b), c in zip(pairs, counts, strict=True):
            # a clinical model predicts patients, not slides
            unit_of_b = unit if has_slides(b) else "patient"
            first, second = replicates(a, task, unit, c), replicates(b, task, unit_of_b, c)
            values.append({name: first[name] - second[name] for name in first if name in second})
        return {name: np.asarray(np.mean([v[name] for v in values], axis=0)) for name in in_all(values)}

    once = [pd.DataFrame(1.0, index=[0], columns=sorted(p)) for p in patients]
    observed = {name: float(value[0]) for name, value in differences(once).items()}
    drawn: dict[str, np.ndarray] = {}
    if resamples >= 1:
        drawn = differences(draws([a for a, _ in pairs], task, resamples, seed, shared))
    found = {}
    for name, value in observed.items():
        if not np.isfinite(value):
            continue
        low, high = (interval(drawn[name]) if drawn else None) or (None, None)
        p = two_sided_p(value, drawn[name]) if drawn else None
        found[name] = PairedDifference(value, low, high, p, n_patients)
    return found, n_patients
