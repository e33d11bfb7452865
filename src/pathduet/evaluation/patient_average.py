"""The average over a patient's slides: a patient is one case, however many slides there are."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pathduet.core.errors import InputError, Problem

#: A case's share in the metrics that correct for censoring: its weight in the IPCW C-index, its integrated Brier score.
CASE_SHARES = ("ipcw_weight", "brier")
#: Columns of the truth, by kind of task.
_TRUTH = ("label", "survival_days", "event", "bin", "value")
#: How the columns start that a model predicts: probabilities, hazards, risks and values, of both magnifications and of each.
OUTPUTS = ("p_", "p10_", "p20_", "h_", "h10_", "h20_", "risk", "prediction")


def average_patients(predictions: pd.DataFrame) -> pd.DataFrame:
    """Average the slides of each patient: probabilities, hazards and predicted values, and risks as :func:`mean_risk` says.

    Returns
    -------
    DataFrame
        One row a patient, sorted by patient_id; ``slide_id`` and per-slide choices are gone.

    Raises
    ------
    InputError
        If two slides of a patient disagree on the truth.
    """
    truth = [name for name in _TRUTH if name in predictions]
    kept = [name for name in ("cohort", "part", "fold", *truth) if name in predictions]
    outputs = [name for name in predictions.columns if name.startswith((*OUTPUTS, *CASE_SHARES))]
    if predictions["patient_id"].is_unique:  # nothing to average: the bootstrap asks for this very often
        return predictions[["patient_id", *kept, *outputs]].sort_values("patient_id", ignore_index=True)
    groups = predictions.groupby("patient_id", sort=True)
    spread = groups[truth].nunique(dropna=False) if truth else pd.DataFrame()
    problems = [
        Problem(
            f"predictions of patient {patient}, {name}",
            f"{int(spread.loc[patient, name])} different values among the slides",
            "one patient has one value: correct patients.tsv",
        )
        for name in truth
        for patient in spread.index[spread[name] > 1]
    ]
    if problems:
        raise InputError(problems)
    first = predictions.drop_duplicates("patient_id").set_index("patient_id")[kept]
    means = groups[outputs].mean()
    # A slide without a prediction must not vanish in its patient's mean.
    means = means.mask(predictions[outputs].isna().groupby(predictions["patient_id"], sort=True).any())
    return mean_risk(first.join(means).sort_index().reset_index())


def mean_risk(means: pd.DataFrame) -> pd.DataFrame:
    """Return averaged predictions with the risk that belongs to the averaged hazards.

    A survival curve has one definition wherever magnifications, slides or folds are averaged: that of the mean hazards h, S(t) the product of
    1 - h up to t, the risk minus the sum of S. The mean of the risks would be the risk of another curve. Models that predict
    no hazards (Cox) keep the mean risk.
    """
    hazards = sorted((str(n) for n in means if str(n).startswith("h_")), key=lambda name: int(name[2:]))
    if not hazards:
        return means
    return means.assign(risk=-np.cumprod(1 - means[hazards].to_numpy(float), axis=1).sum(axis=1))
