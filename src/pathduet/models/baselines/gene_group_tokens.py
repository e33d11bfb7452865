"""One token per group of genes, each from its own self-normalising network (MCAT, section 3.2).

Chen et al.: Multimodal Co-Attention Transformer for Survival Prediction in Gigapixel Whole Slide Images, ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pathduet.models.inputs import Inputs
from pathduet.models.snn import SnnConfig, snn_branch


class GeneGroupTokens(nn.Module):
    """Turn expression into one token per group.

    Parameters
    ----------
    groups : mapping of str to sequence of int
        Positions among the genes of all subspaces, in their order, by group; none empty.
    width : int
        Width of a token, and of the networks' one hidden layer.
    dropout : float
        Alpha dropout, in [0, 1).
    """

    def __init__(self, groups: Mapping[str, Sequence[int]], width: int, dropout: float) -> None:
        super().__init__()
        self.names = tuple(groups)
        config = SnnConfig((width, width), dropout)
        self.branches = nn.ModuleList(snn_branch(len(positions), config) for positions in groups.values())
        for i, positions in enumerate(groups.values()):
            self.register_buffer(f"positions_{i}", torch.tensor(list(positions)), persistent=False)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return (B, groups, width)."""
        genes = torch.cat(list(inputs.genes.values()), dim=1)
        tokens = [
            branch(genes[:, self.get_buffer(f"positions_{i}")]) for i, branch in enumerate(self.branches)
        ]
        return torch.stack(tokens, dim=1)
