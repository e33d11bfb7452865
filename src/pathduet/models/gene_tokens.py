"""Gene tokens: one per gene, LayerNorm(e_i + x_i w_i), laid on a square grid.

The paper only says that expression becomes an h x w x c map. Here each gene i has an identity e_i and
a direction w_i along which its expression x_i moves it. Genes come in co-expression order, so that neighbours on the
grid (row-major) are co-expressed; the grid's last cells are padding, which the mask tells apart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class GeneTokens(nn.Module):
    """Turn the z-scores of one subspace's genes into tokens.

    Parameters
    ----------
    genes : int
        Number of genes G.
    width : int
        Width c of a token.
    """

    mask: Tensor

    def __init__(self, genes: int, width: int) -> None:
        super().__init__()
        if genes < 1:
            raise ValueError("a subspace without genes cannot be modelled")
        self.genes = genes
        self.side = math.isqrt(genes - 1) + 1
        # Small, so that steps of the learning rate's size turn the directions within the first epochs;
        # LayerNorm makes the tokens' size independent of it.
        self.identity = nn.Parameter(torch.randn(genes, width) * 0.02)
        self.direction = nn.Parameter(torch.randn(genes, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.register_buffer("mask", torch.arange(self.side**2) < genes, persistent=False)

    def forward(self, expression: Tensor) -> Tensor:
        """Return tokens (B, side^2, c), zeros in the padding, for expression (B, G)."""
        G = expression.shape[1]
        if self.genes != G:
            raise ValueError(f"{G} genes given to a network made for {self.genes}")
        tokens = self.norm(self.identity + expression.unsqueeze(-1) * self.direction)  # (B, G, c)
        return nn.functional.pad(tokens, (0, 0, 0, self.side**2 - G))
