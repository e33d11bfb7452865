"""The split of the genes into tumor and microenvironment as one table, over all folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from pathduet.expression.fold_matrix import read_genes
from pathduet.expression.gene_sets import Both, assign_subspaces

if TYPE_CHECKING:
    import pandas as pd


def subspace_table(
    matrices: Sequence[str | PathLike[str]], listed: Mapping[str, Iterable[str]], both: Both
) -> pd.DataFrame:
    """Say of every listed gene where it went and in which folds it was selected.

    Parameters
    ----------
    matrices : sequence of path
        ``genes/fold-{k}.h5ad``, in the order of the folds.
    listed : mapping
        Subspace (``tumor``, ``tme``) -> its genes.
    both : {"tumor", "tme", "shared", "drop"}
        What became of genes of both lists.

    Returns
    -------
    DataFrame
        One row a gene, sorted by symbol: in_tumor_list, in_tme_list (0 or 1), subspace ("" = dropped because both lists
        hold it), measured (1 if all cohorts have it), folds_selected, fold_{k} (0 or 1), dispersion_norm (mean over
        folds; empty where not measured).
    """
    import pandas as pd

    tumor, tme = set(listed["tumor"]), set(listed["tme"])
    genes = sorted(tumor | tme)
    table = pd.DataFrame({"gene_symbol": genes})
    table["in_tumor_list"] = [int(gene in tumor) for gene in genes]
    table["in_tme_list"] = [int(gene in tme) for gene in genes]
    table["subspace"] = assign_subspaces(genes, tumor, tme, both).to_numpy()
    chosen, dispersion = {}, {}
    for fold, path in enumerate(matrices):
        var, _ = read_genes(path)
        chosen[f"fold_{fold}"] = var["highly_variable"].astype(bool).reindex(genes)
        dispersion[fold] = var["dispersion_norm"].astype(float).reindex(genes)
    folds = pd.DataFrame(chosen, index=genes)
    table["measured"] = folds.notna().all(axis=1).astype(int).to_numpy()
    selected = folds.eq(True)
    table["folds_selected"] = selected.sum(axis=1).to_numpy()
    table["dispersion_norm"] = pd.DataFrame(dispersion, index=genes).mean(axis=1).to_numpy()
    for name in folds:
        table[name] = selected[name].astype(int).to_numpy()
    return table
