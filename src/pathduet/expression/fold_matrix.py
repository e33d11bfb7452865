"""The expression matrix of one fold: reading and writing its file (``genes/fold-K.h5ad``).

Reading uses h5py alone: every training job reads it, and importing anndata takes a second.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from pathduet.core.checksums import checked
from pathduet.core.errors import InputError
from pathduet.core.files import atomic_path

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class FoldExpression:
    """Expression of one fold as the networks read it.

    Attributes
    ----------
    samples, patients, slides, cohorts, parts : list of str, length S
        Id, patient, slide ("" if the sample represents the patient), cohort of each sample, and
        ``train`` | ``test`` | ``external``.
    values : dict of str to numpy.ndarray of float32, shape (S, G)
        Scaled expression of each subspace's selected genes in token order; subspaces in the configuration's order.
    genes : dict of str to list of str
        The genes of the columns.
    settings : dict
        How the matrix was built (see :func:`pathduet.expression.prepare.build`).
    """

    samples: list[str]
    patients: list[str]
    slides: list[str]
    cohorts: list[str]
    parts: list[str]
    values: dict[str, np.ndarray]
    genes: dict[str, list[str]]
    settings: dict[str, Any] = field(repr=False)

    @property
    def subspaces(self) -> tuple[str, ...]:
        """Names of the subspaces, in order."""
        return tuple(self.genes)

    def row_for(self, patient_id: str, slide_id: str) -> dict[str, np.ndarray] | None:
        """Return the expression (G,) of each subspace for a slide, or None if its patient has none.

        The mean of the slide's own samples if it has any, else of all samples of the patient.
        """
        own = [i for i, patient in enumerate(self.patients) if patient == patient_id]
        rows = [i for i in own if slide_id and self.slides[i] == slide_id] or own
        if not rows:
            return None
        return {name: values[rows].mean(axis=0) for name, values in self.values.items()}


def write(path: str | PathLike[str], adata: AnnData) -> None:
    """Write a fold's matrix atomically; the same matrix gives the same bytes."""
    import anndata

    with atomic_path(path) as temporary, anndata.settings.override(allow_write_nullable_strings=True):
        adata.write_h5ad(temporary)


def load(path: str | PathLike[str]) -> FoldExpression:
    """Read a fold's matrix as :func:`write` wrote it.

    Raises
    ------
    InputError
        If the file is absent or was not written by PathDuet.
    """
    with _opened(path) as file:
        settings = json.loads(file["uns/pathduet"].asstr()[()])
        return _selected(_frame(file["obs"]), _frame(file["var"]), file["X"][()], settings)


def read_genes(path: str | PathLike[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the gene table (`var`, by symbol) of a fold's matrix, and the settings it was built with."""
    with _opened(path) as file:
        return _frame(file["var"]), json.loads(file["uns/pathduet"].asstr()[()])


def read_values(path: str | PathLike[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the sample table (`obs`) of a fold's matrix, and the scaled values of all genes, shape (S, G)."""
    with _opened(path) as file:
        return _frame(file["obs"]), file["X"][()]


def selected(adata: AnnData) -> FoldExpression:
    """Return the selected genes of a matrix that has not been written, in token order."""
    return _selected(adata.obs, adata.var, np.asarray(adata.X), json.loads(str(adata.uns["pathduet"])))


def token_columns(var: pd.DataFrame, subspace: str) -> np.ndarray:
    """Return the positions of a subspace's selected genes among all genes, in token order."""
    place = var[f"token_order_{subspace}"].to_numpy()
    columns = np.flatnonzero(place >= 0)
    ordered: np.ndarray = columns[np.argsort(place[columns], kind="stable")]
    return ordered


def _selected(
    obs: pd.DataFrame, var: pd.DataFrame, values: np.ndarray, settings: dict[str, Any]
) -> FoldExpression:
    columns = {name: token_columns(var, name) for name in settings["subspaces"]}
    return FoldExpression(
        samples=[str(sample) for sample in obs.index],
        patients=obs["patient_id"].astype(str).tolist(),
        slides=obs["slide_id"].astype(str).tolist(),
        cohorts=obs["cohort"].astype(str).tolist(),
        parts=obs["part"].astype(str).tolist(),
        values={n: np.ascontiguousarray(values[:, c], dtype=np.float32) for n, c in columns.items()},
        genes={name: [str(gene) for gene in var.index[c]] for name, c in columns.items()},
        settings=settings,
    )


@contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[h5py.File]:
    import h5py

    path = checked(path)
    if not path.is_file():
        raise InputError.of(path.name, "no such file", "make the fold's expression matrix first")
    try:
        opened = h5py.File(path)
    except OSError as error:
        raise InputError.of(str(path), f"cannot be read ({error})", "make it again") from None
    with opened as file:
        if "uns/pathduet" not in file:
            advice = "give a file that PathDuet wrote (genes/fold-K.h5ad)"
            raise InputError.of(path.name, "no expression matrix of a fold", advice)
        yield file


def _frame(group: h5py.Group) -> pd.DataFrame:
    """Read a data frame as anndata writes it."""
    import pandas as pd

    index = pd.Index(_column(group[group.attrs["_index"]]), name=group.attrs["_index"], dtype=object)
    return pd.DataFrame({name: _column(group[name]) for name in group.attrs["column-order"]}, index=index)


def _column(stored: h5py.Dataset | h5py.Group) -> np.ndarray:
    import h5py

    if isinstance(stored, h5py.Group):
        if "categories" in stored:
            return _column(stored["categories"])[stored["codes"][()]]
        return _column(stored["values"])  # nullable strings; ours have no missing values
    values: np.ndarray = (stored.asstr() if h5py.check_string_dtype(stored.dtype) else stored)[()]
    return values
