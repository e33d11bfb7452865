"""Inter-magnification gene-expression consistency (IGC): the diagonal element variance loss, equation 7."""

from __future__ import annotations

from torch import Tensor

from pathduet.models.precision import at_least_float32


def cross_scale_similarity(
    attention_10x: Tensor, attention_20x: Tensor, gene_mask: Tensor | None = None
) -> Tensor:
    """Return C_ii (B,): how alike a slide's gene-to-histology attention is at the two magnifications.

    The dot product over keys of the two attention rows, averaged over heads and genes: in [0, 1] whatever the number
    of genes. Only the diagonal of C is ever computed.

    Parameters
    ----------
    attention_10x, attention_20x : Tensor
        (B, heads, G, keys), rows summing to one; the same genes and as many keys at both. Half precision is computed
        with as float32.
    gene_mask : Tensor, optional
        (G,) or (B, G) bool, True where a gene token counts. A slide of which none counts has similarity 0.

    Raises
    ------
    ValueError
        If the shapes differ or are not of four dimensions.
    """
    if attention_10x.shape != attention_20x.shape or attention_10x.ndim != 4:
        shapes = f"{tuple(attention_10x.shape)} and {tuple(attention_20x.shape)}"
        raise ValueError(f"attention of different shapes, or not (B, heads, G, keys): {shapes}")
    # a variance near 1e-6 is lost in half precision
    attention_10x, attention_20x = at_least_float32(attention_10x), at_least_float32(attention_20x)
    per_gene = (attention_10x * attention_20x).sum(dim=-1).mean(dim=1)  # (B, G)
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
        lambda. With 144 keys the variance is of the order of 1e-6.

    Returns
    -------
    Tensor
        Scalar, at least 0; 0 for a batch of one, and where all slides are equally consistent. Higher = slides differ more in
        how alike their attention is at the two magnifications; how alike it is on average does not matter.

    Raises
    ------
    ValueError
        See :func:`cross_scale_similarity`.

    References
    ----------
    Equation 7 of the paper. Flattened, A(10x) . A(20x) would grow with the number of heads and genes; their mean does
    not, so that one lambda serves any gene set.
    """
    similarity = cross_scale_similarity(attention_10x, attention_20x, gene_mask)
    return weight * similarity.var(unbiased=False)
