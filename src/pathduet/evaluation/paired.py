"""Comparison of two models on the same patients: differences with intervals and a two-sided test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from pathduet.cohort.tasks import Task
from pathduet.evaluation.bootstrap import LEAST_DEFINED, draws, in_all, interval, replicates
from pathduet.evaluation.predictions import at_unit, has_slides, labelled
from pathduet.evaluation.resampled_t_test import corrected_resampled_p

#: Trainings per fold that a p value needs: one or two do not show how much depends on the seed.
LEAST_TRAININGS = 3


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two models in one metric on the same patients.

    Attributes
    ----------
    value : float
        Mean difference over folds and trainings.
    low, high : float or None
        95 % interval; None without resamples or if less than half of them are defined.
    p : float or None
        Two-sided, of no difference; None below :data:`LEAST_TRAININGS`. Over folds by the corrected resampled t test
        (:func:`~pathduet.evaluation.resampled_t_test.corrected_resampled_p`); on an external cohort, whose patients are in no
        training part, the difference divided by its bootstrap standard error, against the normal distribution (as in pROC's
        bootstrap test).
    n_patients : int
        In common.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    n_patients: int


def two_sided_p(observed: float, replicated: np.ndarray | None) -> float | None:
    """Return the two-sided p of a difference with bootstrap replicates; 1 if nothing differs."""
    if replicated is None:
        return None
    defined = replicated[np.isfinite(replicated)]
    if len(defined) < max(2, LEAST_DEFINED * len(replicated)):
        return None
    error = float(defined.std(ddof=1))
    if error == 0:
        return 1.0 if observed == 0 else None
    return float(2 * norm.sf(abs(observed) / error))


def paired_differences(
    parts: Sequence[Sequence[pd.DataFrame]],
    reference: Sequence[Sequence[pd.DataFrame]],
    task: Task,
    unit: str,
    *,
    resamples: int,
    seed: int,
    shared: bool = False,
) -> tuple[dict[str, PairedDifference], int]:
    """Return one model's difference from another in every metric, on the patients that both predict.

    Paired: both models use the same draw of patients, so effects of the draw cancel; trainings are paired by
    seed, and a model that is fitted once is paired with each.

    Parameters
    ----------
    parts, reference : sequences of sequences of DataFrame
        Predictions of the two models' trainings, fold by fold in the same order.
    shared : bool
        Whether the folds' models predict the same patients, an external cohort.

    Returns
    -------
    differences : dict of str to PairedDifference
        By metric, model minus reference; without undefined metrics.
    n_patients : int
        In common.
    """
    pairs, patients = [], []
    for ours, theirs in zip(parts, reference, strict=True):
        known = [set(labelled(at_unit(of[0], "patient"), task)["patient_id"]) for of in (ours, theirs)]
        common = known[0] & known[1]
        patients.append(common)
        pairs.append([[table[table["patient_id"].isin(common)] for table in of] for of in (ours, theirs)])
    n_patients = len(set().union(*patients)) if shared else sum(len(p) for p in patients)
    if not pairs or not all(patients):
        return {}, n_patients

    def differences(counts: Sequence[pd.DataFrame]) -> dict[str, np.ndarray]:
        """Return arrays (folds, trainings, draws)."""
        values = []
        for models, drawn in zip(pairs, counts, strict=True):
            # a clinical model predicts patients, not slides
            units = [unit, unit if has_slides(models[1][0]) else "patient"]
            first, second = (
                [replicates(table, task, of, drawn) for table in tables]
                for tables, of in zip(models, units, strict=True)
            )
            names = in_all([*first, *second])
            values.append(
                {n: np.stack([v[n] for v in first]) - np.stack([v[n] for v in second]) for n in names}
            )
        return {name: np.stack([v[name] for v in values]) for name in in_all(values)}

    once = differences([pd.DataFrame(1.0, index=[0], columns=sorted(p)) for p in patients])
    drawn: dict[str, np.ndarray] = {}
    if resamples >= 1:
        counts = draws([ours[0] for ours, _ in pairs], task, resamples, seed, shared)
        drawn = {name: value.mean(axis=(0, 1)) for name, value in differences(counts).items()}
    found = {}
    for name, of_trainings in once.items():
        value, p = float(of_trainings.mean()), None
        if not np.isfinite(value):
            continue
        low, high = (interval(drawn[name]) if drawn else None) or (None, None)
        if of_trainings.shape[1] >= LEAST_TRAININGS:
            p = two_sided_p(value, drawn.get(name)) if shared else corrected_resampled_p(of_trainings[..., 0])
        found[name] = PairedDifference(value, low, high, p, n_patients)
    return found, n_patients
