"""Which prototype of a trained student is the tumor one: settled by the expression before distillation starts.

A student that was trained on the task alone tells its two prototypes apart in the same way on every slide, but which of
them comes first is chance. Left to the assignment slide by slide, distillation would keep that chance order: its
representation has a basis of its own, in which either order is as far from the teacher's. What tissue and
expression have in common is which patients differ: the prototype that says more about the tumor genes comes first. The
teacher's representation of its training slides is a worse witness, because both of its halves have learned the outcome.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pathduet.learning.objectives import student_inputs
from pathduet.learning.trainer import TrainingItems
from pathduet.models.student import Student

#: Ridge penalty in units of the mean squared singular value: tens of patients stand against hundreds of numbers.
PENALTY = 10.0


def order_evidence(ordered: Tensor, tumor: Tensor, tme: Tensor) -> float:
    """Return the evidence that of two prototypes the first belongs to the tumor genes and the second to the TME genes.

    The genes of each subspace are predicted by ridge regression from both prototypes at once; what either prototype
    adds to the variance of the prediction is its share.

    Parameters
    ----------
    ordered : Tensor
        (n, 2, c) prototypes of n slides.
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
    gram = joint.T @ joint
    penalty = PENALTY * gram.diagonal().sum() / min(n, 2 * c)
    gram.diagonal().add_(penalty)
    shares = []
    for genes in (tumor, tme):
        y = (genes - genes.mean(dim=0)).double()
        weights = torch.linalg.solve(gram, joint.T @ y)  # (2c, G)
        added = torch.stack(
            [(x[:, k] @ weights[k * c : (k + 1) * c]).square().sum() for k in range(2)]
        )  # (2,)
        shares.append(added / added.sum().clamp(min=1e-300))
    (tumor_first, tumor_second), (tme_first, tme_second) = shares
    return float(tumor_first * tme_second - tumor_second * tme_first)


@torch.no_grad()
def orient(
    student: Student,
    dataset: TrainingItems,
    paired: list[int],
    batch_size: int,
    device: torch.device,
) -> dict[str, float]:
    """Exchange the prototypes of each magnification where the expression says so; no prediction changes.

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
        :func:`order_evidence` of the order found, by magnification; negative ones were exchanged.
    """
    training = student.training
    student.eval()
    found: dict[str, list[Tensor]] = {m: [] for m in student.config.experts}
    genes: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(paired), batch_size):
        batch = dataset.batch(paired[start : start + batch_size]).to(device)
        genes.append((batch.tumor, batch.tme))
        output = student(*student_inputs(batch))
        for m, parts in found.items():
            parts.append(output.representation[m].float())
    student.train(training)
    evidence = dict.fromkeys(found, 0.0)
    if len(paired) < 3:
        return evidence
    tumor, tme = (torch.cat(parts) for parts in zip(*genes, strict=True))
    for m, parts in found.items():
        ordered = torch.cat(parts).unflatten(1, (2, -1))
        evidence[m] = order_evidence(ordered, tumor, tme)
        if evidence[m] < 0:
            student.exchange(m)
    return evidence
