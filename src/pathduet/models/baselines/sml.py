"""SML: subspace fusion with coordinated gradients, the conference version of the paper.

Zhang, Wang, Meng, Tang, Li: Knowledge-driven Subspace Fusion and Gradient Coordination for Multi-modal Learning, MICCAI 2024
(the paper's reference 20), as in its public code: an SNN turns a subspace's genes into a vector, which a linear layer mixes into every patch
token; these are the queries of a deformable attention to the tokens, with a residual; mean, dense, tanh and a projection give the subspace's
vector. A consistency loss makes slides as similar in where a subspace's attention samples as they are in its genes. In the classifier,
:class:`pathduet.training.baseline_objective.BaselineObjective` coordinates the gradients of the subspaces.

Deviations: no position bias in the attention, which takes most of a step (:mod:`pathduet.models.released` has it); queries, keys and values
of all channels rather than one group's; the consistency compares slides in every group of offsets, where the code's reshape mixes slides and
groups; gradients are coordinated by eq. 6, where the code reflects them class by class, by concordance for survival. With two magnifications
in one network (``experts: false``), the subspace's vectors are averaged.
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
    offset_groups, offset_kernel, stride, offset_range_points
        Settings of the deformable attention, as in the method's `model` section.
    gene_hidden : int
        Width of the SNN's first layer.
    similarity : float
        Weight of the consistency loss.
    dropout : float
        Dropout in attention and SNN, in [0, 1).
    """

    width: int = 128
    heads: int = 8
    head_dim: int = 16
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
        """Return the settings of the deformable attention."""
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


def batch_similarity_loss(genes: Tensor, points: Tensor) -> Tensor:
    """Return the squared differences of the batch's similarities, summed over all pairs of slides, per slide.

    Similarities are inner products, each slide's row normalised to length 1 (Tung and Mori: Similarity-Preserving Knowledge Distillation,
    ICCV 2019); those of the points are averaged over the groups. 0 for a batch of one.

    Parameters
    ----------
    genes : Tensor
        (B, c).
    points : Tensor
        (B, groups, p).
    """

    def similarities(x: Tensor) -> Tensor:
        return F.normalize(x @ x.transpose(-2, -1), dim=-1)

    sampled = similarities(points.float().transpose(0, 1)).mean(dim=0)
    return (similarities(genes.float()) - sampled).square().sum() / max(len(genes), 1)


class SubspaceFusion(nn.Module):
    """Fuse one subspace's genes and one magnification's patch tokens into a vector."""

    def __init__(self, config: SmlConfig) -> None:
        super().__init__()
        c = config.width
        self.mix = nn.Linear(2 * c, c)
        self.attention = DeformableAttention(config.deformable())
        self.query_norm, self.norm = nn.LayerNorm(c), nn.LayerNorm(c)
        self.dense, self.projection = nn.Linear(c, c), nn.Linear(c, c)

    def forward(self, genes: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector (B, c) and the sampling points (B, groups, p), in their spacings, of genes (B, c) and tokens (B, N, c), N a square number."""
        N = patches.shape[1]
        mixed = self.mix(torch.cat([patches, genes.unsqueeze(1).expand(-1, N, -1)], dim=-1))
        found = self.attention(self.query_norm(mixed), patches)
        pooled = self.norm(mixed + found.tokens).mean(dim=1)
        side = found.offsets.shape[2]
        cells = torch.arange(side, device=patches.device, dtype=found.offsets.dtype)
        grid = torch.stack(torch.meshgrid(cells, cells, indexing="xy"), dim=-1)  # (side, side, 2)
        points = grid + found.offsets * (side / N**0.5)
        return self.projection(torch.tanh(self.dense(pooled))), points.flatten(2)


class Sml(nn.Module):
    """Genes and histology fused in each subspace, then one linear classifier of all."""

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
        self.fusion = nn.ModuleDict(
            {
                s: nn.ModuleDict({m: SubspaceFusion(config) for m in config.magnifications})
                for s in sizes.genes
            }
        )
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
        known = inputs.has_expression
        parts, losses = [], []
        for s, branch in self.genes.items():
            genes = branch(inputs.genes[s])  # (B, c)
            blocks = self.fusion[s]
            assert isinstance(blocks, nn.ModuleDict)
            vectors, points = zip(*(blocks[m](genes, x) for m, x in tokens.items()), strict=True)
            parts.append(torch.stack(vectors).mean(dim=0))
            if self.training:
                losses += [batch_similarity_loss(genes[known], where[known]) for where in points]
        representation = torch.cat(parts, dim=1)  # (B, K c)
        auxiliary = {"similarity": self.similarity * torch.stack(losses).mean()} if self.training else {}
        return Answer(self.classifier(representation), representation, auxiliary)
