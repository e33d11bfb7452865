"""Which prototype belongs to which subspace: a learned scorer for the student's prototypes.

The paper leaves open how prototypes correspond to subspaces, and cluster scores order them arbitrarily from
slide to slide. A linear scorer rates how well a prototype matches each subspace; among all orders of the K
prototypes, the one with the highest total score is used. Only differences count, so the last subspace's scores are
0: of two prototypes, the one with the higher score comes first. The order is hard in both training and inference. It
is learned

- with a teacher: by cross-entropy over the orders, against the optimal assignment of the prototypes to the teacher's
  representation (:func:`optimal_order`, :func:`order_loss`);
- without a teacher: by the task alone. The hard order passes on the gradient of its soft version (the orders' mean,
  weighted by their softmax: doubly stochastic), so prototype k is whichever the classifier's k-th block reads best. It
  then has a stable meaning across slides, but not the subspace's.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SubspaceOrder(nn.Module):
    """Order prototypes by learned scores.

    Parameters
    ----------
    width : int
        Width c of a prototype.
    subspaces : int
        K, at least 2.
    """

    def __init__(self, width: int, subspaces: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, subspaces - 1, bias=False)
        # From zero, the first steps already point in the right direction; the few steps of a small cohort could
        # not turn a random start.
        nn.init.zeros_(self.score.weight)

    def forward(self, prototypes: Tensor, through_task: bool = True) -> tuple[Tensor, Tensor]:
        """Order (B, K, c) prototypes by subspace.

        Parameters
        ----------
        prototypes : Tensor
            (B, K, c).
        through_task : bool
            Let the task's gradient reach the scorer (straight-through); False where a teacher sets the order.

        Returns
        -------
        tuple
            Ordered prototypes (B, K, c), and (B, K, K) the scores of the prototypes *as given* (rows) for each subspace;
            their gradient reaches the scorer only.
        """
        scores = F.pad(self.score(prototypes.detach()), (0, 1))  # (B, K, K)
        order = best_order(scores)
        if not through_task:
            return in_order(prototypes, order), scores
        if order.shape[1] == 2:
            keep = (order[:, 0] == 0).to(prototypes.dtype)
            soft = torch.sigmoid(_margin(scores))
            keep = (keep + (soft - soft.detach())).view(-1, 1, 1)
            return keep * prototypes + (1 - keep) * prototypes.flip(1), scores
        soft = torch.einsum("bo,oki->bki", _totals(scores).softmax(dim=-1), _orders(scores))
        return in_order(prototypes, order) + (soft - soft.detach()) @ prototypes, scores


def best_order(scores: Tensor) -> Tensor:
    """Return (B, K): the prototype of each subspace in the order with the highest total of scores (B, K, K).

    Rows are prototypes, columns subspaces. The given order wins ties.
    """
    if scores.shape[1] == 2:
        swapped = (_margin(scores) < 0).long()
        return torch.stack([swapped, 1 - swapped], dim=1)
    return _orders(scores).argmax(dim=-1)[_totals(scores).argmax(dim=-1)]


def in_order(prototypes: Tensor, order: Tensor) -> Tensor:
    """Return the prototypes (B, K, c) in an order (B, K): those of the subspaces in turn."""
    return prototypes.gather(1, order.unsqueeze(-1).expand_as(prototypes))


def optimal_order(prototypes: Tensor, targets: Tensor) -> Tensor:
    """Return (B, K): the prototype of (B, K, c) for each target of (B, K, c) in the order with the least squared error."""
    if prototypes.shape[1] == 2:
        kept = (prototypes - targets).square().mean(dim=(1, 2))
        swapped = ((prototypes.flip(1) - targets).square().mean(dim=(1, 2)) < kept).long()
        return torch.stack([swapped, 1 - swapped], dim=1)
    errors = (prototypes.unsqueeze(2) - targets.unsqueeze(1)).square().mean(dim=-1)  # (B, K, K)
    return best_order(-errors)


def order_loss(scores: Tensor, order: Tensor) -> Tensor:
    """Return the cross-entropy of the target orders (B, K) under the softmax over all orders' total scores, batch mean."""
    if order.shape[1] == 2:
        return F.binary_cross_entropy_with_logits(_margin(scores), (order[:, 0] == 0).to(scores.dtype))
    wanted = scores.gather(1, order.unsqueeze(1)).sum(dim=(1, 2))
    return (_totals(scores).logsumexp(dim=-1) - wanted).mean()


def _margin(scores: Tensor) -> Tensor:
    """Return (B,): how much better the first of two prototypes matches the first subspace than the second."""
    return scores[:, 0, 0] - scores[:, 1, 0]


@cache
def _all_orders(count: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return (K!, K, K) permutation matrices: subspaces in rows, prototypes in columns; the given order first.

    Sent to a device once: a copy in every step would make it wait.
    """
    return F.one_hot(torch.tensor(list(permutations(range(count))), device="cpu")).to(device, dtype)


def _orders(scores: Tensor) -> Tensor:
    return _all_orders(scores.shape[1], scores.device, scores.dtype)


def _totals(scores: Tensor) -> Tensor:
    """Return (B, K!): the total of the scores (B, K, K) in each order."""
    with torch.autocast(scores.device.type, enabled=False):
        return torch.einsum("bik,oki->bo", scores, _orders(scores))
