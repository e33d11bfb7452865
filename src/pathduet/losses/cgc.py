"""Confidence-guided gradient coordination (CGC): equation 6 and figure 3 of the paper.

The classifier's weight has one block per subspace, of the same shape, so the cosine of their gradients is
defined. Where they conflict, the gradient of the less confident subspace loses its component along the other's.
"""

from __future__ import annotations

import torch
from torch import Tensor


def coordinate_gradients(
    grad_tumor: Tensor,
    grad_tme: Tensor,
    confidence_tumor: float | Tensor,
    confidence_tme: float | Tensor,
    times: int = 1,
) -> tuple[Tensor, Tensor]:
    """Project the less confident of two conflicting gradients onto the other's orthogonal complement.

    Parameters
    ----------
    grad_tumor, grad_tme : Tensor
        Gradients of the same shape.
    confidence_tumor, confidence_tme : float or Tensor
        Batch sum of the probability that each subspace alone gives to what was observed; a tensor of one probability a
        sample is added up.
    times : int
        2: the component along the other is taken away twice, so the gradient is reflected: the cosine changes its sign
        and the norm stays.

    Returns
    -------
    tuple of Tensor
        Both gradients; untouched if their cosine is at least 0 (which it counts as where one is zero), or if the
        confidences are equal (eq. 6 has no case for that). The inputs are not changed.

    Raises
    ------
    ValueError
        If the gradients differ in shape.

    References
    ----------
    Equation 6 and figure 3 of the paper.
    """
    if grad_tumor.shape != grad_tme.shape:
        raise ValueError(f"gradients of different shapes: {grad_tumor.shape} and {grad_tme.shape}")
    sure_tumor, sure_tme = (float(torch.as_tensor(sure).sum()) for sure in (confidence_tumor, confidence_tme))
    if sure_tumor < sure_tme and in_conflict(grad_tumor, grad_tme):
        return _without_component(grad_tumor, grad_tme, times), grad_tme
    if sure_tme < sure_tumor and in_conflict(grad_tumor, grad_tme):
        return grad_tumor, _without_component(grad_tme, grad_tumor, times)
    return grad_tumor, grad_tme


def coordinate_classifier(
    gradient: Tensor, sure_tumor: float | Tensor, sure_tme: float | Tensor, times: int = 1
) -> bool:
    """Coordinate the two blocks of a classifier's gradient (K, 2c) in place; return whether they were in conflict."""
    tumor, tme = gradient.chunk(2, dim=1)
    conflict = in_conflict(tumor, tme)
    if conflict:
        gradient.copy_(torch.cat(coordinate_gradients(tumor, tme, sure_tumor, sure_tme, times), dim=1))
    return conflict


def in_conflict(one: Tensor, other: Tensor) -> bool:
    """Return whether the cosine of two gradients of the same shape is below 0; it is not where one of them is zero."""
    # The sign of a product of tiny (or huge) gradients would be lost to underflow (or overflow).
    sizes = one.abs().max(), other.abs().max()
    if not (sizes[0] > 0 and sizes[1] > 0):
        return False
    return bool((one / sizes[0] * (other / sizes[1])).sum() < 0)


def _without_component(gradient: Tensor, along: Tensor, times: int) -> Tensor:
    """Return gamma(x, y) = x - (x . y / y . y) y of eq. 6, for `times` = 1."""
    # Two vectors whose product is negative are both non-zero, but y . y of a tiny y can underflow.
    direction = along / along.abs().max()
    return gradient - times * (gradient * direction).sum() / direction.square().sum() * direction


def subspace_logits(representation: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each subspace's block of a linear classifier says alone, with half the bias.

    Parameters
    ----------
    representation : Tensor
        (B, 2c), [tumor; TME].
    weight, bias : Tensor
        (K, 2c) and (K,) of the classifier.

    Returns
    -------
    tuple of Tensor
        Two (B, K) that add up to the classifier's logits.
    """
    c = representation.shape[1] // 2
    return (
        torch.nn.functional.linear(representation[:, :c], weight[:, :c], bias / 2),
        torch.nn.functional.linear(representation[:, c:], weight[:, c:], bias / 2),
    )
