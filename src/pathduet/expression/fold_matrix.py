"""The expression matrix of one fold: aligned, selected, ordered and scaled by its training part alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pathduet.core.errors import InputError, Problem
from pathduet.core.files import atomic_path
from pathduet.expression.alignment import align
from pathduet.expression.batch_correction import (
    BatchCorrection,
    ExternalScaling,
    location_scale,
    mean_and_sd,
    standardise,
)
from pathduet.expression.gene_order import coexpression_order
from pathduet.expression.gene_selection import Flavor, rank, statistic_for, top_share
from pathduet.expression.gene_sets import Both, assign_subspaces
from pathduet.expression.tables import ExpressionTable
from pathduet.expression.units import to_log2

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

#: Fewer training samples than this have no correlation worth the name.
_FEWEST_SAMPLES = 3
SUBSPACES: tuple[Literal["tumor", "tme"], ...] = ("tumor", "tme")


@dataclass(frozen=True)
class FoldExpression:
    """Expression of one fold as the networks take it.

    Attributes
    ----------
    samples, patients, slides, cohorts, parts : list of str, length S
        Of each sample: id, patient, slide ("" if it stands for the patient), cohort, and
        ``train`` | ``test`` | ``external``.
    tumor : numpy.ndarray of float32, shape (S, G_T)
        Scaled expression of the selected tumor genes in token order.
    tme : numpy.ndarray of float32, shape (S, G_E)
        Likewise, microenvironment.
    tumor_genes, tme_genes : list of str
        The genes of the columns.
    settings : dict
        How the matrix was made (see :func:`build`).
    """

    samples: list[str]
    patients: list[str]
    slides: list[str]
    cohorts: list[str]
    parts: list[str]
    tumor: np.ndarray
    tme: np.ndarray
    tumor_genes: list[str]
    tme_genes: list[str]
    settings: dict[str, Any] = field(repr=False)

    def row_for(self, patient_id: str, slide_id: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return (tumor (G_T,), tme (G_E,)) for a slide, or None if its patient has no expression.

        The mean of the slide's own samples if there are any, else of all samples of the patient.
        """
        own = [i for i, patient in enumerate(self.patients) if patient == patient_id]
        rows = [i for i in own if slide_id and self.slides[i] == slide_id] or own
        if not rows:
            return None
        return self.tumor[rows].mean(axis=0), self.tme[rows].mean(axis=0)


def build(
    tables: Sequence[ExpressionTable],
    patients: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int,
    *,
    tumor: Sequence[str],
    tme: Sequence[str],
    both: Both = "drop",
    flavor: Flavor = "seurat",
    fraction: float = 0.30,
    protocol: Literal["strict", "paper"] = "strict",
    batch_correction: BatchCorrection = "none",
    external_scaling: ExternalScaling = "training",
    seed: int = 42,
) -> AnnData:
    """Make the expression matrix of one fold.

    Gene selection, gene order, means and SDs come from the training part of the fold alone (``strict``), or
    from the training and the test part (``paper``: all internal patients). External cohorts never
    take part in either: they only decide, by what they measured, which genes are common to all (and, with
    ``external_scaling="own"``, their own scaling).

    Parameters
    ----------
    tables : sequence of ExpressionTable
        One a cohort, in any order.
    patients : pandas.DataFrame
        Index patient_id, column `cohort`. Samples of patients that it does not list are left out and counted.
    folds : pandas.DataFrame
        Columns patient_id, cohort, fold; cohorts without a row are external.
    fold : int
        Whose matrix to make; its test part are the patients with this number.
    tumor, tme : sequence of str
        The subspaces' gene lists.
    both : {"tumor", "tme", "shared", "drop"}
        What becomes of genes in both lists; ``shared`` genes compete in both.
    flavor, fraction : str, float
        Ranking of highly variable genes, and the share of each list that is kept.
    protocol : {"strict", "paper"}
        See above.
    batch_correction : {"none", "location_scale"}
        Between internal cohorts, before genes are ranked; see ``pathduet.expression.batch_correction``.
    external_scaling : {"training", "own"}
        Whose means and SDs scale external cohorts; see there.
    seed : int
        Used by the flavor ``random`` only.

    Returns
    -------
    anndata.AnnData
        Samples x (genes of either list that all cohorts have). `X`: scaled, float32; ``layers["log2"]``:
        before scaling; `obs`: patient_id, slide_id, cohort, part; `var`: subspace, highly_variable,
        dispersion_norm, token_order (-1 = not selected; of a shared gene, its place among the tumor genes if it
        is selected there), token_order_tumor, token_order_tme, mean, sd; ``uns["pathduet"]``: JSON text
        with settings, counts and warnings.

    Raises
    ------
    InputError
        If the tables cannot be combined, a subspace has no gene, or the training part has too few samples.
    """
    import anndata
    import pandas as pd

    for key, value, known in (
        ("protocol", protocol, ("strict", "paper")),
        ("expression.batch_correction", batch_correction, ("none", "location_scale")),
        ("expression.external_scaling", external_scaling, ("training", "own")),
    ):
        if value not in known:
            raise InputError([Problem(key, repr(value), f"use {' or '.join(known)}")])
    _check_tables(tables, patients)
    tables = sorted(tables, key=lambda table: table.cohort)
    warnings = [f"{table.cohort}: {warning}" for table in tables for warning in table.warnings]
    log2 = {}
    for table in tables:
        log2[table.cohort], remarks = to_log2(table)
        warnings += remarks
    aligned, lost = align(log2)
    obs, unknown = _samples(tables, patients, folds, fold)
    values = pd.concat([aligned[table.cohort].T for table in tables])
    values.index = pd.Index([f"{t.cohort}/{s}" for t in tables for s in t.values.columns])
    values = values.loc[obs["key"]].set_index(obs.index)

    fitted = (obs["part"] == "train" if protocol == "strict" else obs["part"] != "external").to_numpy()
    if fitted.sum() < _FEWEST_SAMPLES:
        found = f"{fitted.sum()} samples to select and scale genes by"
        advice = f"needs {_FEWEST_SAMPLES}: check patient ids in the expression tables against patients.tsv"
        raise InputError([Problem(f"expression, fold {fold}", found, advice)])
    fitted_cohorts = set(obs.loc[fitted, "cohort"])
    units = {table.cohort: table.unit for table in tables}
    statistic, remark = statistic_for(flavor, [units[cohort] for cohort in fitted_cohorts])
    warnings += [remark] if remark else []
    if batch_correction == "location_scale":
        values, remarks = location_scale(values, obs["cohort"], fitted)
        warnings += remarks
    training = values[fitted]
    counts = _raw_counts(tables, obs[fitted], list(values.columns)) if statistic == "seurat_v3" else None
    dispersion = rank(training, statistic, counts=counts, seed=(seed, fold))

    subspace = assign_subspaces(values.columns, tumor, tme, both)
    genes = list(subspace.index[subspace != ""])
    var = pd.DataFrame({"subspace": subspace[genes], "dispersion_norm": dispersion[genes]})
    sizes: dict[str, dict[str, int]] = {}
    for name, listed in (("tumor", tumor), ("tme", tme)):
        candidates = list(var.index[var["subspace"].isin([name, "shared"])])
        if not candidates:
            found = f"none of the {len(listed)} {name} genes is in all expression tables"
            raise InputError([Problem(f"genes, {name}", found, "check the gene names and genesets.both")])
        order = coexpression_order(training[top_share(dispersion, candidates, fraction)])
        place = {gene: position for position, gene in enumerate(order)}
        var[f"token_order_{name}"] = [place.get(gene, -1) for gene in var.index]
        measured = len(set(listed) & set(values.columns))
        sizes[name] = {
            "listed": len(set(listed)), "absent": len(set(listed)) - measured,
            "candidates": len(candidates), "selected": len(order),
        }  # fmt: skip
        if measured < len(set(listed)) / 2:
            warnings.append(f"only {measured} of {len(set(listed))} listed {name} genes are in all cohorts")
    var["token_order"] = var["token_order_tumor"].where(var["token_order_tumor"] >= 0, var["token_order_tme"])
    var["highly_variable"] = var["token_order"] >= 0

    log2_values = values[genes].to_numpy(dtype=np.float64)
    var["mean"], var["sd"] = mean_and_sd(log2_values[fitted])
    constant = var["sd"].to_numpy() == 0
    if constant.any():
        warnings.append(
            f"{constant.sum()} genes do not vary in the training samples: scaled values are 0 there"
        )
    scaled = standardise(log2_values, var["mean"].to_numpy(), var["sd"].to_numpy())
    if external_scaling == "own":
        for cohort in sorted(set(obs.loc[obs["part"] == "external", "cohort"])):
            own = (obs["cohort"] == cohort).to_numpy()
            scaled[own] = standardise(log2_values[own], *mean_and_sd(log2_values[own]))
            warnings.append(f"{cohort}: scaled by its own samples' means and SDs, not by the training part's")
    columns = [
        "subspace", "highly_variable", "dispersion_norm", "token_order", "token_order_tumor", "token_order_tme",
        "mean", "sd",
    ]  # fmt: skip
    adata = anndata.AnnData(
        X=scaled.astype(np.float32),
        obs=obs[["patient_id", "slide_id", "cohort", "part"]].astype(object),
        var=var[columns].rename_axis("gene_symbol"),
        layers={"log2": log2_values.astype(np.float32)},
    )
    settings = {
        "fold": int(fold),
        "protocol": protocol,
        "flavor": flavor,
        "statistic": statistic,
        "fraction": fraction,
        "both": both,
        "batch_correction": batch_correction,
        "external_scaling": external_scaling,
        "seed": int(seed),
        "units": units,
        "fitted_samples": int(fitted.sum()),
        "parts": {part: int((obs["part"] == part).sum()) for part in ("train", "test", "external")},
        "genes_aligned": values.shape[1],
        "genes_lost_in_alignment": lost,
        "samples_without_patient_or_fold": unknown,
        "constant_genes": int(constant.sum()),
        "subspaces": sizes,
        "tables": {table.cohort: table.counts for table in tables},
        "warnings": warnings,
    }
    adata.uns["pathduet"] = json.dumps(settings, sort_keys=True, allow_nan=False)
    return adata


def _check_tables(tables: Sequence[ExpressionTable], patients: pd.DataFrame) -> None:
    problems = []
    cohorts = [table.cohort for table in tables]
    if not tables:
        problems.append(Problem("expression.tables", "none", "give one table a cohort"))
    for cohort in sorted({cohort for cohort in cohorts if cohorts.count(cohort) > 1}):
        problems.append(Problem("expression.tables", f"cohort {cohort} twice", "give one table a cohort"))
    scored = sorted({table.cohort for table in tables if table.unit == "zscore"})
    if scored and len(scored) < len(set(cohorts)):
        others = ", ".join(sorted(set(cohorts) - set(scored)))
        problems.append(
            Problem(
                "expression.tables",
                f"{', '.join(scored)} z-scored, {others} not",
                "z-scores share no scale with the others: hand in all z-scored, or none",
            )
        )
    cohort_of = patients["cohort"].to_dict()
    for table in tables:
        for sample, patient in table.samples["patient_id"].items():
            if patient in cohort_of and cohort_of[patient] != table.cohort:
                where = f"expression of {table.cohort}, sample {sample}"
                found = f"patient {patient} is of cohort {cohort_of[patient]}"
                problems.append(Problem(where, found, "correct the sample sheet or patients.tsv"))
    if problems:
        raise InputError(problems)


def _samples(
    tables: Sequence[ExpressionTable], patients: pd.DataFrame, folds: pd.DataFrame, fold: int
) -> tuple[pd.DataFrame, int]:
    """Return one row a usable sample, sorted by cohort and sample id, and how many are not usable."""
    import pandas as pd

    if fold not in set(folds["fold"]):
        found = f"{fold}; there are {sorted(set(folds['fold']))}"
        raise InputError([Problem("fold", found, "give a fold of folds.tsv")])
    tested = dict(zip(folds["patient_id"], folds["fold"]))
    internal = set(folds["cohort"])
    rows, unknown = [], 0
    for table in tables:
        for sample, patient, slide in table.samples.sort_index().itertuples():
            part = "external" if table.cohort not in internal else "train"
            if part == "train" and tested.get(patient) == fold:
                part = "test"
            if patient not in patients.index or (part == "train" and patient not in tested):
                unknown += 1
                continue
            rows.append((sample, patient, slide, table.cohort, part, f"{table.cohort}/{sample}"))
    names = ["sample", "patient_id", "slide_id", "cohort", "part", "key"]
    obs = pd.DataFrame(rows, columns=names).set_index("sample").rename_axis("sample_id")
    twice = obs.index[obs.index.duplicated()].unique()
    if len(twice):
        problems = [
            Problem(f"sample {sample}", "is in the tables of two cohorts", "rename one") for sample in twice
        ]
        raise InputError(problems)
    return obs, unknown


def _raw_counts(tables: Sequence[ExpressionTable], obs: pd.DataFrame, genes: list[str]) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for table in tables:
        wanted = list(obs.index[obs["cohort"] == table.cohort])
        if wanted:
            parts.append(table.values.loc[genes, wanted].T)
    return pd.concat(parts)


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
    import anndata

    path = Path(path)
    if not path.is_file():
        raise InputError([Problem(path.name, "no such file", "make the fold's expression matrix first")])
    adata = anndata.read_h5ad(path)
    if "pathduet" not in adata.uns:
        advice = "give a file that PathDuet wrote (genes/fold-K.h5ad)"
        raise InputError([Problem(path.name, "no expression matrix of a fold", advice)])
    return selected(adata)


def selected(adata: AnnData) -> FoldExpression:
    """Return the selected genes of a matrix from :func:`build`, in token order."""
    matrices, genes = {}, {}
    for name in SUBSPACES:
        place = adata.var[f"token_order_{name}"].to_numpy()
        columns = np.flatnonzero(place >= 0)
        columns = columns[np.argsort(place[columns], kind="stable")]
        matrices[name] = np.ascontiguousarray(np.asarray(adata.X)[:, columns], dtype=np.float32)
        genes[name] = [str(gene) for gene in adata.var_names[columns]]
    lists = {column: adata.obs[column].astype(str).tolist() for column in adata.obs}
    return FoldExpression(
        samples=[str(sample) for sample in adata.obs_names],
        patients=lists["patient_id"],
        slides=lists["slide_id"],
        cohorts=lists["cohort"],
        parts=lists["part"],
        tumor=matrices["tumor"],
        tme=matrices["tme"],
        tumor_genes=genes["tumor"],
        tme_genes=genes["tme"],
        settings=json.loads(str(adata.uns["pathduet"])),
    )
