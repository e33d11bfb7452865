"""CMTA: two parallel encoder-decoders that translate each modality into the other.

Zhou, Chen: Cross-Modal Translation and Alignment for Survival Analysis, ICCV 2023. Encoders give class tokens p and g and tokens P and G;
P attends to G and G to P (cross-modal attention); decoders turn the results into class tokens p' and g'; the alignment
loss |p' - stop(p)| + |g' - stop(g)| draws them to the encoders' class tokens; [(p + p') / 2, (g + g') / 2] is classified.

Layers, heads and losses are those of the public code. Deviations: width 128 instead of 256; dropout 0.1 everywhere (0.25 in the code's gene
networks); for the genes, exact attention and no convolution of the values, whose window would span all of the few tokens in a
meaningless order; SELU, as in self-normalising networks, instead of ELU; the patch tokens of all models; the groups
(:mod:`pathduet.models.baselines.gene_groups`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pathduet.models.baselines.gene_group_tokens import GeneGroupTokens
from pathduet.models.baselines.gene_groups import group_positions
from pathduet.models.baselines.transmil import TransMilBody, TransMilConfig
from pathduet.models.inputs import Answer, Bag, BagConfig, Inputs, NetworkSizes
from pathduet.models.method.attention import MultiHeadAttention


@dataclass(frozen=True)
class CmtaConfig(BagConfig):
    """Sizes of CMTA.

    Attributes
    ----------
    width : int
        Width of a token.
    heads, head_dim : int
        Attention heads of the encoders and decoders, and the width of each. Cross-modal attention has one head.
    landmarks, iterations : int
        Settings of the Nystroem attention over tiles.
    gene_layers : int
        Layers of the gene encoder and of the gene decoder.
    alignment : float
        Weight of the alignment loss.
    dropout : float
        Dropout after attention and in the genes' networks, in [0, 1).
    gene_groups : mapping or str, optional
        Symbols by group; the shipped groups by default. In a configuration also a file (.gmt, .csv, .tsv), or ``chunks``: six
        contiguous parts of the gene list, as in the public code of the method.
    """

    width: int = 128
    heads: int = 8
    head_dim: int = 16
    landmarks: int = 64
    iterations: int = 6
    gene_layers: int = 2
    alignment: float = 1.0
    dropout: float = 0.1
    gene_groups: Mapping[str, tuple[str, ...]] | str | None = None

    def __post_init__(self) -> None:
        if not self.alignment >= 0:
            raise ValueError(f"alignment is {self.alignment}; it must not be negative")


class GeneBody(nn.Module):
    """A class token in front of a few tokens, layers of x + attention(LayerNorm(x)), LayerNorm."""

    def __init__(self, config: CmtaConfig) -> None:
        super().__init__()
        c = config.width
        self.class_token = nn.Parameter(nn.init.normal_(torch.empty(1, 1, c), std=c**-0.5))
        self.norms = nn.ModuleList(nn.LayerNorm(c) for _ in range(config.gene_layers))
        self.layers = nn.ModuleList(
            MultiHeadAttention(c, config.heads, config.head_dim, config.dropout)
            for _ in range(config.gene_layers)
        )
        self.norm = nn.LayerNorm(c)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class token (B, c) and the tokens (B, G, c)."""
        sequence = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            normed = norm(sequence)
            mixed, _ = layer(normed, normed)
            sequence = sequence + mixed
        sequence = self.norm(sequence)
        return sequence[:, 0], sequence[:, 1:]


class Cmta(nn.Module):
    """Encoders, cross-modal attention, decoders, then two dense layers and a linear classifier."""

    def __init__(self, sizes: NetworkSizes, config: CmtaConfig) -> None:
        super().__init__()
        c = config.width
        self.alignment = config.alignment
        self.bag = Bag(sizes.feature_dim, c, config.magnifications, config.patch_start)
        groups = group_positions(sizes, config.gene_groups)
        self.genes = GeneGroupTokens(groups, c, config.dropout)
        body = TransMilConfig(
            width=c,
            heads=config.heads,
            head_dim=config.head_dim,
            landmarks=config.landmarks,
            iterations=config.iterations,
            dropout=config.dropout,
        )
        self.histology_encoder, self.histology_decoder = TransMilBody(body), TransMilBody(body)
        self.gene_encoder, self.gene_decoder = GeneBody(config), GeneBody(config)
        self.tiles_ask_genes = nn.MultiheadAttention(c, 1, batch_first=True)
        self.genes_ask_tiles = nn.MultiheadAttention(c, 1, batch_first=True)
        self.fusion = nn.Sequential(nn.Linear(2 * c, c), nn.ReLU(), nn.Linear(c, c), nn.ReLU())
        self.classifier = nn.Linear(c, sizes.outputs)

    def forward(self, inputs: Inputs) -> Answer:
        """Classify slides with expression."""
        maps = len(self.bag.patches)
        histology, tiles = self.histology_encoder(self.bag(inputs.patches), maps)
        genes, groups = self.gene_encoder(self.genes(inputs))
        from_genes, _ = self.tiles_ask_genes(tiles, groups, groups, need_weights=False)
        from_tiles, _ = self.genes_ask_tiles(groups, tiles, tiles, need_weights=False)
        translated_histology, _ = self.histology_decoder(from_genes, maps)
        translated_genes, _ = self.gene_decoder(from_tiles)
        sides = [(histology + translated_histology) / 2, (genes + translated_genes) / 2]
        fused = self.fusion(torch.cat(sides, dim=1))
        auxiliary = {}
        if self.training:
            # The encoders' tokens are targets: with gradients, both sides could shrink to agree.
            aligned = F.l1_loss(translated_histology, histology.detach()) + F.l1_loss(
                translated_genes, genes.detach()
            )
            auxiliary["alignment"] = self.alignment * aligned
        return Answer(self.classifier(fused), fused, auxiliary)
