"""From tables to networks: tables -> units -> alignment -> selection -> scaling -> the fold's matrix."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pathduet.core.config import default
from pathduet.core.errors import InputError, Problems
from pathduet.expression.alignment import align, common_genes
from pathduet.expression.batch_correction import BatchCorrection, location_scale
from pathduet.expression.gene_order import coexpression_order
from pathduet.expression.gene_scaling import ExternalScaling, mean_and_sd, scale_fold
from pathduet.expression.gene_selection import Flavor, rank, statistic_for, top_share
from pathduet.expression.gene_sets import SHARED, assign_subspaces, gene_lists
from pathduet.expression.samples import check_tables, samples_of_fold
from pathduet.expression.tables import ExpressionTable, read_expression
from pathduet.expression.units import to_log2

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

#: Fewer training samples give no reliable correlation.
_FEWEST_SAMPLES = 3


@dataclass(frozen=True)
class MatrixSettings:
    """What determines a fold's matrix besides its inputs.

    Attributes
    ----------
    shared_genes : str
        What happens to genes in several lists: ``drop``, ``all`` (they compete in each), or the subspace that keeps them.
    flavor : str
        How genes are ranked by their variability.
    fraction : float
        Share of each list that is kept.
    protocol : {"strict", "paper"}
        ``strict``: gene selection, gene order, means and SDs come from the training part of the fold alone; ``paper``:
        from all internal patients.
    batch_correction : {"none", "location_scale"}
        Between internal cohorts, before genes are ranked; see ``pathduet.expression.batch_correction``.
    external_scaling : {"training", "own"}
        Whose means and SDs scale external cohorts; see the same module.
    seed : int
        Used by the flavor ``random`` only.
    """

    shared_genes: str = default("expression.shared_genes")
    flavor: Flavor = default("expression.hvg_flavor")
    fraction: float = default("expression.hvg_fraction")
    protocol: Literal["strict", "paper"] = default("protocol")
    batch_correction: BatchCorrection = default("expression.batch_correction")
    external_scaling: ExternalScaling = default("expression.external_scaling")
    seed: int = default("seed")

    def __post_init__(self) -> None:
        for key, value, known in (
            ("protocol", self.protocol, ("strict", "paper")),
            ("expression.batch_correction", self.batch_correction, ("none", "location_scale")),
            ("expression.external_scaling", self.external_scaling, ("training", "own")),
        ):
            if value not in known:
                raise InputError.of(key, repr(value), f"use {' or '.join(known)}")


def read_tables(expression: Mapping[str, Any]) -> list[ExpressionTable]:
    """Read every table of the configuration's ``expression`` section.

    Raises
    ------
    InputError
        Lists the problems of all tables, not only of the first bad one.
    """
    tables, problems = [], Problems()
    for entry in expression["tables"]:
        of = entry["path"], entry["unit"], entry["cohort"], entry.get("samples")
        with problems.collected(f"cohort {entry['cohort']}"):
            tables.append(read_expression(*of))
    problems.check()
    return tables


def check_matrices(
    tables: Sequence[ExpressionTable],
    patients: pd.DataFrame,
    folds: pd.DataFrame,
    settings: Mapping[str, Any],
) -> None:
    """Refuse tables from which some fold's matrix could not be built, without building one.

    Parameters
    ----------
    settings : mapping
        The configuration's ``expression``, ``subspaces`` and ``protocol``.

    Raises
    ------
    InputError
        As :func:`build` would for some fold; also if no sample of a table belongs to a patient of its cohort.
    """
    check_tables(tables, patients)
    problems, expression = Problems(), settings["expression"]
    for table in tables:
        known = set(patients.index[patients["cohort"] == table.cohort])
        samples = list(table.samples["patient_id"])
        if not known & set(samples):
            found = f"no sample is of a patient of the cohort (samples of {', '.join(samples[:3])}, ...)"
            advice = "use the same patient ids, or give a sample sheet (expression.tables: samples)"
            problems.add(f"expression of {table.cohort}", found, advice)
    with problems.collected():
        common = common_genes({table.cohort: table.values for table in tables})
        listed = gene_lists(settings["subspaces"])
        subspace = assign_subspaces(common, listed, expression["shared_genes"])
        for name, own in listed.items():
            with problems.collected():
                _candidates(subspace, name, own)
    units = {table.cohort: table.unit for table in tables}
    for fold in sorted(set(folds["fold"])):
        with problems.collected():
            obs, _ = samples_of_fold(tables, patients, folds, fold)
            fitted = _fitted(obs, fold, settings["protocol"])
            statistic_for(expression["hvg_flavor"], [units[c] for c in set(obs.loc[fitted, "cohort"])])
    Problems(dict.fromkeys(problems)).check()


def prepare_fold(
    settings: Mapping[str, Any], patients: pd.DataFrame, folds: pd.DataFrame, fold: int
) -> AnnData:
    """Build the matrix of one fold from the configuration's ``expression``, ``subspaces``, ``protocol`` and ``seed``."""
    expression = settings["expression"]
    chosen = MatrixSettings(
        shared_genes=expression["shared_genes"],
        flavor=expression["hvg_flavor"],
        fraction=expression["hvg_fraction"],
        protocol=settings["protocol"],
        batch_correction=expression["batch_correction"],
        external_scaling=expression["external_scaling"],
        seed=settings["seed"],
    )
    return build(read_tables(expression), patients, folds, fold, gene_lists(settings["subspaces"]), chosen)


def build(
    tables: Sequence[ExpressionTable],
    patients: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int,
    listed: Mapping[str, Sequence[str]],
    settings: MatrixSettings,
) -> AnnData:
    """Build the expression matrix of one fold.

    Nothing is fitted on external cohorts: their measured genes only limit which genes are common to all
    (and, with ``external_scaling="own"``, their own scaling).

    Parameters
    ----------
    tables : sequence of ExpressionTable
        One per cohort, in any order.
    patients : pandas.DataFrame
        Index patient_id, column `cohort`. Samples of patients that it does not list are left out and counted.
    folds : pandas.DataFrame
        Columns patient_id, cohort, fold; cohorts without a row are external.
    fold : int
        Fold of the matrix; its test part is the patients with this number.
    listed : mapping
        Subspace -> its genes; the order is that of the networks.
    settings : MatrixSettings

    Returns
    -------
    anndata.AnnData
        Samples x (genes of any list that all cohorts have). `X`: scaled, float32; ``layers["log2"]``:
        before scaling; `obs`: patient_id, slide_id, cohort, part; `var`: subspace, highly_variable,
        dispersion_norm, token_order (-1 = not selected; for a gene of several subspaces, its place in the first
        that selected it), for each subspace ``token_order_<subspace>``, mean, sd; ``uns["pathduet"]``: JSON text with
        settings, counts by subspace (in their order) and warnings.

    Raises
    ------
    InputError
        If the tables cannot be combined, a subspace has no gene, or the training part has too few samples.
    """
    import anndata

    check_tables(tables, patients)
    tables = sorted(tables, key=lambda table: table.cohort)
    warnings = [f"{table.cohort}: {warning}" for table in tables for warning in table.warnings]
    values, lost, remarks = _common_genes(tables)
    warnings += remarks
    obs, unknown = samples_of_fold(tables, patients, folds, fold)
    values = values.loc[list(zip(obs["cohort"], obs.index))].set_index(obs.index)
    fitted = _fitted(obs, fold, settings.protocol)

    units = {table.cohort: table.unit for table in tables}
    statistic, remark = statistic_for(settings.flavor, [units[c] for c in set(obs.loc[fitted, "cohort"])])
    warnings += [remark] if remark else []
    if settings.batch_correction == "location_scale":
        values, remarks = location_scale(values, obs["cohort"], fitted)
        warnings += remarks
    counts = _raw_counts(tables, obs[fitted], list(values.columns)) if statistic == "seurat_v3" else None
    dispersion = rank(values[fitted], statistic, counts=counts, seed=(settings.seed, fold))
    var, sizes, remarks = _token_order(values[fitted], dispersion, listed, settings)
    warnings += remarks

    log2 = values[list(var.index)].to_numpy(dtype=np.float64)
    var["mean"], var["sd"] = mean_and_sd(log2[fitted])
    scaled, remarks = scale_fold(
        log2, obs, var["mean"].to_numpy(), var["sd"].to_numpy(), settings.external_scaling
    )
    warnings += remarks
    adata = anndata.AnnData(
        X=scaled.astype(np.float32),
        obs=obs.astype(object),
        var=var.rename_axis("gene_symbol"),
        layers={"log2": log2.astype(np.float32)},
    )
    record = asdict(settings) | {
        "fold": int(fold),
        "statistic": statistic,
        "units": units,
        "fitted_samples": int(fitted.sum()),
        "parts": {part: int((obs["part"] == part).sum()) for part in ("train", "test", "external")},
        "genes_aligned": values.shape[1],
        "genes_lost_in_alignment": lost,
        "samples_without_patient_or_fold": unknown,
        "constant_genes": int((var["sd"] == 0).sum()),
        "subspaces": sizes,
        "tables": {table.cohort: table.counts for table in tables},
        "warnings": warnings,
    }
    adata.uns["pathduet"] = json.dumps(record, allow_nan=False)
    return adata


def _common_genes(tables: Sequence[ExpressionTable]) -> tuple[pd.DataFrame, dict[str, int], list[str]]:
    """Return log2 values ((cohort, sample), genes of all tables), genes left out per cohort, and remarks."""
    import pandas as pd

    log2, remarks = {}, []
    for table in tables:
        log2[table.cohort], more = to_log2(table)
        remarks += more
    aligned, lost = align(log2)
    return pd.concat({cohort: frame.T for cohort, frame in aligned.items()}), lost, remarks


def _fitted(obs: pd.DataFrame, fold: int, protocol: str) -> np.ndarray:
    """Mark the samples that selection and scaling may use."""
    fitted: np.ndarray = (
        obs["part"] == "train" if protocol == "strict" else obs["part"] != "external"
    ).to_numpy()
    if fitted.sum() < _FEWEST_SAMPLES:
        found = f"{fitted.sum()} samples to select and scale genes by"
        advice = f"needs {_FEWEST_SAMPLES}: check patient ids in the expression tables against patients.tsv"
        raise InputError.of(f"expression, fold {fold}", found, advice)
    return fitted


def _token_order(
    training: pd.DataFrame,
    dispersion: pd.Series,
    listed: Mapping[str, Sequence[str]],
    settings: MatrixSettings,
) -> tuple[pd.DataFrame, dict[str, dict[str, int]], list[str]]:
    """Select each subspace's most variable genes and put them in order.

    Returns
    -------
    tuple of (DataFrame, dict, list of str)
        `var` without mean and sd; each subspace's counts; remarks.
    """
    import pandas as pd

    subspace = assign_subspaces(training.columns, listed, settings.shared_genes)
    genes = list(subspace.index[subspace != ""])
    var = pd.DataFrame(
        {
            "subspace": subspace[genes],
            "highly_variable": False,
            "dispersion_norm": dispersion[genes],
            "token_order": -1,
        }
    )
    sizes: dict[str, dict[str, int]] = {}
    remarks = []
    for name, own in listed.items():
        candidates = _candidates(subspace, name, own)
        total, measured = len(set(own)), len(set(own) & set(training.columns))
        order = coexpression_order(training[top_share(dispersion, candidates, settings.fraction)])
        place = {gene: position for position, gene in enumerate(order)}
        var[f"token_order_{name}"] = [place.get(gene, -1) for gene in var.index]
        var["token_order"] = var["token_order"].where(var["token_order"] >= 0, var[f"token_order_{name}"])
        sizes[name] = {
            "listed": total, "absent": total - measured, "candidates": len(candidates), "selected": len(order),
        }  # fmt: skip
        if measured < total / 2:
            remarks.append(f"only {measured} of {total} listed {name} genes are in all cohorts")
    var["highly_variable"] = var["token_order"] >= 0
    return var, sizes, remarks


def _candidates(subspace: pd.Series, name: str, own: Sequence[str]) -> list[str]:
    """Return the genes of a subspace that all tables have; InputError if there is none."""
    several = (subspace == SHARED) & subspace.index.isin(own)
    candidates = list(subspace.index[(subspace == name) | several])
    if not candidates:
        measured = len(set(own) & set(subspace.index))
        found = f"none of the {len(set(own))} {name} genes is in all expression tables"
        advice = f"check the gene names: the tables have {', '.join(subspace.index[:3])}, ..."
        if measured:
            found = f"all {measured} measured {name} genes are also in other subspaces' lists"
            advice = "set expression.shared_genes"
        raise InputError.of(f"genes, {name}", found, advice)
    return candidates


def _raw_counts(tables: Sequence[ExpressionTable], obs: pd.DataFrame, genes: list[str]) -> pd.DataFrame:
    import pandas as pd

    wanted = {table.cohort: list(obs.index[obs["cohort"] == table.cohort]) for table in tables}
    return pd.concat([t.values.loc[genes, wanted[t.cohort]].T for t in tables if wanted[t.cohort]])
