"""Ridge regression (scikit-learn) of a continuous label, with a penalty per patient, as in the Cox models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pathduet.core.plural import plural
from pathduet.evaluation.regression_inputs import Inputs

_LEAST_PATIENTS = 3


@dataclass(frozen=True)
class RidgeModel:
    """A fitted regression.

    Attributes
    ----------
    inputs : Inputs
    fitted : Ridge or None
        None if nothing could be fitted (the inputs' notes say why).
    mean : float
        Mean of the labelled training patients; predicted if nothing could be fitted.
    """

    inputs: Inputs
    fitted: Any
    mean: float

    @property
    def is_fitted(self) -> bool:
        """Whether it predicts more than the mean."""
        return self.fitted is not None

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return ``prediction``, in the label's unit."""
        prediction = np.full(len(rows), self.mean)
        if self.fitted is not None and len(rows):
            prediction = self.fitted.predict(self.inputs.standardised(rows))
        return pd.DataFrame({"prediction": prediction}, index=rows.index)


def fit_ridge(inputs: Inputs, truth: pd.DataFrame) -> RidgeModel:
    """Fit a regression on a training part.

    Parameters
    ----------
    inputs : Inputs
    truth : DataFrame
        ``value`` of the training patients.

    Returns
    -------
    RidgeModel
        Never raises for poor data: if nothing can be fitted, it predicts the mean and has a note.
    """
    from sklearn.linear_model import Ridge

    values = truth.loc[inputs.train.index, "value"].astype(float)
    usable, fitted = len(inputs.train.columns), None
    if usable and len(values) >= _LEAST_PATIENTS:
        fitted = Ridge(alpha=inputs.penalty * len(values)).fit(inputs.train, values)
    else:
        inputs.notes["fit"] = (
            f"no fit: {plural(usable, 'usable covariate')}, {plural(len(values), 'patient')}; the mean"
        )
    return RidgeModel(inputs, fitted, float(truth["value"].mean()))
