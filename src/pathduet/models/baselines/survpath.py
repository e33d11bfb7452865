"""SurvPath: pathway tokens attend to each other and to the tiles, tiles to the pathways alone.

Jaume et al.: Modeling Dense Multimodal Interactions between Biological Pathways and Histology for Survival Prediction, CVPR 2024
(section 3.3): without attention among tiles the cost grows with their number, not its square. As in the public code, one head of
half the width, no residual; feed-forward, LayerNorm, the mean over each modality's tokens, concatenation, two dense layers.

Deviations: width 128 instead of 256; SELU, as in self-normalising networks, instead of ELU; the patch tokens of all models; the shipped
groups of genes (:mod:`pathduet.models.baselines.gene_groups`) instead of 331 pathways, which `gene_groups` can read from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pathduet.models.baselines.gene_group_tokens import GeneGroupTokens
from pathduet.models.baselines.gene_groups import group_positions
from pathduet.models.inputs import Answer, Bag, BagConfig, Inputs, NetworkSizes


@dataclass(frozen=True)
class SurvPathConfig(BagConfig):
    """Sizes of SurvPath.

    Attributes
    ----------
    width : int
        Width of a token; queries, keys and values have half of it.
    dropout : float
        Dropout in the pathways' networks and the feed-forward layer, in [0, 1).
    gene_groups : mapping or str, optional
        Symbols by pathway; the shipped groups by default. In a configuration also a file (.gmt, .csv, .tsv), or ``chunks``: six
        contiguous parts of the gene list.
    """

    width: int = 128
    dropout: float = 0.1
    gene_groups: Mapping[str, tuple[str, ...]] | str | None = None


class PathwayAttention(nn.Module):
    """One head of attention over pathways and histology.

    Parameters
    ----------
    width : int
        Width of a token; queries, keys, values and the result have half of it.
    among_histology : bool
        Whether the histology's tokens also attend to each other; else to the pathways alone (SurvPath).
    """

    def __init__(self, width: int, among_histology: bool) -> None:
        super().__init__()
        self.among_histology = among_histology
        self.norm = nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * (width // 2), bias=False)

    def forward(self, pathways: Tensor, histology: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, P, width / 2) and (B, N, width / 2) of pathways (B, P, width) and histology (B, N, width)."""
        count = pathways.shape[1]
        tokens = self.norm(torch.cat([pathways, histology], dim=1))
        queries, keys, values = self.projections(tokens).chunk(3, dim=-1)
        attend = F.scaled_dot_product_attention
        if self.among_histology:
            mixed = attend(queries, keys, values)
            return mixed[:, :count], mixed[:, count:]
        return attend(queries[:, :count], keys, values), attend(
            queries[:, count:], keys[:, :count], values[:, :count]
        )


def feed_forward(width: int, dropout: float) -> nn.Sequential:
    """Return LayerNorm and two dense layers with GELU and dropout between them, no residual."""
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
    )


class SurvPath(nn.Module):
    """Attention over pathways and tiles, mean of each, two dense layers."""

    def __init__(self, sizes: NetworkSizes, config: SurvPathConfig) -> None:
        super().__init__()
        c = config.width
        self.bag = Bag(sizes.feature_dim, c, config.magnifications, config.patch_start)
        self.genes = GeneGroupTokens(group_positions(sizes, config.gene_groups), c, config.dropout)
        self.attention = PathwayAttention(c, among_histology=False)
        self.dense = nn.Sequential(feed_forward(c // 2, config.dropout), nn.LayerNorm(c // 2))
        self.head = nn.Sequential(nn.Linear(2 * (c // 2), c // 4), nn.ReLU())
        self.classifier = nn.Linear(c // 4, sizes.outputs)

    def forward(self, inputs: Inputs) -> Answer:
        """Classify slides with expression."""
        mixed = self.attention(self.genes(inputs), self.bag(inputs.patches))
        representation = self.head(torch.cat([self.dense(x).mean(dim=1) for x in mixed], dim=1))
        return Answer(self.classifier(representation), representation)
