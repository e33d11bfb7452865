"""Principal components of expression and of slides' mean features: few enough for regressions on a few hundred patients.

For expression, all measured genes of the subspaces' lists are used, selected or not, scaled by the training part; for slides, the
features' means over a slide's tiles at each magnification, then over a patient's slides, with variance 1 in the training part. If
a model reads both, each has the same total variance. The components are the training patients' (at most 50), each with variance 1
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pathduet.core.errors import InputError
from pathduet.expression.fold_matrix import read_values
from pathduet.features.feature_file import open_features

COMPONENTS = 50


def patient_expression(path: str | PathLike[str]) -> pd.DataFrame:
    """Return a fold's scaled values (patients, genes): each patient's mean over samples, sorted by patient_id."""
    obs, values = read_values(path)
    table = pd.DataFrame(values.astype(np.float64), index=obs["patient_id"].astype(str))
    return table.groupby(level=0).mean().rename_axis("patient_id")


def patient_features(slides: pd.DataFrame, magnifications: Sequence[str]) -> pd.DataFrame:
    """Return mean features, shape (patients, features of all magnifications), by patient_id, sorted.

    Parameters
    ----------
    slides : DataFrame
        ``slide_id``, ``patient_id`` and ``features`` (path), as from :func:`pathduet.features.feature_file.usable_slides`.
    magnifications : sequence of str
        Which magnifications to read.

    Raises
    ------
    InputError
        If a slide's features are not finite, or not as many as the first slide's.
    """
    rows: list[NDArray[np.float64]] = []
    for slide, path in zip(slides["slide_id"], slides["features"], strict=True):
        with open_features(Path(path)) as file:
            row = np.concatenate([file.features(m).mean(axis=0, dtype=np.float64) for m in magnifications])
        if not np.isfinite(row).all() or (rows and len(row) != len(rows[0])):
            found = f"{len(row)} mean features, {int(np.isfinite(row).sum())} finite; of the first slide {len((rows or [row])[0])}"
            raise InputError.of(f"features of slide {slide}", found, "extract them again")
        rows.append(row)
    table = pd.DataFrame(rows, index=slides["patient_id"].astype(str).to_numpy())
    return table.groupby(level=0).mean().rename_axis("patient_id")


@dataclass(frozen=True)
class Components:
    """The components of a training part.

    Attributes
    ----------
    train : DataFrame
        Components of the training patients.
    scales : dict of str to (width,) array
        Factors for each modality's columns.
    fitted : PCA or None
        None where there are fewer than three patients.
    count : int
        Number of components that vary; the others are rounding errors.
    notes : dict of str to str
        How many components were made from how many columns.
    """

    train: pd.DataFrame
    scales: dict[str, NDArray[np.float64]]
    fitted: Any
    count: int
    notes: dict[str, str] = field(default_factory=dict)
    #: Penalty of a Cox or ridge regression, per patient; stronger than for covariates, for 50 columns.
    penalty: float = 0.1

    @classmethod
    def of(cls, read: pd.DataFrame) -> Components:
        """Return the components of the training patients (rows); first-level columns ``expression`` and ``slides``, as from :func:`joined`."""
        from sklearn.decomposition import PCA

        empty = pd.DataFrame(index=read.index)
        parts = {str(modality): read.loc[:, [modality]] for modality in read.columns.unique(level=0)}
        scales = {modality: _scale(part, modality == "slides") for modality, part in parts.items()}
        count, fitted = min(COMPONENTS, len(read) - 1, read.shape[1]), None
        if count > 1:
            fitted = PCA(count, svd_solver="full", whiten=True).fit(cls(empty, scales, None, 0)._scaled(read))
            count = int((fitted.explained_variance_ > 1e-9 * fitted.explained_variance_[0]).sum())
        named = {"expression": "genes", "slides": "features"}
        columns = " and ".join(f"{part.shape[1]} {named[modality]}" for modality, part in parts.items())
        notes = {"components": f"{max(count, 0)} of {columns} in {len(read)} training patients"}
        made = cls(empty, scales, fitted, count, notes)
        return cls(made.standardised(read), scales, fitted, count, notes)

    def _scaled(self, read: pd.DataFrame) -> NDArray[np.float64]:
        return np.concatenate(
            [read[modality].to_numpy() * scale for modality, scale in self.scales.items()], axis=1
        )

    def standardised(self, read: pd.DataFrame) -> pd.DataFrame:
        """Return patients' components, scaled to variance 1 in the training part."""
        if self.fitted is None or read.empty:
            return pd.DataFrame(index=read.index)
        values = self.fitted.transform(self._scaled(read))[:, : self.count]
        return pd.DataFrame(values, read.index, [f"component {i + 1}" for i in range(values.shape[1])])

    def missing(self, read: pd.DataFrame) -> dict[str, str]:
        """Return no notes: every predicted patient has all inputs."""
        return {}


def joined(**read: pd.DataFrame) -> pd.DataFrame:
    """Return the patients that are in all tables: the tables side by side, under the modalities' names."""
    return pd.concat(read, axis=1, join="inner").sort_index()


def _scale(part: pd.DataFrame, each: bool) -> NDArray[np.float64]:
    """Return factors that scale the total variance to 1; with `each`, all varying columns get the same variance."""
    variance = part.to_numpy().var(axis=0)
    varies = variance > 1e-12
    factors = (
        np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 0.0) if each else np.ones(len(variance))
    )
    total = float((variance * factors**2).sum())
    return factors / np.sqrt(total) if total else factors
