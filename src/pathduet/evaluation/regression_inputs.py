"""The inputs of a regression: covariates or principal components, with one interface."""

from __future__ import annotations

from typing import Protocol

import pandas as pd


class Inputs(Protocol):
    """Standardised columns of a training part, and the same columns for other patients.

    Attributes
    ----------
    train : DataFrame
        Training patients that can be used, in columns with mean 0.
    notes : dict of str to str
        What was left out and why; a fit adds to them.
    penalty : float
        Ridge penalty per patient, as defined by lifelines.
    """

    @property
    def train(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def notes(self) -> dict[str, str]: ...  # noqa: D102
    @property
    def penalty(self) -> float: ...  # noqa: D102

    def standardised(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the columns of `train` for other patients, without missing values."""

    def missing(self, rows: pd.DataFrame) -> dict[str, str]:
        """Return notes on other patients' missing values."""
