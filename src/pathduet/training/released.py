"""How the authors' public code trains its networks (:mod:`pathduet.models.released`): schedule, consistency loss, gradients."""

from __future__ import annotations

import math
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from pathduet.training.config import TrainingConfig
from pathduet.training.objectives import TeacherObjective


def released_learning_rate(step: int, steps: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step (from 0): a cosine that reaches zero after as many *steps* as there are epochs, and rises again."""
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.epochs))


class ReleasedTeacherObjective(TeacherObjective):
    """The teacher's losses with the public code's consistency; conflicting gradients are reflected, not projected, class by class."""

    projections: ClassVar[int] = 2
    by_row: ClassVar[bool] = True

    def consistency_losses(self, coarse: Tensor, fine: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return the DEV loss of all positions of the query map."""
        return {"dev": released_dev_loss(coarse, fine, self.config.lambda_dev)}


def released_dev_loss(attention_10x: Tensor, attention_20x: Tensor, weight: float = 1.0) -> Tensor:
    """Return the DEV loss as in the authors' public code: all of C, rows L2-normalised, unbiased variance.

    Parameters
    ----------
    attention_10x, attention_20x : Tensor
        (B, heads, Q, keys).
    weight : float
        lambda.

    Returns
    -------
    Tensor
        Scalar; 0 for a batch of one, where the unbiased variance does not exist.
    """
    if len(attention_10x) < 2:
        return (attention_10x.sum() + attention_20x.sum()) * 0
    similarity = attention_10x.flatten(1) @ attention_20x.flatten(1).T  # C, (B, B)
    return weight * F.normalize(similarity, dim=1).diagonal().var(unbiased=True)
