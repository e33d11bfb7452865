"""The split of the genes into subspaces as one table, over all folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from pathduet.expression.fold_matrix import read_genes
from pathduet.expression.gene_sets import assign_subspaces

if TYPE_CHECKING:
    import pandas as pd


def subspace_table(
    matrices: Sequence[str | PathLike[str]], listed: Mapping[str, Iterable[str]], shared_genes: str
) -> pd.DataFrame:
    """Tabulate for every listed gene its subspace and the folds in which it was selected.

    Parameters
    ----------
    matrices : sequence of path
        ``genes/fold-{k}.h5ad``, in the order of the folds.
    listed : mapping
        Subspace -> its genes.
    shared_genes : str
        What happened to genes of several lists: ``drop``, ``all``, or the subspace that kept them.

    Returns
    -------
    DataFrame
        One row per gene, sorted by symbol: for each subspace in_{subspace}_list (0 or 1), subspace ("shared" = in each of its
        lists; "" = dropped because several lists hold it), measured (1 if all cohorts have it), folds_selected, fold_{k} (0 or 1), dispersion_norm
        (mean over folds; empty where not measured).
    """
    import pandas as pd

    lists = {name: set(own) for name, own in listed.items()}
    genes = sorted(set().union(*lists.values()))
    table = pd.DataFrame({"gene_symbol": genes})
    for name, own in lists.items():
        table[f"in_{name}_list"] = [int(gene in own) for gene in genes]
    table["subspace"] = assign_subspaces(genes, lists, shared_genes).to_numpy()
    chosen, dispersion = {}, {}
    for k, path in enumerate(matrices):
        var, _ = read_genes(path)
        chosen[f"fold_{k}"] = var["highly_variable"].astype(bool).reindex(genes)
        dispersion[k] = var["dispersion_norm"].astype(float).reindex(genes)
    folds = pd.DataFrame(chosen, index=genes)
    table["measured"] = folds.notna().all(axis=1).astype(int).to_numpy()
    selected = folds.eq(True)
    table["folds_selected"] = selected.sum(axis=1).to_numpy()
    table["dispersion_norm"] = pd.DataFrame(dispersion, index=genes).mean(axis=1).to_numpy()
    for fold in folds:
        table[fold] = selected[fold].astype(int).to_numpy()
    return table
