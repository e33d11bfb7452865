"""Cox models (lifelines); the ridge penalty keeps the fit finite where a column nearly separates the deaths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pathduet.core.plural import plural
from pathduet.evaluation.regression_inputs import Inputs

_LEAST_EVENTS = 2


@dataclass(frozen=True)
class CoxModel:
    """A fitted Cox model.

    Attributes
    ----------
    inputs : Inputs
    coefficients : Series or None
        Per column; None where nothing could be fitted (the inputs' notes say why).
    """

    inputs: Inputs
    coefficients: pd.Series | None

    @property
    def is_fitted(self) -> bool:
        """Whether the model could be fitted."""
        return self.coefficients is not None

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return ``risk``, the log partial hazard (higher = worse); NaN if the model could not be fitted."""
        risk = np.full(len(rows), np.nan)
        if self.coefficients is not None and len(rows):
            risk = self.inputs.standardised(rows).to_numpy() @ self.coefficients.to_numpy()
        return pd.DataFrame({"risk": risk}, index=rows.index)


def fit_cox(inputs: Inputs, truth: pd.DataFrame) -> CoxModel:
    """Fit a Cox model on a training part.

    Parameters
    ----------
    inputs : Inputs
    truth : DataFrame
        ``survival_days`` and ``event`` of the training patients.

    Returns
    -------
    CoxModel
        Never raises for poor data: if nothing can be fitted, it has no coefficients and a note.
    """
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError

    data = inputs.train.copy()
    usable, events = len(data.columns), int(truth.loc[data.index, "event"].sum())
    if not usable or events < _LEAST_EVENTS:
        inputs.notes["fit"] = (
            f"no fit: {plural(usable, 'usable covariate')}, {plural(events, 'event')} in the training part"
        )
        return CoxModel(inputs, None)
    data["survival_days"], data["event"] = truth["survival_days"].astype(float), truth["event"].astype(float)
    try:
        fitted = CoxPHFitter(penalizer=inputs.penalty).fit(data, "survival_days", "event")
    except (ConvergenceError, np.linalg.LinAlgError) as error:
        inputs.notes["fit"] = f"no fit: {str(error).splitlines()[0][:200]}"
        return CoxModel(inputs, None)
    return CoxModel(inputs, fitted.params_)
