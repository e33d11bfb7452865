"""SML: subspace fusion with coordinated gradients, the conference version of the paper.

Zhang, Wang, Meng, Tang, Li: Knowledge-driven Subspace Fusion and Gradient Coordination for Multi-modal Learning, MICCAI 2024
(the paper's reference 20). Each subspace's genes query the histology through deformable attention; a gene-guided
consistency loss makes slides as alike in a subspace's histology as their genes are; the gradients of the subspaces are
coordinated in the classifier (:class:`pathduet.training.baseline_objective.BaselineObjective` does that).

Against the teacher of this package it has no gene tokens, no selection among genes, no consistency between magnifications and no experts.
Choices where the description at hand is silent: a subspace's genes become a vector by an SNN; the queries are that vector plus a learned
embedding for each cell of a small grid, so that they differ; the consistency compares the cosine similarities of all pairs of the
batch (similarity-preserving distillation, Tung and Mori, ICCV 2019), the genes' being the target; two magnifications are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pathduet.models.inputs import Answer, BagConfig, Inputs, NetworkSizes
from pathduet.models.method.config import ModelConfig
from pathduet.models.method.deformable_attention import DeformableAttention
from pathduet.models.method.patch_tokens import PatchTokens
from pathduet.models.snn import SnnConfig, snn_branch


@dataclass(frozen=True)
class SmlConfig(BagConfig):
    """Sizes of SML.

    Attributes
    ----------
    width : int
        Width of a token.
    heads, head_dim : int
        Attention heads and the width of each.
    queries : int
        Side of the grid of queries.
    offset_groups, offset_kernel, stride, offset_range_points
        Of the deformable attention, as in the method's `model` section.
    gene_hidden : int
        Width of the SNN's first layer.
    similarity : float
        Weight of the batch-similarity loss.
    dropout : float
        In attention, SNN and before the classifier, in [0, 1).
    """

    width: int = 128
    heads: int = 8
    head_dim: int = 16
    queries: int = 6
    offset_groups: int = 8
    offset_kernel: int = 6
    stride: int = 4
    offset_range_points: float = 4.0
    gene_hidden: int = 256
    similarity: float = 1.0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not self.similarity >= 0:
            raise ValueError(f"similarity is {self.similarity}; it must not be negative")
        self.deformable()

    def deformable(self) -> ModelConfig:
        """Return what the deformable attention needs to know."""
        return ModelConfig(
            width=self.width,
            heads=self.heads,
            head_dim=self.head_dim,
            offset_groups=self.offset_groups,
            offset_kernel=self.offset_kernel,
            stride=self.stride,
            offset_range_points=self.offset_range_points,
            dropout=self.dropout,
        )


def batch_similarity_loss(genes: Tensor, histology: Tensor) -> Tensor:
    """Return the mean squared difference of all pairs' cosine similarities, (B, c) each; no gradient to the genes.

    0 for a batch of one: a slide is always like itself.
    """
    first, second = F.normalize(genes.detach().float(), dim=1), F.normalize(histology.float(), dim=1)
    return (first @ first.T - second @ second.T).square().mean()


class SubspaceAttention(nn.Module):
    """Queries made of a gene vector attend to a map of patch tokens; their mean is what they found."""

    def __init__(self, config: SmlConfig) -> None:
        super().__init__()
        self.cells = nn.Parameter(torch.randn(config.queries**2, config.width) * config.width**-0.5)
        self.attention = DeformableAttention(config.deformable())
        self.norm = nn.LayerNorm(config.width)

    def forward(self, genes: Tensor, patches: Tensor) -> Tensor:
        """Return (B, c) from a gene vector (B, c) and patch tokens (B, N, c), N a square number."""
        found = self.attention(genes.unsqueeze(1) + self.cells, patches).tokens  # (B, queries^2, c)
        return self.norm(found).mean(dim=1)


class Sml(nn.Module):
    """Subspaces, each genes and histology, then one linear classifier of all."""

    def __init__(self, sizes: NetworkSizes, config: SmlConfig) -> None:
        super().__init__()
        c = config.width
        self.similarity = config.similarity
        self.patches = nn.ModuleDict(
            {m: PatchTokens(sizes.feature_dim, c, config.patch_start) for m in config.magnifications}
        )
        if not all(sizes.genes.values()):
            raise ValueError("a subspace without genes cannot be modelled")
        snn = SnnConfig((config.gene_hidden, c), config.dropout)
        self.genes = nn.ModuleDict({s: snn_branch(len(genes), snn) for s, genes in sizes.genes.items()})
        self.attention = nn.ModuleDict(
            {
                s: nn.ModuleDict({m: SubspaceAttention(config) for m in config.magnifications})
                for s in sizes.genes
            }
        )
        self.dense = nn.ModuleDict(
            {s: nn.Sequential(nn.LayerNorm(c), nn.Linear(c, c), nn.Tanh()) for s in sizes.genes}
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(len(sizes.genes) * c, sizes.outputs)

    @property
    def subspaces(self) -> tuple[str, ...]:
        """Names of the subspaces, in the order of the representation."""
        return tuple(self.genes)

    def subspace_classifier(self) -> nn.Linear:
        """Return the classifier."""
        return self.classifier

    def forward(self, inputs: Inputs) -> Answer:
        """Classify slides with expression."""
        tokens = {m: block(inputs.patches[m]) for m, block in self.patches.items()}
        parts, losses = [], []
        for s, branch in self.genes.items():
            genes = branch(inputs.genes[s])  # (B, c)
            blocks = self.attention[s]
            assert isinstance(blocks, nn.ModuleDict)
            histology = torch.stack([blocks[m](genes, x) for m, x in tokens.items()]).mean(dim=0)
            parts.append(self.dense[s](genes + histology))
            if self.training:
                known = inputs.has_expression
                losses.append(batch_similarity_loss(genes[known], histology[known]))
        representation = torch.cat(parts, dim=1)  # (B, K c)
        auxiliary = {}
        if self.training:
            known_any = bool(inputs.has_expression.any())
            total = torch.stack(losses).sum() if known_any else representation.new_zeros(())
            auxiliary["similarity"] = self.similarity * total
        return Answer(self.classifier(self.dropout(representation)), representation, auxiliary)
