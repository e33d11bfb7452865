"""Half precision is for matrix products; distances, variances and likelihoods are computed in float32 at least."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` as it is if it is float32 or float64, else (half precision, whole numbers) as float32."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
