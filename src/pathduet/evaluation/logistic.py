"""Logistic regression on clinical covariates (scikit-learn).

Multinomial, with its usual ridge penalty (C = 1) on standardised covariates, classes weighted by their inverse frequency, as
the networks' are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pathduet.evaluation.covariates import Covariates


@dataclass(frozen=True)
class LogisticModel:
    """A fitted regression.

    Attributes
    ----------
    covariates : Covariates
    classes : list of str
    fitted : LogisticRegression or None
        None where nothing could be fitted (the covariates' notes say why).
    frequencies : Series
        Share of each class among the labelled training patients, which is predicted then.
    """

    covariates: Covariates
    classes: list[str]
    fitted: Any
    frequencies: pd.Series

    def predict(self, patients: pd.DataFrame) -> pd.DataFrame:
        """Return ``predicted`` and ``p_<class>``; classes absent from the training part have probability 0."""
        probability = np.zeros((len(patients), len(self.classes)))
        if self.fitted is None:
            probability[:] = [float(self.frequencies.get(name, 0.0)) for name in self.classes]
        elif len(patients):
            found = self.fitted.predict_proba(self.covariates.standardised(patients))
            for column, name in enumerate(self.fitted.classes_):
                probability[:, self.classes.index(name)] = found[:, column]
        table = pd.DataFrame(
            probability, index=patients.index, columns=[f"p_{name}" for name in self.classes]
        )
        table.insert(0, "predicted", [self.classes[k] for k in probability.argmax(axis=1)])
        return table

    def notes(self, patients: pd.DataFrame) -> dict[str, str]:
        """Return what was left out in the fit, and in the prediction of these patients."""
        imputed = {} if self.fitted is None else self.covariates.imputed(patients)
        return {**self.covariates.notes, **imputed}


def fit_logistic(train: pd.DataFrame, names: Iterable[str], classes: Sequence[str]) -> LogisticModel:
    """Fit a regression on training patients.

    Parameters
    ----------
    train : DataFrame
        Patients (rows) with the covariates and a known ``label``.
    names : iterable of str
        Covariates.
    classes : sequence of str
        All classes of the task, in their order.

    Returns
    -------
    LogisticModel
        Never raises for poor data: where nothing can be fitted, it predicts frequencies and has a note.
    """
    from sklearn.linear_model import LogisticRegression

    covariates = Covariates.of(train, names)
    usable, truth = len(covariates.train.columns), train.loc[covariates.train.index, "label"]
    fitted = None
    if usable and truth.nunique() >= 2:
        fitted = LogisticRegression(class_weight="balanced", max_iter=1000).fit(covariates.train, truth)
    else:
        covariates.notes["fit"] = (
            f"no fit: {usable} usable covariates, {truth.nunique()} classes; frequencies"
        )
    return LogisticModel(covariates, list(classes), fitted, train["label"].value_counts(normalize=True))
