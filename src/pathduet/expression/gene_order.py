"""Order of gene tokens: neighbours in the sequence are co-expressed.

The networks lay the sequence on a square grid and apply a depthwise convolution to grid neighbours
(eq. 1-3 of the paper take h x w gene maps without defining where each gene goes). Neighbours should be
related, so genes follow a hierarchical clustering by co-expression with its leaves ordered optimally.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def coexpression_order(values: pd.DataFrame) -> list[str]:
    """Order the genes so that neighbours are co-expressed.

    Average-linkage clustering of 1 - Pearson correlation; of all leaf orders the dendrogram allows, the one
    with the smallest sum of distances between neighbours (Bar-Joseph et al., Bioinformatics 2001). The end
    with the alphabetically smaller symbol comes first. Genes that do not vary have no correlation and
    come last, by symbol. The order of rows and columns does not matter.

    Parameters
    ----------
    values : pandas.DataFrame, shape (samples, genes)
        Expression in any unit that is linear in the one of interest (z-scoring changes nothing); only samples
        that may be used.

    Returns
    -------
    list of str
        Every column exactly once.
    """
    genes = sorted(map(str, values.columns))
    numbers = values[genes].sort_index().to_numpy(dtype=np.float64)
    varies = numbers.max(axis=0) > numbers.min(axis=0)
    constant = [gene for gene, moves in zip(genes, varies) if not moves]
    genes = [gene for gene, moves in zip(genes, varies) if moves]
    if len(genes) > 2:
        from scipy.cluster.hierarchy import leaves_list, linkage
        from scipy.spatial.distance import squareform

        # Rounded, so that the last bits of a sum do not decide between equal distances.
        distance = np.round(1.0 - np.corrcoef(numbers[:, varies], rowvar=False), 10)
        np.fill_diagonal(distance, 0.0)
        condensed = squareform((distance + distance.T) / 2, checks=False)
        leaves = leaves_list(linkage(condensed, method="average", optimal_ordering=True))
        genes = [genes[leaf] for leaf in leaves]
    if len(genes) > 1 and genes[-1] < genes[0]:
        genes.reverse()
    return genes + constant
