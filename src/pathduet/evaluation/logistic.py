"""Logistic regression (scikit-learn).

Multinomial, with the default ridge penalty (C = 1) on standardised columns; classes are weighted by their inverse
frequency, as in the networks. The order of ordered classes is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pathduet.core.plural import plural
from pathduet.evaluation.regression_inputs import Inputs


@dataclass(frozen=True)
class LogisticModel:
    """A fitted regression.

    Attributes
    ----------
    inputs : Inputs
    classes : list of str
    fitted : LogisticRegression or None
        None if nothing could be fitted (the inputs' notes say why).
    frequencies : Series
        Share of each class among the labelled training patients; predicted if nothing could be fitted.
    """

    inputs: Inputs
    classes: list[str]
    fitted: Any
    frequencies: pd.Series

    @property
    def is_fitted(self) -> bool:
        """Whether it predicts more than class frequencies."""
        return self.fitted is not None

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return ``predicted`` and ``p_<class>``; classes absent from the training part have probability 0."""
        probability = np.zeros((len(rows), len(self.classes)))
        if self.fitted is None:
            probability[:] = [float(self.frequencies.get(name, 0.0)) for name in self.classes]
        elif len(rows):
            found = self.fitted.predict_proba(self.inputs.standardised(rows))
            for column, name in enumerate(self.fitted.classes_):
                probability[:, self.classes.index(name)] = found[:, column]
        table = pd.DataFrame(probability, index=rows.index, columns=[f"p_{name}" for name in self.classes])
        table.insert(0, "predicted", [self.classes[k] for k in probability.argmax(axis=1)])
        return table


def fit_logistic(inputs: Inputs, truth: pd.DataFrame, classes: Sequence[str]) -> LogisticModel:
    """Fit a regression on a training part.

    Parameters
    ----------
    inputs : Inputs
    truth : DataFrame
        ``label`` of the training patients.
    classes : sequence of str
        All classes of the task, in their order.

    Returns
    -------
    LogisticModel
        Never raises for poor data: if nothing can be fitted, it predicts frequencies and has a note.
    """
    from sklearn.linear_model import LogisticRegression

    usable, labels = len(inputs.train.columns), truth.loc[inputs.train.index, "label"]
    fitted = None
    if usable and labels.nunique() >= 2:
        fitted = LogisticRegression(class_weight="balanced", max_iter=1000).fit(inputs.train, labels)
    else:
        inputs.notes["fit"] = (
            f"no fit: {plural(usable, 'usable covariate')}, {plural(labels.nunique(), 'class', 'classes')}; frequencies"
        )
    return LogisticModel(inputs, list(classes), fitted, truth["label"].value_counts(normalize=True))
