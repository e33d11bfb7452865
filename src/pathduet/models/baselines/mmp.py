"""MMP: morphological prototypes and pathways as a few dozen tokens that all attend to each other.

Song et al.: Multimodal Prototyping for Cancer Survival Prediction, ICML 2024. A slide's tiles become a mixture of Gaussians around
the training tiles' prototypes (k-means), by one step of expectation maximisation with the prototypes as prior; weight, mean and variance of
each component are its token (PANTHER, Song et al., CVPR 2024). Each pathway is a token from its own SNN. As in the public code: a
learned embedding is appended to each token, one head of attention of half the width over all, a feed-forward network for each token, LayerNorm,
the mean over each modality's tokens, concatenation, a linear layer.

Deviations: width 128 instead of 256; features standardised by the training part, so that a prior of variance 1 suits every encoder; the softmax of the histology's rows is taken
once (the code takes part of it twice); SELU, as in self-normalising networks, instead of ELU; the task's loss instead of Cox's; the shipped groups
of genes (:mod:`pathduet.models.baselines.gene_groups`) instead of 50 hallmark sets, which `gene_groups` can read from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from pathduet.models.baselines.gene_group_tokens import GeneGroupTokens
from pathduet.models.baselines.gene_groups import group_positions
from pathduet.models.baselines.survpath import PathwayAttention, feed_forward
from pathduet.models.inputs import Answer, Inputs, NetworkSizes, SlideConfig
from pathduet.models.tile_prototypes import TilePrototypes


@dataclass(frozen=True)
class MmpConfig(SlideConfig):
    """Sizes of MMP.

    Attributes
    ----------
    width : int
        Width of a token, without its embedding.
    embedding : int
        Width of each token's embedding.
    prototypes : int
        Number of prototypes per magnification.
    dropout : float
        Dropout in the pathways' networks and the feed-forward layers, in [0, 1).
    gene_groups : mapping or str, optional
        Symbols by pathway; the shipped groups by default. In a configuration also a file (.gmt, .csv, .tsv), or ``chunks``: six
        contiguous parts of the gene list.
    """

    width: int = 128
    embedding: int = 32
    prototypes: int = 16
    dropout: float = 0.1
    gene_groups: Mapping[str, tuple[str, ...]] | str | None = None


class Mmp(nn.Module):
    """Attention over prototypes and pathways, a network per token, mean of each modality, linear classifier."""

    def __init__(self, sizes: NetworkSizes, config: MmpConfig) -> None:
        super().__init__()
        d, c, width = sizes.feature_dim, config.width, config.width + config.embedding
        self.prototypes = nn.ModuleDict(
            {m: TilePrototypes(d, config.prototypes) for m in config.magnifications}
        )
        self.projections = nn.ModuleDict({m: nn.Linear(2 * d + 1, c) for m in config.magnifications})
        groups = group_positions(sizes, config.gene_groups)
        self.genes = GeneGroupTokens(groups, c, config.dropout)
        self.counts = (len(groups), config.prototypes * len(config.magnifications))
        self.embeddings = nn.Parameter(torch.randn(sum(self.counts), config.embedding))
        self.attention = PathwayAttention(width, among_histology=True)
        half = width // 2
        self.networks = nn.ModuleList(feed_forward(half, config.dropout) for _ in range(sum(self.counts)))
        self.norm = nn.LayerNorm(half)
        self.classifier = nn.Linear(2 * half, sizes.outputs, bias=False)

    def forward(self, inputs: Inputs) -> Answer:
        """Classify slides with expression."""
        histology = torch.cat(
            [project(self.prototypes[m](inputs.patches[m])) for m, project in self.projections.items()], dim=1
        )  # (B, K, c)
        both = [
            torch.cat([x, embedding.expand(len(x), -1, -1)], dim=2)
            for x, embedding in zip(
                (self.genes(inputs), histology), self.embeddings.split(self.counts), strict=True
            )
        ]
        mixed = torch.cat(self.attention(*both), dim=1).unbind(dim=1)
        tokens = torch.stack([network(x) for network, x in zip(self.networks, mixed, strict=True)], dim=1)
        means = [part.mean(dim=1) for part in self.norm(tokens).split(self.counts, dim=1)]
        representation = torch.cat(means, dim=1)
        return Answer(self.classifier(representation), representation)
