"""Cross-entropy of one of several classes: equations 15 and 16 of the paper."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def weighted_cross_entropy(logits: Tensor, label: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the batch mean of the cross-entropy, each sample weighted by its class.

    Parameters
    ----------
    logits : Tensor
        (B, K).
    label : Tensor
        (B,) int64, the class.
    weights : Tensor, optional
        (K,), see :func:`pathduet.losses.class_weights.class_weights`.
    """
    losses = F.cross_entropy(logits, label, reduction="none")
    return losses.mean() if weights is None else (losses * weights[label]).mean()
