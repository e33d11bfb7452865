"""Expression as vectors: one gene set alone, both in one vector, or both apart (figure 2b of the paper)."""

from __future__ import annotations

import torch
from torch import Tensor

from pathduet.models.inputs import Inputs, NetworkSizes

#: Which genes a network of gene vectors reads.
GENE_VECTORS = ("tumor", "tme", "concat", "parallel")


def check_gene_input(genes: str) -> None:
    """Raise ValueError unless `genes` is one of :data:`GENE_VECTORS`."""
    if genes not in GENE_VECTORS:
        raise ValueError(f"genes is {genes!r}; known: {', '.join(GENE_VECTORS)}")


def gene_counts(sizes: NetworkSizes, genes: str) -> list[int]:
    """Return the length of each vector that :func:`gene_vectors` gives."""
    check_gene_input(genes)
    tumor, tme = len(sizes.tumor_genes), len(sizes.tme_genes)
    return {"tumor": [tumor], "tme": [tme], "concat": [tumor + tme], "parallel": [tumor, tme]}[genes]


def gene_vectors(inputs: Inputs, genes: str) -> list[Tensor]:
    """Return the expression as one or two tensors (B, genes).

    Parameters
    ----------
    inputs : Inputs
        A batch.
    genes : str
        ``tumor`` or ``tme``: that set alone; ``concat``: both in one vector, tumor first; ``parallel``: both apart.
    """
    check_gene_input(genes)
    if genes == "concat":
        return [torch.cat([inputs.tumor, inputs.tme], dim=1)]
    return [getattr(inputs, name) for name in (("tumor", "tme") if genes == "parallel" else (genes,))]
