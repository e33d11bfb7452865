"""Class weights that balance unequal class frequencies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_weights(labels: Sequence[int], classes: int) -> Tensor:
    """Return weights (K,), inverse to class frequency, with mean 1 over the samples; 0 for absent classes."""
    counts = torch.bincount(torch.tensor(labels), minlength=classes).float()
    present = counts > 0
    return torch.where(present, len(labels) / (present.sum() * counts.clamp(min=1)), torch.zeros_like(counts))
