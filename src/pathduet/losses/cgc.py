"""Confidence-guided gradient coordination (CGC): equation 6 and figure 3 of the paper, for any number of subspaces.

The classifier's weight has one block per subspace, of the same shape, so the cosine of their gradients is
defined. Where they conflict, the gradient of the less confident subspace loses its component along the other's. Of more than
two, each loses its component along every more confident one that it conflicts with.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

#: Of a direction, what is left after others were taken out of it is rounding below this share of it.
_ROUNDING = 1e-5


def coordinate_gradients(
    gradients: Sequence[Tensor], confidences: Sequence[float | Tensor] | Tensor, times: int = 1
) -> list[Tensor]:
    """Project less confident gradients onto the orthogonal complement of more confident ones that they conflict with.

    Parameters
    ----------
    gradients : sequence of Tensor
        One a subspace, all of the same shape.
    confidences : sequence of float or Tensor
        Batch sum of the probability that each subspace alone gives to what was observed; a tensor of one probability a
        sample is added up.
    times : int
        2: the component along the other is taken away twice, so the gradient is reflected: of two, the cosine changes
        its sign and the norm stays.

    Returns
    -------
    list of Tensor
        The gradients; each untouched if its cosine with those of higher confidence is at least 0 (which it counts as
        where one is zero). Equal confidences leave each other alone (eq. 6 has no case for that). What is taken away is
        the component in the span of the conflicting ones, and of those that come into conflict by that: afterwards, no
        cosine with a more confident gradient, as it was given, is below 0. The inputs are not changed.

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
    sums = [float(torch.as_tensor(confidence).sum()) for confidence in confidences]
    from_surest = sorted(range(len(sums)), key=lambda i: -sums[i])
    return [
        _coordinated(gradient, [gradients[i] for i in from_surest if sums[i] > own], times)
        for gradient, own in zip(gradients, sums, strict=True)
    ]


def coordinate_classifier(
    gradient: Tensor,
    confidences: Sequence[float | Tensor] | Tensor,
    times: int = 1,
    by_row: bool = False,
) -> bool:
    """Coordinate the blocks of a classifier's gradient (outputs, K c) in place; return whether any two were in conflict.

    `by_row`: each output's row for itself, as the authors' public code does.
    """
    conflict = False
    for part in gradient.split(1 if by_row else len(gradient)):
        blocks = part.chunk(len(confidences), dim=1)
        if any_conflict(blocks):
            part.copy_(torch.cat(coordinate_gradients(blocks, confidences, times), dim=1))
            conflict = True
    return conflict


def any_conflict(gradients: Sequence[Tensor]) -> bool:
    """Return whether the cosine of any two gradients is below 0."""
    return any(in_conflict(one, other) for one, other in combinations(gradients, 2))


def in_conflict(one: Tensor, other: Tensor) -> bool:
    """Return whether the cosine of two gradients of the same shape is below 0; it is not where one of them is zero."""
    # The sign of a product of tiny (or huge) gradients would be lost to underflow (or overflow).
    sizes = one.abs().max(), other.abs().max()
    if not (sizes[0] > 0 and sizes[1] > 0):
        return False
    return bool((one / sizes[0] * (other / sizes[1])).sum() < 0)


def _coordinated(gradient: Tensor, surer: list[Tensor], times: int) -> Tensor:
    """Return the gradient without its component along those of `surer`, the surest first, that it conflicts with."""
    taken: list[Tensor] = []
    while conflicting := [other for other in surer if in_conflict(gradient, other)]:
        along = conflicting[0]
        surer = [other for other in surer if other is not along]
        size = along.abs().max()
        for earlier in taken:
            along = _without_component(along, earlier, 1)
        if along.abs().max() > _ROUNDING * size:
            gradient = _without_component(gradient, along, times)
            taken.append(along)
    return gradient


def _without_component(gradient: Tensor, along: Tensor, times: int) -> Tensor:
    """Return gamma(x, y) = x - (x . y / y . y) y of eq. 6, for `times` = 1."""
    # Two vectors whose product is negative are both non-zero, but y . y of a tiny y can underflow.
    direction = along / along.abs().max()
    return gradient - times * (gradient * direction).sum() / direction.square().sum() * direction


def subspace_logits(representation: Tensor, weight: Tensor, bias: Tensor, subspaces: int) -> list[Tensor]:
    """Return what each subspace's block of a linear classifier says alone, with its share of the bias.

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
