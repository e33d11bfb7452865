"""Which prototype is the tumor one: a learned scorer for the student's two prototypes.

The paper leaves open how prototypes correspond to subspaces, and cluster scores order them arbitrarily from
slide to slide. A linear scorer rates how tumor-like a prototype is; the higher one comes first. The order
is hard in both training and inference. It is learned

- with a teacher: by binary cross-entropy against the optimal assignment of the prototypes to the teacher's
  [tumor; TME] representation (for two prototypes: the cheaper of the two orders);
- without a teacher: by the task alone. The hard order passes on the gradient of its soft version (a doubly
  stochastic mixture of the two orders), so prototype 0 is whichever the classifier's first block reads better. It then
  has a stable meaning across slides, but not the tumor's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SubspaceOrder(nn.Module):
    """Order two prototypes by a learned score.

    Parameters
    ----------
    width : int
        Width c of a prototype.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)  # only differences of scores count
        # From zero, the first steps already point where the order is learned to go; from a random start the few
        # steps that a small cohort gives could not turn it.
        nn.init.zeros_(self.score.weight)

    def forward(self, prototypes: Tensor, through_task: bool = True) -> tuple[Tensor, Tensor]:
        """Order (B, 2, c) prototypes, the more tumor-like first.

        Parameters
        ----------
        prototypes : Tensor
            (B, 2, c).
        through_task : bool
            Let the task's gradient reach the scorer (straight-through); False where a teacher settles the order.

        Returns
        -------
        tuple
            Ordered prototypes (B, 2, c), and (B,) the score of the first minus that of the second *as given*:
            above or at 0 the given order stands. Its gradient reaches the scorer only.
        """
        scores = self.score(prototypes.detach()).squeeze(-1)  # (B, 2)
        margin = scores[:, 0] - scores[:, 1]
        keep = (margin >= 0).to(prototypes.dtype)
        if through_task:
            soft = torch.sigmoid(margin)
            keep = keep + (soft - soft.detach())
        keep = keep.view(-1, 1, 1)
        return keep * prototypes + (1 - keep) * prototypes.flip(1), margin


def assignment_costs(prototypes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean squared error (B,) of (B, 2, c) prototypes to (B, 2, c) targets as given and swapped."""
    kept = (prototypes - targets).square().mean(dim=(1, 2))
    swapped = (prototypes.flip(1) - targets).square().mean(dim=(1, 2))
    return kept, swapped
