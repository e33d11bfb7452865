"""The average over a patient's slides: a patient is one case, regardless of the number of slides."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pathduet.core.errors import InputError, Problem

#: A case's share in the metrics that correct for censoring: its weight in the IPCW C-index, its integrated Brier score.
CASE_SHARES = ("ipcw_weight", "brier")
#: Columns of the truth, by kind of task.
_TRUTH = ("label", "survival_days", "event", "bin", "value")
#: Prefixes of prediction columns: probabilities, hazards, risks and values, of both magnifications and of each.
OUTPUTS = ("p_", "p10_", "p20_", "h_", "h10_", "h20_", "risk", "prediction")


def average_patients(predictions: pd.DataFrame) -> pd.DataFrame:
    """Average the slides of each patient: probabilities, hazards and predicted values; for risks see :func:`mean_risk`.

    Returns
    -------
    DataFrame
        One row per patient, sorted by patient_id; without ``slide_id`` and per-slide choices.

    Raises
    ------
    InputError
        If two slides of a patient disagree on the truth.
    """
    truth = [name for name in _TRUTH if name in predictions]
    kept = [name for name in ("cohort", "part", "fold", *truth) if name in predictions]
    outputs = [name for name in predictions.columns if name.startswith((*OUTPUTS, *CASE_SHARES))]
    if predictions["patient_id"].is_unique:  # nothing to average: the bootstrap calls this very often
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
    # A slide without a prediction must not be dropped from its patient's mean.
    means = means.mask(predictions[outputs].isna().groupby(predictions["patient_id"], sort=True).any())
    return mean_risk(first.join(means).sort_index().reset_index())


def mean_risk(means: pd.DataFrame) -> pd.DataFrame:
    """Return averaged predictions with the risk of the averaged hazards.

    Averages over magnifications, slides or folds all define survival by the mean hazards h: S(t) is the product of
    1 - h up to t, and the risk is minus the sum of S. The mean of the risks would belong to another curve. Models that predict
    no hazards (Cox) keep the mean risk.
    """
    hazards = sorted((str(n) for n in means if str(n).startswith("h_")), key=lambda name: int(name[2:]))
    if not hazards:
        return means
    return means.assign(risk=-np.cumprod(1 - means[hazards].to_numpy(float), axis=1).sum(axis=1))
