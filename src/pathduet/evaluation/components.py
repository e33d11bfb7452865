"""Principal components of the expression: few enough columns for a regression on some hundred patients.

All genes of the subspaces' lists that are measured enter, selected or not, scaled by the training part. The components are the
training patients' (50 of them, or fewer), each of variance 1 there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from pathduet.expression.fold_matrix import read_values

COMPONENTS = 50


def patient_expression(path: str | PathLike[str]) -> pd.DataFrame:
    """Return a fold's scaled values, shape (patients, genes): the mean of each patient's samples, by patient_id, sorted."""
    obs, values = read_values(path)
    table = pd.DataFrame(values.astype(np.float64), index=obs["patient_id"].astype(str))
    return table.groupby(level=0).mean().rename_axis("patient_id")


@dataclass(frozen=True)
class Components:
    """The components of a training part.

    Attributes
    ----------
    train : DataFrame
        Of the training patients.
    fitted : PCA or None
        None where there are fewer than three patients.
    notes : dict of str to str
        How many components of how many genes.
    """

    train: pd.DataFrame
    fitted: Any
    notes: dict[str, str] = field(default_factory=dict)
    #: Of a Cox or ridge regression, per patient; stronger than a covariate's, for 50 columns.
    penalty: float = 0.1

    @classmethod
    def of(cls, expression: pd.DataFrame) -> Components:
        """Return those of the training patients (rows; columns are genes)."""
        from sklearn.decomposition import PCA

        count = min(COMPONENTS, len(expression) - 1, expression.shape[1])
        notes = {
            "components": f"{max(count, 0)} of {expression.shape[1]} genes in {len(expression)} training patients"
        }
        if count < 2:
            return cls(pd.DataFrame(index=expression.index), None, notes)
        fitted = PCA(count, svd_solver="full", whiten=True).fit(expression.to_numpy())
        made = cls(pd.DataFrame(index=expression.index), fitted, notes)
        return cls(made.standardised(expression), fitted, notes)

    def standardised(self, expression: pd.DataFrame) -> pd.DataFrame:
        """Return patients' components, each of variance 1 in the training part."""
        if self.fitted is None or expression.empty:
            return pd.DataFrame(index=expression.index)
        values = self.fitted.transform(expression.to_numpy())
        return pd.DataFrame(values, expression.index, [f"component {i + 1}" for i in range(values.shape[1])])

    def missing(self, expression: pd.DataFrame) -> dict[str, str]:
        """Return no notes: who is predicted has expression."""
        return {}
