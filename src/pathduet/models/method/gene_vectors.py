"""Expression as vectors: one subspace's genes alone, all in one vector, or one each (figure 2b of the paper)."""

from __future__ import annotations

import torch
from torch import Tensor

from pathduet.models.inputs import Inputs, NetworkSizes


def gene_counts(sizes: NetworkSizes, genes: str) -> list[int]:
    """Return the length of each vector that :func:`gene_vectors` returns.

    Raises
    ------
    ValueError
        If `genes` is not a subspace, ``concat`` or ``parallel``.
    """
    known = [*sizes.genes, "concat", "parallel"]
    if genes not in known:
        raise ValueError(f"genes is {genes!r}; known: {', '.join(known)}")
    counts = {name: len(symbols) for name, symbols in sizes.genes.items()}
    if genes == "concat":
        return [sum(counts.values())]
    return list(counts.values()) if genes == "parallel" else [counts[genes]]


def gene_vectors(inputs: Inputs, genes: str) -> list[Tensor]:
    """Return the expression as tensors (B, genes).

    Parameters
    ----------
    inputs : Inputs
        A batch.
    genes : str
        A subspace's name: its genes alone; ``concat``: those of all subspaces in one vector, in their order;
        ``parallel``: one vector per subspace.
    """
    if genes == "concat":
        return [torch.cat(list(inputs.genes.values()), dim=1)]
    return list(inputs.genes.values()) if genes == "parallel" else [inputs.genes[genes]]
