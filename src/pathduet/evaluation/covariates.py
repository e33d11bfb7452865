"""Age, sex and grade as numbers, centred and scaled by the training part: what the clinical models read.

Age in years; sex (male 1, female 0); grade as a number (2, 3, 4: one degree of freedom, so that small folds carry it).
A model is fitted on the training patients that have all covariates; a predicted patient's missing value is replaced by the
training mean (it then says nothing), so that every model is scored on the same patients. A covariate that is constant or absent
in the training part is left out. All of it stands in the notes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Covariates:
    """The covariates of a training part.

    Attributes
    ----------
    train : DataFrame
        Standardised, of the training patients that have them all.
    centre, scale : Series
        By covariate.
    notes : dict of str to str
        What was left out and why.
    """

    train: pd.DataFrame
    centre: pd.Series
    scale: pd.Series
    notes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, train: pd.DataFrame, names: Iterable[str]) -> Covariates:
        """Return those of training patients (rows)."""
        notes: dict[str, str] = {}
        values = design_matrix(train, names)
        constant = [str(name) for name in values if values[name].nunique() < 2]
        if constant:
            notes["covariates"] = f"constant or absent in the training part, left out: {', '.join(constant)}"
        values = values.drop(columns=constant).dropna()
        if len(values) < len(train) and len(values.columns):
            notes["training"] = (
                f"{len(train) - len(values)} of {len(train)} training patients lack a covariate"
            )
        centre, scale = values.mean(), values.std(ddof=0).replace(0.0, 1.0)
        return cls((values - centre) / scale, centre, scale, notes)

    def standardised(self, patients: pd.DataFrame) -> pd.DataFrame:
        """Return patients' covariates in the training part's units, missing ones as its mean."""
        used = design_matrix(patients, self.train.columns)
        return ((used - self.centre) / self.scale).fillna(0.0)

    def imputed(self, patients: pd.DataFrame) -> dict[str, str]:
        """Return a note on how many patients lack a covariate; empty for none."""
        filled = int(design_matrix(patients, self.train.columns).isna().any(axis=1).sum())
        if not filled:
            return {}
        return {
            "imputed": f"{filled} of {len(patients)} patients: missing covariate set to the training mean"
        }
