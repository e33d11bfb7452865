"""MCAT: groups of genes attend to the tiles, then both sides are read as sets.

Chen et al.: Multimodal Co-Attention Transformer for Survival Prediction in Gigapixel Whole Slide Images, ICCV 2021 (eq. 2 to 5):
genomic-guided co-attention, then for each modality a transformer over the group tokens and gated attention pooling; both
vectors are concatenated.

Proportions, heads and attention are those of the public code. Deviations: width 128 instead of 256; dropout 0.1 instead of 0.25, which
held a narrow network back on the phantom; SELU, as in self-normalising networks, instead of ELU; the patch tokens of all models;
the groups (:mod:`pathduet.models.baselines.gene_groups`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pathduet.models.baselines.abmil import GatedAttention
from pathduet.models.baselines.gene_group_tokens import GeneGroupTokens
from pathduet.models.baselines.gene_groups import group_positions
from pathduet.models.inputs import Answer, Bag, BagConfig, Inputs, NetworkSizes


@dataclass(frozen=True)
class McatConfig(BagConfig):
    """Sizes of MCAT.

    Attributes
    ----------
    width : int
        Width of a token.
    heads : int
        Heads of the set transformers; the co-attention has one, as in the paper.
    layers : int
        Layers of each set transformer.
    dropout : float
        Dropout everywhere, in [0, 1).
    gene_groups : mapping or str, optional
        Symbols by group; the shipped groups by default. In a configuration also a file (.gmt, .csv, .tsv), or ``chunks``: six
        contiguous parts of the gene list, as in the public code of the method.
    """

    width: int = 128
    heads: int = 8
    layers: int = 2
    dropout: float = 0.1
    gene_groups: Mapping[str, tuple[str, ...]] | str | None = None

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")


class SetPooling(nn.Module):
    """A transformer over a set of tokens, gated attention pooling, and a dense layer (eq. 4 and 5)."""

    def __init__(self, config: McatConfig) -> None:
        super().__init__()
        c = config.width
        layer = nn.TransformerEncoderLayer(c, config.heads, 2 * c, config.dropout, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.attention = GatedAttention(c, c, config.dropout)
        self.dense = nn.Sequential(nn.Linear(c, c), nn.ReLU(), nn.Dropout(config.dropout))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, c) from tokens (B, groups, c)."""
        pooled, _ = self.attention(self.transformer(tokens))
        vector: Tensor = self.dense(pooled)
        return vector


class Mcat(nn.Module):
    """Co-attention, set pooling of both modalities, concatenation, two dense layers, linear classifier."""

    def __init__(self, sizes: NetworkSizes, config: McatConfig) -> None:
        super().__init__()
        c = config.width
        self.bag = Bag(sizes.feature_dim, c, config.magnifications, config.patch_start)
        groups = group_positions(sizes, config.gene_groups)
        self.genes = GeneGroupTokens(groups, c, config.dropout)
        self.attention = nn.MultiheadAttention(c, 1, batch_first=True)  # eq. 2
        self.histology_pooling, self.gene_pooling = SetPooling(config), SetPooling(config)
        self.fusion = nn.Sequential(nn.Linear(2 * c, c), nn.ReLU(), nn.Linear(c, c), nn.ReLU())
        self.classifier = nn.Linear(c, sizes.outputs)

    def forward(self, inputs: Inputs) -> Answer:
        """Classify slides with expression."""
        genes = self.genes(inputs)  # (B, groups, c)
        tiles = self.bag(inputs.patches)
        histology, _ = self.attention(genes, tiles, tiles, need_weights=False)  # (B, groups, c)
        vectors = [self.histology_pooling(histology), self.gene_pooling(genes)]
        fused = self.fusion(torch.cat(vectors, dim=1))
        return Answer(self.classifier(fused), fused)
