"""Patch tokens: encoder features, standardised, through Linear + ReLU to the model's width, then LayerNorm.

The paper feeds slide-level feature matrices into a map of width c. ImageNet features of tissue share a large mean;
standardising each feature with the training part's mean and standard deviation (stored with the weights) and
normalising each token afterwards lets a network learn from tens of slides. Both cost next to nothing: the
standardisation is folded into the linear map.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pathduet.models.method.config import PATCH_STARTS


def given(features: Mapping[str, Tensor | None], magnification: str) -> Tensor:
    """Return the features (B, N, d) of a magnification; ValueError if they were not given."""
    found = features[magnification]
    if found is None:
        raise ValueError(f"no features at {magnification}, which this network reads")
    return found


class PatchTokens(nn.Module):
    """Map features (B, N, d) to tokens (B, N, c).

    Parameters
    ----------
    features : int
        Numbers per tile, d.
    width : int
        Width c of a token.
    start : str
        Initial linear map: ``principal`` (:meth:`align` to the features' principal axes) or ``random``. The
        method's networks follow ``model.patch_start`` instead.

    Raises
    ------
    ValueError
        If `start` is unknown.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, width: int, start: str = "principal") -> None:
        super().__init__()
        if start not in PATCH_STARTS:
            raise ValueError(f"patch_start is {start!r}; known: {', '.join(PATCH_STARTS)}")
        self.start = start
        self.linear = nn.Linear(features, width)
        self.norm = nn.LayerNorm(width)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    @torch.no_grad()
    def standardise(self, mean: Tensor, sd: Tensor) -> None:
        """Set the training part's mean and standard deviation (d,) of each feature; constant ones stay 0."""
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(sd > 1e-6, 1 / sd.clamp(min=1e-6), torch.zeros_like(sd)))

    def standardised(self, features: Tensor) -> Tensor:
        """Return features (..., d) minus the training part's mean, in units of its standard deviation."""
        return (features - self.mean) * self.scale

    @property
    def pairs(self) -> int:
        """Number of directions that :meth:`align` has channels for."""
        return self.linear.out_features // 2

    @torch.no_grad()
    def align(self, axes: Tensor) -> None:
        """Start the linear map from directions (k, d) of the standardised features, in order of importance.

        Each takes two of the c channels, one per sign, so that the ReLU keeps both sides of it and distances between
        tokens start as distances along these directions; the remaining channels keep their random values.
        """
        pairs = min(len(axes), self.pairs)
        self.linear.weight[:pairs] = axes[:pairs]
        self.linear.weight[pairs : 2 * pairs] = -axes[:pairs]
        self.linear.bias[: 2 * pairs] = 0

    def forward(self, features: Tensor) -> Tensor:
        """Return tokens (B, N, c)."""
        weight = self.linear.weight * self.scale  # (c, d)
        bias = self.linear.bias - weight @ self.mean
        return self.norm(torch.relu(nn.functional.linear(features, weight, bias)))
