"""Confidence-guided gradient coordination (CGC): equation 6 and figure 3 of the paper, for any number of subspaces.

The classifier's weight has one block per subspace, of the same shape, so the cosine of their gradients is
defined. Where they conflict, the gradient of the less confident subspace loses its component along the other's. Among more
than two, each loses its component along every more confident gradient that it conflicts with.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

#: What remains of a direction after removing others counts as rounding error below this share of it.
_ROUNDING = 1e-5


def coordinate_gradients(
    gradients: Sequence[Tensor], confidences: Sequence[float | Tensor] | Tensor, times: int = 1
) -> list[Tensor]:
    """Project less confident gradients onto the orthogonal complement of more confident ones that they conflict with.

    Parameters
    ----------
    gradients : sequence of Tensor
        One per subspace, all of the same shape.
    confidences : sequence of float or Tensor
        Batch sum of the probability that each subspace alone gives to the observed outcome; a tensor of one
        probability per sample is summed.
    times : int
        2: the component along the other is subtracted twice, which reflects the gradient: with two gradients, the
        cosine changes its sign and the norm stays.

    Returns
    -------
    list of Tensor
        The gradients; each unchanged if its cosine with those of higher confidence is at least 0 (a zero gradient never
        conflicts). Gradients of equal confidence do not change each other (eq. 6 has no such case). The component
        removed is that in the span of the conflicting gradients, and of those that conflict as a result: afterwards, no
        cosine with a more confident input gradient is below 0. The inputs are not changed.

    Raises
    ------
    ValueError
        If the gradients differ in shape.

    References
    ----------
    Equation 6 and figure 3 of the paper.
    """
    if len({gradient.shape for gradient in gradients}) > 1:
        raise ValueError(f"gradients of different shapes: {[tuple(g.shape) for g in gradients]}")
    like = gradients[0]
    sure = torch.stack([_total(confidence, like) for confidence in confidences])
    from_surest = torch.argsort(sure, descending=True, stable=True)
    ranked = torch.stack(list(gradients))[from_surest]
    surer = sure[from_surest] > sure.unsqueeze(1)  # (K, K): for each gradient, which of `ranked` are surer
    return [_coordinated(*pair, ranked, times) for pair in zip(gradients, surer, strict=True)]


def _total(confidence: float | Tensor, like: Tensor) -> Tensor:
    return torch.as_tensor(confidence, dtype=torch.float64, device=like.device).sum()


def coordinate_classifier(
    gradient: Tensor,
    confidences: Sequence[float | Tensor] | Tensor,
    times: int = 1,
    by_row: bool = False,
) -> Tensor:
    """Coordinate the blocks of a classifier's gradient (outputs, K c) in place; return (bool) whether any two were in conflict.

    `by_row`: each output's row separately, as in the authors' public code.
    """
    conflicts = []
    for part in gradient.split(1 if by_row else len(gradient)):
        blocks = part.chunk(len(confidences), dim=1)
        conflicts.append(any_conflict(blocks))
        part.copy_(torch.cat(coordinate_gradients(blocks, confidences, times), dim=1))
    return torch.stack(conflicts).any()


def any_conflict(gradients: Sequence[Tensor]) -> Tensor:
    """Return (bool) whether the cosine of any two gradients is below 0."""
    pairs = [in_conflict(one, other) for one, other in combinations(gradients, 2)]
    return torch.stack(pairs).any() if pairs else gradients[0].new_zeros((), dtype=torch.bool)


def in_conflict(one: Tensor, other: Tensor) -> Tensor:
    """Return (bool) whether the cosine of two gradients of the same shape is below 0; False if one of them is zero."""
    # The sign of a product of tiny (or huge) gradients would be lost to underflow (or overflow). 0 / 0 is not below 0.
    return (one / one.abs().max() * (other / other.abs().max())).sum() < 0


def _coordinated(gradient: Tensor, surer: Tensor, ranked: Tensor, times: int) -> Tensor:
    """Return the gradient without its component along those of `ranked` (the surest first) that are `surer` and that it conflicts with.

    Computes all cases and selects one: branching on a value on a GPU would wait for it.
    """
    taken: list[tuple[Tensor, Tensor]] = []  # direction, whether it was removed
    for _ in range(len(ranked) - 1):
        conflicting = surer & torch.stack([in_conflict(gradient, other) for other in ranked])
        at = conflicting.int().argmax()
        surer = surer & (torch.arange(len(ranked), device=surer.device) != at)
        along = ranked.index_select(0, at.view(1)).squeeze(0)
        size = along.abs().max()
        for earlier, was_taken in taken:
            along = torch.where(was_taken, _without_component(along, earlier, 1), along)
        take = conflicting.any() & (along.abs().max() > _ROUNDING * size)
        gradient = torch.where(take, _without_component(gradient, along, times), gradient)
        taken.append((along, take))
    return gradient


def _without_component(gradient: Tensor, along: Tensor, times: int) -> Tensor:
    """Return gamma(x, y) = x - (x . y / y . y) y of eq. 6, for `times` = 1."""
    # Two vectors whose product is negative are both non-zero, but y . y of a tiny y can underflow.
    direction = along / along.abs().max()
    return gradient - times * (gradient * direction).sum() / direction.square().sum() * direction


def subspace_logits(representation: Tensor, weight: Tensor, bias: Tensor, subspaces: int) -> list[Tensor]:
    """Return the logits of each subspace's block of a linear classifier, with its share of the bias.

    Parameters
    ----------
    representation : Tensor
        (B, K c) of K subspaces.
    weight, bias : Tensor
        (outputs, K c) and (outputs,) of the classifier.
    subspaces : int
        K.

    Returns
    -------
    list of Tensor
        K times (B, outputs); they add up to the classifier's logits.
    """
    blocks = zip(representation.chunk(subspaces, dim=1), weight.chunk(subspaces, dim=1), strict=True)
    return [torch.nn.functional.linear(part, block, bias / subspaces) for part, block in blocks]
