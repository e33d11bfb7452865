"""Plain attention to every patch token: the alternative to deformable attention (eq. 1-3, 8-9).

The same queries, keys, values and output, but keys and values are all N patch tokens and nothing is sampled or
moved: deformable attention with a reference point on every cell and offsets of zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pathduet.models.method.attention import MultiHeadAttention
from pathduet.models.method.config import ModelConfig
from pathduet.models.method.deformable_attention import DeformableAttention, DeformableOutput, map_side


class PlainAttention(nn.Module):
    """Attention from any queries to all patches.

    Parameters
    ----------
    config : ModelConfig
        Width, heads, offset groups (of the zero offsets that are returned) and dropout.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.groups = config.offset_groups
        self.attend = MultiHeadAttention(config.width, config.heads, config.head_dim, config.dropout)

    def forward(
        self,
        queries: Tensor,
        patches: Tensor,
        query_mask: Tensor | None = None,
        need_attention: bool = False,
    ) -> DeformableOutput:
        """Attend from `queries` (B, Q, c) to `patches` (B, N, c), N = n x n cells.

        Parameters
        ----------
        queries, patches : Tensor
            See above.
        query_mask : Tensor, optional
            Ignored: queries move no points.
        need_attention : bool
            Return the attention matrix (B, heads, Q, N) too. Without it, memory does not grow with Q x N.

        Returns
        -------
        DeformableOutput
            Its keys are the map's cells, its offsets (B, groups, n, n, 2) are zero.
        """
        B, N, _ = patches.shape
        n = map_side(N, "patch tokens")
        tokens, attention = self.attend(queries, patches, need_attention=need_attention)
        return DeformableOutput(tokens, attention, patches.new_zeros(()).expand(B, self.groups, n, n, 2))


def attention_to_patches(config: ModelConfig) -> DeformableAttention | PlainAttention:
    """Return the attention that `config.attention` names."""
    return PlainAttention(config) if config.attention == "plain" else DeformableAttention(config)


def pool_keys(attention: Tensor, side: int) -> Tensor:
    """Add up the attention to a map's cells by the cell of a coarser grid that each lies in.

    Parameters
    ----------
    attention : Tensor
        (B, heads, Q, n x n), rows summing to one.
    side : int
        Of the coarser grid, at most n.

    Returns
    -------
    Tensor
        (B, heads, Q, side x side), rows summing to one.
    """
    n = round(attention.shape[-1] ** 0.5)
    # integer arithmetic: floor((i + 1/2) side / n), the coarse cell that the centre of cell i lies in
    coarse = (2 * torch.arange(n, device=attention.device) + 1) * side // (2 * n)
    members = nn.functional.one_hot(coarse, side).to(attention.dtype)  # (n, side)
    grid = attention.unflatten(-1, (n, n))
    return torch.einsum("bhqyx,yk,xl->bhqkl", grid, members, members).flatten(-2)
