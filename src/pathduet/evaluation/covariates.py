"""Age, sex and grade as numbers: what the clinical baselines read."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd


def design_matrix(patients: pd.DataFrame, covariates: Iterable[str]) -> pd.DataFrame:
    """Return the covariates as numbers, NaN where missing; rows as in `patients`."""
    columns: dict[str, pd.Series] = {}
    for name in covariates:
        column = patients[name] if name in patients else pd.Series(np.nan, index=patients.index)
        if name == "sex":
            columns[name] = column.map({"male": 1.0, "female": 0.0}).astype(float)
        elif name == "grade":
            columns[name] = column.map({"G2": 2.0, "G3": 3.0, "G4": 4.0}).astype(float)
        else:
            columns[name] = pd.to_numeric(column, errors="coerce")
    return pd.DataFrame(columns, index=patients.index)
