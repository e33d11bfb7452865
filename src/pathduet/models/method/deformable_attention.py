"""Deformable attention from a grid of query tokens to a map of patch tokens: equations 1-3 and 8-9.

After Xia et al., Vision Transformer with Deformable Attention, CVPR 2022. A uniform grid of reference points
over the patch map is moved by offsets that a small network Psi computes from the queries; keys and values
are the patch map sampled there. Choices where the paper is silent:

- One convention throughout (``align_corners=False``): cell i of n has its centre at (2 i + 1) / n - 1, and the
  outer edges of the map are -1 and 1. Reference points are the centres of the coarser grid's cells. Points that leave
  the map read its border.
- Psi's stride reduces the query grid to the reference grid (at most ``stride``): 4 for patches, 1 for a gene
  grid, which is smaller than the patch map. Its output is resized bilinearly to the reference grid.
- Each of ``offset_groups`` groups of channels is sampled at its own points.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pathduet.models.method.attention import MultiHeadAttention
from pathduet.models.method.config import ModelConfig
from pathduet.models.precision import at_least_float32


class DeformableOutput(NamedTuple):
    """Result of :class:`DeformableAttention`.

    Attributes
    ----------
    tokens : Tensor
        (B, Q, c); Z of eq. 3 or 9.
    attention : Tensor or None
        (B, heads, Q, keys) if requested.
    offsets : Tensor
        (B, groups, h, w, 2); movement of the reference points as (x, y), in map cells.
    """

    tokens: Tensor
    attention: Tensor | None
    offsets: Tensor


def reference_points(
    side: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Return the centres of a side x side grid over [-1, 1]^2 as (side, side, 2), (x, y) in the last axis."""
    centers = (2 * torch.arange(side, device=device, dtype=dtype) + 1) / side - 1
    y, x = torch.meshgrid(centers, centers, indexing="ij")
    return torch.stack((x, y), dim=-1)


def map_side(tokens: int, what: str) -> int:
    """Return n of n x n tokens; ValueError if `tokens` is not a square number."""
    n = math.isqrt(tokens)
    if n * n != tokens or n == 0:
        raise ValueError(
            f"{tokens} {what} do not form a square map; the nearest squares are {n**2} and {(n + 1) ** 2}"
        )
    return n


def sample_map(patches: Tensor, points: Tensor) -> Tensor:
    """Sample a patch map bilinearly.

    Parameters
    ----------
    patches : Tensor
        (B, N, c), N = n x n cells in row-major order.
    points : Tensor
        (B, groups, h, w, 2) as (x, y) in [-1, 1]; groups divides c.

    Returns
    -------
    Tensor
        (B, h w, c); channel group g read at the points of group g.

    Raises
    ------
    ValueError
        If N is not a square number.
    """
    B, N, c = patches.shape
    _, groups, h, w, _ = points.shape
    n = map_side(N, "patch tokens")
    maps = at_least_float32(patches).transpose(1, 2).reshape(B * groups, c // groups, n, n)
    # bfloat16 has eight bits: a point of a map of 50 cells would be off by a tenth of a cell
    places = points.reshape(B * groups, h, w, 2).to(maps.dtype)
    with torch.autocast(maps.device.type, enabled=False):
        sampled = F.grid_sample(maps, places, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.reshape(B, c, h * w).transpose(1, 2).to(patches.dtype)


def pooled_map(patches: Tensor, side: int) -> Tensor:
    """Return a patch map (B, n x n, c) averaged to side x side cells, (B, side x side, c)."""
    grid = patches.transpose(1, 2).unflatten(2, (map_side(patches.shape[1], "patch tokens"), -1))
    return F.adaptive_avg_pool2d(grid, side).flatten(2).transpose(1, 2)


class OffsetNetwork(nn.Module):
    """Psi: depthwise convolution, GELU, 1 x 1 convolution, tanh times the range.

    Parameters
    ----------
    width, groups : int
        Width of the query tokens and number of offset groups.
    kernel, stride : int
        Kernel of the depthwise convolution, and its largest stride.
    offset_range_points : float
        Largest offset along each axis, in spacings of the reference points.
    """

    def __init__(self, width: int, groups: int, kernel: int, stride: int, offset_range_points: float) -> None:
        super().__init__()
        self.groups, self.kernel, self.stride, self.offset_range_points = (
            groups,
            kernel,
            stride,
            offset_range_points,
        )
        self.spatial = nn.Conv2d(width, width, kernel, groups=width)
        self.pointwise = nn.Conv2d(width, 2 * groups, 1, groups=groups, bias=False)

    def forward(self, queries: Tensor, side: int, spacing: float) -> Tensor:
        """Return offsets (B, groups, side, side, 2) in map cells for (B, q x q, c) queries; `spacing` of the points in map cells."""
        B, Q, c = queries.shape
        q = map_side(Q, "query tokens")
        stride = min(max(q // side, 1), self.stride)
        grid = queries.transpose(1, 2).reshape(B, c, q, q)
        padding = (self.kernel - stride + 1) // 2
        x = F.conv2d(grid, self.spatial.weight, self.spatial.bias, stride, padding, groups=c)
        x = torch.tanh(at_least_float32(self.pointwise(F.gelu(x)))) * (
            self.offset_range_points * spacing
        )  # (B, 2 groups, ., .)
        if x.shape[-1] != side:
            with torch.autocast(x.device.type, enabled=False):
                x = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
        return x.view(B, self.groups, 2, side, side).permute(0, 1, 3, 4, 2)


class DeformableAttention(nn.Module):
    """Attention from a square grid of queries to a patch map sampled at moved points.

    Parameters
    ----------
    config : ModelConfig
        Width, heads, offset groups, kernel, stride, range and input, dropout.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.stride, self.sees_patches = config.stride, config.offset_input == "queries_and_patches"
        self.offsets = OffsetNetwork(
            config.width,
            config.offset_groups,
            config.offset_kernel,
            config.stride,
            config.offset_range_points,
        )
        self.attend = MultiHeadAttention(config.width, config.heads, config.head_dim, config.dropout)

    def forward(
        self,
        queries: Tensor,
        patches: Tensor,
        query_mask: Tensor | None = None,
        need_attention: bool = False,
    ) -> DeformableOutput:
        """Attend from `queries` to `patches`.

        Parameters
        ----------
        queries : Tensor
            (B, Q, c), Q = q x q cells of a square grid.
        patches : Tensor
            (B, N, c), N = n x n cells; n at least the stride.
        query_mask : Tensor, optional
            (Q,) or (B, Q) bool; masked queries do not move any point (their output is meaningless).
        need_attention : bool
            Return the attention matrix too.

        Raises
        ------
        ValueError
            If Q or N is not a square number, or the numbers of slides differ.
        """
        if len(queries) != len(patches):
            raise ValueError(f"queries of {len(queries)} slides and patches of {len(patches)}")
        n = map_side(patches.shape[1], "patch tokens")
        side = max(n // self.stride, 1)
        guides = queries if query_mask is None else queries * query_mask.unsqueeze(-1)
        if self.sees_patches and queries is not patches:
            guides = guides + pooled_map(patches, map_side(queries.shape[1], "query tokens"))
        offsets = self.offsets(guides, side, n / side)
        grid = reference_points(side, device=patches.device, dtype=offsets.dtype)
        points = grid + offsets * (2 / n)  # n cells span the 2 units from -1 to 1
        tokens, attention = self.attend(queries, sample_map(patches, points), need_attention=need_attention)
        return DeformableOutput(tokens, attention, offsets)
