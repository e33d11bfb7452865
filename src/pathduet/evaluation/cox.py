"""Cox models on clinical covariates (lifelines); its ridge penalty keeps the fit finite where one nearly separates the deaths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pathduet.evaluation.covariates import Covariates

PENALIZER = 0.01
_LEAST_DEATHS = 2


@dataclass(frozen=True)
class CoxModel:
    """A fitted Cox model.

    Attributes
    ----------
    covariates : Covariates
    coefficients : Series or None
        By covariate; None where nothing could be fitted (the covariates' notes say why).
    """

    covariates: Covariates
    coefficients: pd.Series | None

    def predict(self, patients: pd.DataFrame) -> pd.DataFrame:
        """Return ``risk``, the log partial hazard (higher = worse); NaN where the model could not be fitted."""
        risk = np.full(len(patients), np.nan)
        if self.coefficients is not None:
            risk = self.covariates.standardised(patients).to_numpy() @ self.coefficients.to_numpy()
        return pd.DataFrame({"risk": risk}, index=patients.index)

    def notes(self, patients: pd.DataFrame) -> dict[str, str]:
        """Return what was left out in the fit, and in the prediction of these patients."""
        imputed = {} if self.coefficients is None else self.covariates.imputed(patients)
        return {**self.covariates.notes, **imputed}


def fit_cox(train: pd.DataFrame, names: Iterable[str]) -> CoxModel:
    """Fit a Cox model on training patients.

    Parameters
    ----------
    train : DataFrame
        Patients (rows) with the covariates, and a known ``survival_days`` and ``event``.
    names : iterable of str
        Covariates.

    Returns
    -------
    CoxModel
        Never raises for poor data: where nothing can be fitted, it carries no coefficients and a note.
    """
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError

    covariates = Covariates.of(train, names)
    data = covariates.train.copy()
    usable, deaths = len(data.columns), int(train.loc[data.index, "event"].sum())
    if not usable or deaths < _LEAST_DEATHS:
        covariates.notes["fit"] = f"no fit: {usable} usable covariates, {deaths} deaths in the training part"
        return CoxModel(covariates, None)
    data["survival_days"], data["event"] = train["survival_days"].astype(float), train["event"].astype(float)
    try:
        fitted = CoxPHFitter(penalizer=PENALIZER).fit(data, "survival_days", "event")
    except (ConvergenceError, np.linalg.LinAlgError) as error:
        covariates.notes["fit"] = f"no fit: {str(error).splitlines()[0][:200]}"
        return CoxModel(covariates, None)
    return CoxModel(covariates, fitted.params_)
