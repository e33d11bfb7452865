"""A subspace's genes as queries: one token per gene, LayerNorm(e_i + x_i w_i), laid on a square grid.

The paper only says that expression becomes an h x w x c map. Here each gene i has an identity e_i and
a direction w_i along which its expression x_i moves it. Genes come in co-expression order, so that neighbours on the
grid (row-major) are co-expressed; the grid's last cells are padding, which the mask excludes. The
alternative for comparison: the whole vector as a single token.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pathduet.models.snn import SnnConfig, snn_branch


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
        self.genes = _counted(genes)
        self.side = math.isqrt(genes - 1) + 1
        # Small, so that steps of the learning rate's size turn the directions within the first epochs;
        # LayerNorm makes the tokens' size independent of it.
        self.identity = nn.Parameter(nn.init.normal_(torch.empty(genes, width), std=0.02))
        self.direction = nn.Parameter(nn.init.normal_(torch.empty(genes, width), std=0.02))
        self.norm = nn.LayerNorm(width)
        mask = torch.ones(self.side**2, dtype=torch.bool)
        mask[genes:] = False
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, expression: Tensor) -> Tensor:
        """Return tokens (B, side^2, c), zeros in the padding, for z-scores (B, G); ValueError for any other number."""
        _check_genes(expression, self.genes)
        tokens = self.norm(self.identity + expression.unsqueeze(-1) * self.direction)  # (B, G, c)
        return nn.functional.pad(tokens, (0, 0, 0, self.side**2 - self.genes))


class GeneVector(nn.Module):
    """A subspace's genes as one token, by a self-normalising network: (B, G) -> (B, 1, c).

    Parameters
    ----------
    genes, width : int
        Number of genes G and width c.
    dropout : float
        Alpha dropout of the network.
    """

    mask: Tensor

    def __init__(self, genes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.genes = _counted(genes)
        self.network = snn_branch(genes, SnnConfig(hidden=(2 * width, width), dropout=dropout))
        self.register_buffer("mask", torch.ones(1, dtype=torch.bool), persistent=False)

    def forward(self, expression: Tensor) -> Tensor:
        """Return (B, 1, c)."""
        _check_genes(expression, self.genes)
        token: Tensor = self.network(expression)
        return token.unsqueeze(1)


def _counted(genes: int) -> int:
    if genes < 1:
        raise ValueError("a subspace without genes cannot be modelled")
    return genes


def _check_genes(expression: Tensor, genes: int) -> None:
    if expression.shape[1] != genes:
        raise ValueError(f"{expression.shape[1]} genes given to a network made for {genes}")
