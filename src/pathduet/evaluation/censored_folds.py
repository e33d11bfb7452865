"""Each case's share in the metrics that correct for censoring, from the predictions of all folds.

Both metrics need the training part's censoring distribution. A fold's training part is the other folds' test parts, so
the survival times in the other folds' predictions, of any model, are those of its training patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pathduet.evaluation.censoring import brier_contributions, interval_survival, ipcw_weights
from pathduet.evaluation.patient_average import CASE_SHARES
from pathduet.evaluation.predictions import at_unit, has_slides, with_outcome

#: Both metrics cover the time up to this quantile of the training times: a discrete-time model with quartile
#: intervals predicts nothing beyond.
HORIZON_QUANTILE = 0.75
_GRID = 50


def survival_times(predictions: Mapping[tuple[str, int], pd.DataFrame]) -> dict[int, pd.DataFrame]:
    """Return survival_days and event by patient_id of each fold's test part, from all models together."""
    parts: dict[int, list[pd.DataFrame]] = {}
    for (_, fold), table in predictions.items():
        rows = with_outcome(at_unit(table, "patient"))
        parts.setdefault(fold, []).append(rows.set_index("patient_id")[["survival_days", "event"]])
    whole = {fold: pd.concat(tables) for fold, tables in parts.items()}
    return {fold: table[~table.index.duplicated()].sort_index() for fold, table in whole.items()}


def with_shares(
    predictions: pd.DataFrame,
    unit: str,
    training: pd.DataFrame | None,
    edges: Sequence[float] | None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return one fold's predictions, one row per case, with ``ipcw_weight`` and ``brier``, and why one is empty.

    Parameters
    ----------
    predictions : DataFrame
        Survival predictions of the fold's test part.
    unit : {"patient", "slide"}
    training : DataFrame or None
        survival_days and event of the fold's training patients; None where they are not known.
    edges : sequence of float or None
        Inner edges of the model's survival intervals in days; None for a model without survival curves.

    Returns
    -------
    cases : DataFrame
    undefined : dict of str to str
        ``ipcw_c_index`` and ``integrated_brier`` to the reason.
    """
    cases = with_outcome(at_unit(predictions, unit if has_slides(predictions) else "patient"))
    if "slide_id" not in cases:
        cases["slide_id"] = ""
    for name in CASE_SHARES:
        cases[name] = np.nan
    if training is None:
        reason = "the censoring of the training part is not known without every other fold's predictions"
        return cases, {"ipcw_c_index": reason, "integrated_brier": reason}
    if cases.empty:
        reason = "no case with a known outcome"
        return cases, {"ipcw_c_index": reason, "integrated_brier": reason}
    train_time, train_event = (training[n].to_numpy(dtype=float) for n in ("survival_days", "event"))
    time, event = (cases[n].to_numpy(dtype=float) for n in ("survival_days", "event"))
    horizon = float(np.quantile(train_time, HORIZON_QUANTILE))
    undefined: dict[str, str] = {}
    try:
        cases["ipcw_weight"] = ipcw_weights(train_time, train_event, time, event, horizon)
    except ValueError as error:
        undefined["ipcw_c_index"] = str(error)
    hazards = sorted((n for n in cases if str(n).startswith("h_")), key=lambda name: int(str(name)[2:]))
    if edges is None or not hazards:
        undefined["integrated_brier"] = "the model predicts a risk, no survival curve"
        return cases, undefined
    days = np.linspace(0.0, min(horizon, float(edges[-1])), _GRID)
    survival = interval_survival(cases[hazards].to_numpy(dtype=float), np.asarray(edges, dtype=float), days)
    try:
        cases["brier"] = brier_contributions(train_time, train_event, time, event, survival, days)
    except ValueError as error:
        undefined["integrated_brier"] = str(error)
    return cases, undefined
