"""Correlation of genes with predicted malignancy: Pearson r of a score with the expression of test patients.

The score is the task's (:mod:`pathduet.explain.malignancy_score`). Each fold has its own network, and scores of different
networks have no common scale, so r is computed within each fold's test patients; Fisher's z = atanh(r) of the folds is averaged
with weights n - 3, the inverse of its variance, which also gives the p value (two-sided, normal). Correlating all patients
together would count differences between networks as differences between patients.

q values are Benjamini and Hochberg's, over all genes of all subspaces within a model. A teacher reads the
expression, so its correlations show what it uses; those of a student, which reads slides only, show what slides
contain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathduet.catalogue import named
from pathduet.core.checksums import checked
from pathduet.core.files import write_tsv
from pathduet.core.plural import plural
from pathduet.explain.files import TABLES
from pathduet.explain.fold_results import FoldResult, TaskRun
from pathduet.explain.malignancy_score import MalignancyScore, score_of

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

#: atanh(r) of fewer patients has no variance.
FEWEST_PATIENTS = 4
_LEVEL = 0.05

Floats = NDArray[np.float64]


def pearson(score: Floats, genes: Floats) -> Floats:
    """Return r (G,) of a score (n,) with each column of (n, G); NaN where either is constant."""
    centred_score, centred = score - score.mean(), genes - genes.mean(axis=0)
    size = np.sqrt((centred_score**2).sum() * (centred**2).sum(axis=0))
    tiny = 1e-12 * max(1.0, float(np.abs(genes).max(initial=0.0)))
    defined = size > tiny
    r = np.full(genes.shape[1], np.nan)
    return np.clip(np.divide(centred_score @ centred, size, out=r, where=defined), -1, 1)


def combine_folds(r: Floats, n: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """Return r and its two-sided p value of each gene over folds, by Fisher's z.

    Parameters
    ----------
    r : (F, G) array
        NaN where undefined: the gene then has weight 0 in that fold.
    n : (F,) array
        Patients of each fold; folds with three or fewer have weight 0.
    """
    from scipy.stats import norm

    usable = np.isfinite(r) & (n[:, None] >= FEWEST_PATIENTS)
    weight = np.where(usable, n[:, None] - 3, 0)
    # atanh(1) is infinite; correlations this close to one are rounded to it
    z = np.arctanh(np.clip(np.where(usable, r, 0), -1 + 1e-12, 1 - 1e-12))
    total = weight.sum(axis=0)
    mean = np.divide((weight * z).sum(axis=0), total, out=np.full(r.shape[1], np.nan), where=total > 0)
    p = 2 * norm.sf(np.abs(mean) * np.sqrt(total))
    return np.tanh(mean), np.where(np.isfinite(mean), p, np.nan)


def false_discovery(p: Floats) -> Floats:
    """Return Benjamini and Hochberg's q values; NaN p values stay NaN and are not counted."""
    from scipy.stats import false_discovery_control

    q = np.full(len(p), np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = false_discovery_control(p[known], method="bh")
    return q


def expression_of_test_part(adata: AnnData) -> pd.DataFrame:
    """Return the scaled expression of a fold's test patients, patients x genes of all subspaces.

    Values are means over a patient's samples.
    """
    import pandas as pd

    test = (adata.obs["part"].astype(str) == "test").to_numpy()
    values = pd.DataFrame(np.asarray(adata.X[test], dtype=float), columns=adata.var_names.astype(str))
    return values.groupby(adata.obs.loc[test, "patient_id"].astype(str).to_numpy()).mean()


_COLUMNS = (
    "model", "score", "rank", "gene", "subspace", "selected", "r", "p", "q", "n_patients", "pointed_out",
)  # fmt: skip


def correlation_table(
    score: MalignancyScore,
    results_of: Mapping[str, Sequence[FoldResult]],
    expression: Mapping[int, AnnData],
    *,
    pointed_out: Sequence[str] = (),
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return every gene's correlation with each model's score.

    Parameters
    ----------
    score : MalignancyScore
    results_of : mapping
        Model to its folds, all of one task.
    expression : mapping
        Fold to its matrix (``genes/fold-K.h5ad``).
    pointed_out : sequence of str
        Genes to mark.

    Returns
    -------
    table : DataFrame
        One row per model and gene, models in order, genes from highest to lowest r: model, score, rank (1 = highest
        r among the subspace's genes), gene, subspace, selected (in how many folds the model's kind reads it), r, p,
        q, r_fold_<k>, n_patients, pointed_out.
    reasons : dict
        Model to its unusable inputs.
    """
    import pandas as pd

    shared = [set(map(str, adata.var_names)) for adata in expression.values()]
    genes = sorted(set.intersection(*shared)) if shared else []
    tables, reasons = [], {}
    for model, folds in results_of.items():
        used: dict[int, tuple[Floats, int]] = {}
        notes: list[str] = []
        for result in folds:
            if result.fold not in expression:
                notes.append(f"fold {result.fold}: no expression matrix")
                continue
            try:
                used[result.fold] = fold_correlation(score, result, expression[result.fold], genes)
            except ValueError as error:
                notes.append(f"fold {result.fold}: {error}")
        if used:
            table = _model_table(used, expression, genes)
            first = {"model": model, "score": score.name}
            tables.append(table.assign(**first, pointed_out=table["gene"].isin(set(pointed_out))))
        else:
            notes.append("no fold could be used")
        reasons[model] = notes
    whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(_COLUMNS))
    by_fold = [name for name in whole if name not in _COLUMNS]
    return whole[[*_COLUMNS[:-2], *by_fold, *_COLUMNS[-2:]]], reasons


def fold_correlation(
    score: MalignancyScore, result: FoldResult, adata: AnnData, genes: Sequence[str]
) -> tuple[Floats, int]:
    """Return r (G,) of one fold's score with each of `genes`, and the number of test patients.

    Raises
    ------
    ValueError
        If too few test patients have both prediction and expression.
    """
    values = expression_of_test_part(adata)
    rows = result.patients[result.patients["patient_id"].isin(values.index)]
    scores = score.of(rows)
    known = np.isfinite(scores)
    if (n := int(known.sum())) < FEWEST_PATIENTS:
        found = f"{plural(n, 'test patient')} with prediction and expression"
        raise ValueError(f"{found}; a correlation needs {FEWEST_PATIENTS}")
    matrix = values.loc[rows["patient_id"], list(genes)].to_numpy()
    return pearson(scores[known], matrix[known]), n


def _model_table(
    used: Mapping[int, tuple[Floats, int]], expression: Mapping[int, AnnData], genes: Sequence[str]
) -> pd.DataFrame:
    """Return the genes' correlations over a model's folds."""
    import pandas as pd

    r, p = combine_folds(np.stack([row for row, _ in used.values()]), np.array([n for _, n in used.values()]))
    genes = list(genes)
    selected = sum(expression[fold].var.loc[genes, "highly_variable"].astype(int) for fold in used)
    table = pd.DataFrame(
        {
            "gene": genes,
            "subspace": expression[next(iter(used))].var.loc[genes, "subspace"].astype(str).to_numpy(),
            "selected": np.asarray(selected), "r": r, "p": p, "q": false_discovery(p),
            **{f"r_fold_{fold}": row for fold, (row, _) in used.items()},
            "n_patients": sum(n for _, n in used.values()),
        }
    )  # fmt: skip
    table = table.sort_values(["r", "gene"], ascending=[False, True], na_position="last", kind="stable")
    return table.assign(rank=table.groupby("subspace").cumcount() + 1)


def correlation_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return, by model and subspace: genes, median and largest absolute r, genes with q < 0.05, and the top gene."""
    import pandas as pd

    rows = []
    for (model, subspace), part in table.groupby(["model", "subspace"], sort=False):
        size = part["r"].abs()
        best = part["gene"].iloc[int(np.nanargmax(size))] if size.notna().any() else ""
        rows.append(
            {
                "model": model, "score": part["score"].iloc[0], "subspace": subspace, "genes": len(part),
                "undefined": int(part["r"].isna().sum()), "median_abs_r": size.median(), "largest_abs_r": size.max(),
                "significant": int((part["q"] < _LEVEL).sum()), "top_gene": best,
                "n_patients": int(part["n_patients"].iloc[0]),
            }
        )  # fmt: skip
    names = ["model", "score", "subspace", "genes", "undefined", "median_abs_r", "largest_abs_r", "significant",
             "top_gene", "n_patients"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def explain_gene_correlation(run: TaskRun) -> dict[str, Any]:
    """Write the tables of a task's genes and predicted malignancy, and return the summary's entry."""
    import anndata

    score = score_of(run.task)
    if score is None:
        raise ValueError(f"task {run.task.name} has no malignancy score")
    paths = {fold: run.results.genes(fold) for fold in run.folds}
    expression = {fold: anndata.read_h5ad(path) for fold, path in paths.items() if checked(path).is_file()}
    problems = [f"fold {f}: no expression matrix {p.name}" for f, p in paths.items() if f not in expression]
    wanted, (_, reasons) = run.chosen["genes"], run.read
    table, more = correlation_table(score, run.networks, expression, pointed_out=wanted)
    summary = correlation_summary(table)
    for name, one in zip(TABLES["gene_correlation"], (table, summary), strict=True):
        write_tsv(run.out_dir / name, one)
    absent = "not among the subspaces' genes that all cohorts have"
    problems += [f"{gene}: {absent}" for gene in wanted if len(table) and gene not in set(table["gene"])]
    problems += run.no_network
    problems += [f"{m}: {reason}" for m in run.networks for reason in [*reasons.get(m, []), *more.get(m, [])]]
    counts = summary.groupby("model", sort=False)[["significant", "genes"]].sum()
    parts = [
        f"{named(str(model), run.catalogue).in_sentence} {row['significant']} of {row['genes']}"
        for model, row in counts.iterrows()
    ]
    message = f"Genes that go with the {score.title} (q < 0.05): {', '.join(parts)}."
    return {
        "score": score.name,
        "score_name": score.title,
        "message": message if parts else "No correlation could be computed.",
        "reasons": problems,
    }
