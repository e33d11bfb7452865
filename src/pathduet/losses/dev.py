"""Inter-magnification gene-expression consistency (IGC): the diagonal element variance loss, equation 7, and a term for its level."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pathduet.models.precision import at_least_float32


def cross_scale_similarity(
    attention_10x: Tensor,
    attention_20x: Tensor,
    gene_mask: Tensor | None = None,
    *,
    centred: bool = False,
) -> Tensor:
    """Return C_ii (B,): how alike a slide's gene-to-histology attention is at the two magnifications.

    The cosine of the two attention rows, averaged over heads and genes: in [0, 1] for any number of genes and keys. Only the
    diagonal of C is ever computed.

    Parameters
    ----------
    attention_10x, attention_20x : Tensor
        (B, heads, G, keys), rows summing to one; the same genes and as many keys at both. Half precision is
        converted to float32.
    gene_mask : Tensor, optional
        (G,) or (B, G) bool, True where a gene token counts. A slide without any has similarity 0.
    centred : bool
        Pearson's correlation instead of the cosine, in [-1, 1]: uniform attention, whose cosine with anything is high, has 0.

    Raises
    ------
    ValueError
        If the shapes differ or are not of four dimensions.
    """
    if attention_10x.shape != attention_20x.shape or attention_10x.ndim != 4:
        shapes = f"{tuple(attention_10x.shape)} and {tuple(attention_20x.shape)}"
        raise ValueError(f"attention of different shapes, or not (B, heads, G, keys): {shapes}")
    rows = [at_least_float32(attention) for attention in (attention_10x, attention_20x)]
    if centred:
        rows = [row - row.mean(dim=-1, keepdim=True) for row in rows]
    per_gene = F.cosine_similarity(rows[0], rows[1], dim=-1).mean(dim=1)  # (B, G)
    if gene_mask is None:
        return per_gene.mean(dim=1)
    mask = gene_mask.expand(per_gene.shape)
    return per_gene.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def dev_loss(
    attention_10x: Tensor, attention_20x: Tensor, weight: float = 1.0, gene_mask: Tensor | None = None
) -> Tensor:
    """Return `weight` times the population variance of C_ii over the batch (eq. 7).

    Parameters
    ----------
    attention_10x, attention_20x, gene_mask
        See :func:`cross_scale_similarity`.
    weight : float
        lambda.

    Returns
    -------
    Tensor
        Scalar, at least 0; 0 for a batch of one, and where all slides are equally consistent. Higher = slides differ more in
        how alike their attention is at the two magnifications; how alike it is on average does not matter, so that uniform attention
        minimises it.

    Raises
    ------
    ValueError
        See :func:`cross_scale_similarity`.

    References
    ----------
    Equation 7 of the paper. For rows that sum to one, the plain product A(10x) . A(20x) is of the order of 1 / keys, and its variance of
    the order of 1e-10 with 144 keys; the cosine has no such scale, so one lambda serves any number of keys and genes.
    """
    similarity = cross_scale_similarity(attention_10x, attention_20x, gene_mask)
    return weight * similarity.var(unbiased=False)


def level_loss(
    attention_10x: Tensor, attention_20x: Tensor, weight: float = 1.0, gene_mask: Tensor | None = None
) -> Tensor:
    """Return `weight` times the mean over the batch of 1 - correlation of the two magnifications' attention.

    Adds what equation 7 leaves out and figure 4 of the paper shows: both magnifications attend to the same places. Equation 7
    only makes this similarity vary little between slides.

    Parameters
    ----------
    attention_10x, attention_20x, gene_mask
        See :func:`cross_scale_similarity`.
    weight : float
        Weight of the term.

    Returns
    -------
    Tensor
        Scalar in [0, 2] times `weight`; 0 where every gene attends alike at both, 1 where its attention is unrelated or uniform.

    Raises
    ------
    ValueError
        See :func:`cross_scale_similarity`.
    """
    return weight * (1 - cross_scale_similarity(attention_10x, attention_20x, gene_mask, centred=True)).mean()
