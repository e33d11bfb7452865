"""The ensemble of the folds' models on an external cohort."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pathduet.core.errors import InputError, Problem
from pathduet.evaluation.patient_average import OUTPUTS, mean_risk
from pathduet.evaluation.predictions import class_names, evaluated_part

#: Replaces a fold's number.
ENSEMBLE = "ensemble"


def ensemble_predictions(folds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the mean prediction of the folds' models on the same (external) slides.

    Probabilities, hazards and predicted values are averaged; for risks see :func:`~pathduet.evaluation.patient_average.mean_risk`.

    Returns
    -------
    DataFrame
        Columns of the first table, rows in its order, ``fold`` = :data:`ENSEMBLE`.

    Raises
    ------
    InputError
        If the tables do not hold the same slides.
    """
    if not folds:
        raise ValueError("an ensemble needs at least one table")
    keys = ["slide_id", "patient_id"]
    tables = [evaluated_part(table).set_index(keys) for table in folds]
    first = tables[0]
    problems = [
        Problem(
            f"ensemble, table {i}",
            f"{len(first.index.symmetric_difference(table.index))} slides differ from the first table's",
            "rerun the inference of every fold on the same slides",
        )
        for i, table in enumerate(tables)
        if not table.index.is_unique or len(first.index.symmetric_difference(table.index))
    ]
    if problems:
        raise InputError(problems)
    result = first.copy()
    outputs = [name for name in first.columns if name.startswith(OUTPUTS)]
    stacked = np.stack([t.loc[first.index, outputs].to_numpy(dtype=float) for t in tables])
    result[outputs] = stacked.mean(axis=0)
    result = mean_risk(result)
    classes = class_names(result)
    if classes:
        result["predicted"] = [
            classes[k] for k in result[[f"p_{c}" for c in classes]].to_numpy().argmax(axis=1)
        ]
    if "expert" in result:
        result["expert"] = ""
    result["fold"] = ENSEMBLE
    return result.reset_index()[list(folds[0].columns)]
