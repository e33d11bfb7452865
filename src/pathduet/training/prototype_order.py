"""Which prototype of a trained student is the tumor one: settled by the expression before distillation starts.

A student that was trained on the task alone tells its two prototypes apart, on most slides in the same way, but which of
them comes first is chance. Left to the assignment slide by slide, distillation would keep that chance order: its
representation has a basis of its own, in which either order is as far from the teacher's. Two things are settled here:

- *alike on every slide*: the scorer is turned to the direction in which a slide's two prototypes differ most, over all
  slides: that is what the clustering divides tissue by. The task alone leaves it undecided where either order predicts
  as well.
- *tumor first*: what tissue and expression have in common is which patients differ, so the prototype that says more
  about the tumor genes comes first. The tissue is asked by the encoder's features of each prototype's tiles:
  representations, the teacher's as the student's own, are worse witnesses, because both of their halves have learned the
  outcome of the same slides. Two magnifications of a slide show the same tissue, so their evidence is added up.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pathduet.models.method.dpc_knn import merge_tokens
from pathduet.models.method.student import Student
from pathduet.training.loop import TrainingItems
from pathduet.training.objectives import student_inputs

#: Ridge penalty in units of the mean squared singular value: tens of patients stand against hundreds of numbers.
PENALTY = 10.0


def order_evidence(ordered: Tensor, tumor: Tensor, tme: Tensor) -> float:
    """Return the evidence that of two prototypes the first belongs to the tumor genes and the second to the TME genes.

    The genes of each subspace are predicted by ridge regression from both prototypes at once; what either prototype
    adds to the variance of the prediction is its share.

    Parameters
    ----------
    ordered : Tensor
        (n, 2, c) of n slides: what describes the tissue of the first prototype and of the second.
    tumor, tme : Tensor
        (n, G) z-scores of each subspace's genes.

    Returns
    -------
    float
        Share of the first in the tumor genes times share of the second in the TME genes, minus the same for the other
        order; above 0: the order is right.
    """
    n, _, c = ordered.shape
    x = (ordered - ordered.mean(dim=0)).double()
    # Both prototypes weigh the same, however far they move between slides.
    x = x / x.square().sum(dim=(0, 2), keepdim=True).sqrt().clamp(min=1e-12)
    joint = x.flatten(1)  # (n, 2c)
    gram = joint @ joint.T  # between slides: there are fewer of them than numbers each
    gram.diagonal().add_(PENALTY * gram.diagonal().sum() / min(n, 2 * c))
    shares = []
    for genes in (tumor, tme):
        y = (genes - genes.mean(dim=0)).double()
        weights = joint.T @ torch.linalg.solve(gram, y)  # (2c, G)
        added = torch.stack(
            [(x[:, k] @ weights[k * c : (k + 1) * c]).square().sum() for k in range(2)]
        )  # (2,)
        shares.append(added / added.sum().clamp(min=1e-300))
    (tumor_first, tumor_second), (tme_first, tme_second) = shares
    return float(tumor_first * tme_second - tumor_second * tme_first)


def consistent_direction(given: Tensor, scorer: Tensor) -> Tensor | None:
    """Return the direction (c,) in which the two prototypes of a slide differ most, over all slides.

    Parameters
    ----------
    given : Tensor
        (n, 2, c) prototypes in the order that the clustering gave them, which says nothing.
    scorer : Tensor
        (c,) the scorer so far; of the two opposite directions the one nearer to it is taken.

    Returns
    -------
    Tensor or None
        As long as makes the mean size of a margin 1; None if the prototypes do not differ.
    """
    difference = (given[:, 0] - given[:, 1]).double()  # (n, c)
    direction = torch.linalg.eigh(difference.T @ difference).eigenvectors[:, -1]
    margin = (difference @ direction).abs().mean()
    if not margin > 0:
        return None
    side = direction @ scorer.double()
    if side == 0:
        side = direction[direction.abs().argmax()]
    return (direction * torch.sign(side) / margin).to(scorer.dtype)


@torch.no_grad()
def order_prototypes(
    student: Student,
    dataset: TrainingItems,
    paired: list[int],
    batch_size: int,
    device: torch.device,
) -> dict[str, float]:
    """Order the prototypes alike on every slide, tumor first as far as the expression can tell.

    The scorers are replaced (:func:`consistent_direction`); slides that stood the other way are predicted a little
    differently then. Where the expression says so, both prototypes are exchanged, in the scorer and in the classifier,
    which changes no prediction. Both magnifications are judged together: where a slide's first prototype takes a
    large share of its tiles at 10x, that of the same tissue does so at 20x. The sign of the covariance of these shares
    over the slides tells whether the two orders agree, and the evidence of both is added up accordingly.

    Parameters
    ----------
    student : Student
        Trained; changed in place.
    dataset : TrainingItems
        The training slides.
    paired : list of int
        Positions of the slides that have expression.
    batch_size : int
        Slides at a time.
    device : torch.device
        Where the student is.

    Returns
    -------
    dict of str to float
        Evidence by magnification, :func:`order_evidence` of both added up, for the order before the exchange; negative
        ones were exchanged. 0, and nothing done, with fewer than three slides.
    """
    training = student.training
    student.eval()
    seen = {m: _Seen([], [], []) for m in student.config.experts}
    genes: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(paired), batch_size):
        batch = dataset.batch(paired[start : start + batch_size]).to(device)
        genes.append((batch.tumor, batch.tme))
        output = student(*student_inputs(batch))
        for m, parts in seen.items():
            assignment = output.aggregation[m].assignment  # (b, N)
            ones = torch.ones_like(assignment, dtype=torch.float32)
            means = merge_tokens(batch.patches[m], assignment, ones, 2)  # (b, 2, d)
            parts.prototypes.append(output.prototypes[m].float())
            parts.tissue.append(student.patch_tokens(m).standardised(means))
            parts.share.append((assignment == 0).float().mean(dim=1))
    student.train(training)
    evidence = dict.fromkeys(seen, 0.0)
    if len(paired) < 3:
        return evidence
    tumor, tme = (torch.cat(parts) for parts in zip(*genes, strict=True))
    shares = {}
    for m, parts in seen.items():
        prototypes, tissue, share = (torch.cat(part) for part in parts)
        scorer = student.scorer(m)
        direction = consistent_direction(prototypes, scorer[0])
        if direction is not None:
            scorer.copy_(direction.unsqueeze(0))
        given = ((prototypes[:, 0] - prototypes[:, 1]) @ scorer[0]) >= 0  # (n,)
        evidence[m] = order_evidence(torch.where(given.view(-1, 1, 1), tissue, tissue.flip(1)), tumor, tme)
        shares[m] = torch.where(given, share, 1 - share)
    evidence = _together(evidence, shares)
    for m, found in evidence.items():
        if found < 0:
            student.exchange(m)
    return evidence


class _Seen(NamedTuple):
    """Of each batch, prototypes as given: (b, 2, c); mean features of their tiles (b, 2, d); the first one's share (b,)."""

    prototypes: list[Tensor]
    tissue: list[Tensor]
    share: list[Tensor]


def _together(evidence: dict[str, float], shares: dict[str, Tensor]) -> dict[str, float]:
    """Add up the magnifications' evidence; left apart where the shares (n,) of the first prototypes do not correlate."""
    if len(evidence) < 2:
        return evidence
    first, second = evidence
    moved = [shares[m] - shares[m].mean() for m in (first, second)]
    sign = float(torch.sign((moved[0] * moved[1]).sum()))
    if sign == 0:
        return evidence
    total = evidence[first] + sign * evidence[second]
    return {first: total, second: sign * total}
