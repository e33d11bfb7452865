"""The networks as the authors' public code runs them, for comparison only.

Where that code departs from the paper's equations, these networks follow it:

- genes: a self-normalising network turns a subspace's vector into c numbers, which fill all N positions of the
  query map, so every query is the same;
- attention carries a learned position bias (a small network over log-scaled distances between every query and
  every moved key, as in Swin Transformer V2): most of a step's time and memory;
- the gene vector is added to what its queries find; the subspaces are mixed by a linear layer (2c -> c) before the selection, and the
  selection has a single key, so its softmax is 1 and nothing is selected; two dense layers with tanh end a branch;
- the student's prototypes keep the order of their cluster scores, which has no meaning across slides.

Everything else is the method's: patch tokens, offset network, clustering, pooling, experts. How these networks are trained
(gradients, consistency loss, learning rate) is in `pathduet.training.released`. The public code's heads are 64 wide
(`model.head_dim`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pathduet.models.method.attention import MultiHeadAttention
from pathduet.models.method.config import ModelConfig
from pathduet.models.method.deformable_attention import (
    DeformableOutput,
    OffsetNetwork,
    reference_points,
    sample_map,
)
from pathduet.models.method.fusion import FusionOutput, SubspaceOutput
from pathduet.models.method.gene_tokens import GeneVector
from pathduet.models.method.student import Student
from pathduet.models.method.teacher import Teacher
from pathduet.models.method.token_aggregation import TokenAggregation

#: Switches of the method that these networks do not have, with the only value that they take.
_SWITCHES = {
    "attention": "deformable",
    "offset_input": "queries",
    "gene_input": "tokens",
    "aggregation": "ita",
}


@dataclass(frozen=True)
class ReleasedConfig(ModelConfig):
    """Shape of these networks: the configuration's ``model``, without choices that the public code lacks.

    Attributes
    ----------
    token_order : str
        Always ``raster``, the order in which tiles are listed.
    patch_start : str
        Always ``random``.
    """

    token_order: str = "raster"
    patch_start: str = "random"

    def __post_init__(self) -> None:
        object.__setattr__(self, "token_order", "raster")
        object.__setattr__(self, "patch_start", "random")
        super().__post_init__()
        if self.heads % self.offset_groups:
            raise ValueError(
                f"model.heads {self.heads} is not a multiple of offset_groups {self.offset_groups}, as the released networks need"
            )
        if len(self.subspaces) != 2:
            raise ValueError(f"the released networks have two subspaces, not {len(self.subspaces)}")
        for name, only in _SWITCHES.items():
            if getattr(self, name) != only:
                raise ValueError(
                    f"model.{name} is {getattr(self, name)!r}; the released networks have no such switch: leave it at {only!r}"
                )


class PositionBias(nn.Module):
    """A bias per head from the distance of each query to each key: log scale, two hidden layers.

    Parameters
    ----------
    hidden : int
        Width of the hidden layers.
    outputs : int
        Heads per offset group (the keys of a group are at the same points).
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
        )

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return (B, groups * outputs, Q, S) for points (Q, 2) and (B, groups, S, 2) in map cells."""
        distance = queries.view(1, 1, -1, 1, 2) - keys.unsqueeze(2)  # (B, groups, Q, S, 2)
        bias = self.network(distance.sign() * torch.log1p(distance.abs()))
        return bias.movedim(-1, 2).flatten(1, 2)


class BiasedDeformableAttention(nn.Module):
    """Deformable attention of a map of queries to a map of patches, with :class:`PositionBias`.

    Parameters
    ----------
    config : ModelConfig
        Sizes; `heads` a multiple of `offset_groups`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.stride = config.stride
        self.offsets = OffsetNetwork(
            config.width,
            config.offset_groups,
            config.offset_kernel,
            config.stride,
            config.offset_range_points,
        )
        self.attend = MultiHeadAttention(config.width, config.heads, config.head_dim, config.dropout)
        self.bias = PositionBias(max(config.width // 4, 4), config.heads // config.offset_groups)

    def forward(self, queries: Tensor, patches: Tensor) -> DeformableOutput:
        """Attend from (B, N, c) to (B, N, c), both maps of n x n cells; the attention is always returned."""
        n = round(patches.shape[1] ** 0.5)
        side = max(n // self.stride, 1)
        # the public code's points lie from edge to edge of the map
        offsets = self.offsets(queries, side, n / max(side - 1, 1))  # (B, groups, h, w, 2)
        points = reference_points(side, device=patches.device, dtype=offsets.dtype) + offsets * (2 / n)
        cells = reference_points(n, device=patches.device, dtype=offsets.dtype).flatten(0, 1)
        bias = self.bias(cells * (n / 2), points.flatten(2, 3) * (n / 2))
        tokens, attention = self._attend(queries, sample_map(patches, points), bias)
        return DeformableOutput(tokens, attention, offsets)

    def _attend(self, queries: Tensor, source: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        block = self.attend
        q, k, v = (
            layer(x).unflatten(-1, (block.heads, block.head_dim)).transpose(1, 2)
            for layer, x in ((block.query, queries), (block.key, source), (block.value, source))
        )
        with torch.autocast(queries.device.type, enabled=False):
            scores = (q.float() * block.head_dim**-0.5) @ k.float().transpose(-2, -1)
            attention = (scores + bias.float()).softmax(dim=-1)
        mixed = (attention.to(v.dtype) @ v).transpose(1, 2).flatten(2)
        return block.dropout(block.output(mixed)), attention


class ReleasedFusion(nn.Module):
    """Both branches of one magnification, mixed before the selection."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config.width
        names = config.subspaces
        self.deformation = nn.ModuleDict({s: BiasedDeformableAttention(config) for s in names})
        self.mix = nn.Linear(2 * c, c)
        self.selection = nn.ModuleDict(
            {s: MultiHeadAttention(c, config.heads, config.head_dim, config.dropout) for s in names}
        )
        self.norm = nn.ModuleDict({s: nn.LayerNorm(c) for s in names})
        self.dense = nn.ModuleDict({s: nn.Linear(c, c) for s in names})
        self.last = nn.ModuleDict({s: nn.Sequential(nn.LayerNorm(c), nn.Linear(c, c)) for s in names})

    def forward(
        self,
        patches: Mapping[str, Tensor],
        genes: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        need_selection: bool = False,
        need_attention: bool = True,
    ) -> FusionOutput:
        """Return X_R for patch tokens (B, N, c), as each branch reads them, and gene vectors (B, 1, c); `masks` are not used."""
        deformed = {
            s: block(genes[s].expand(-1, patches[s].shape[1], -1), patches[s])
            for s, block in self.deformation.items()
        }
        both = [genes[s] + found.tokens for s, found in deformed.items()]
        mixed = self.mix(torch.cat(both, dim=-1))  # (B, N, c)
        branches = {}
        for s in deformed:
            selected, selection = self.selection[s](mixed, genes[s], need_attention=need_selection)
            pooled = torch.tanh(self.dense[s](self.norm[s](mixed + selected).mean(dim=1)))
            branches[s] = SubspaceOutput(
                torch.tanh(self.last[s](pooled)), deformed[s].attention, selection, deformed[s].offsets
            )
        return FusionOutput(torch.cat([found.representation for found in branches.values()], dim=1), branches)


class ReleasedTeacher(Teacher):
    """The teacher of the public code; see :class:`Teacher` for parameters and results.

    Its attention to the histology is (B, heads, N, keys): one row per query position, not per gene.
    """

    def __init__(self, config: ModelConfig, feature_dim: int, genes: Mapping[str, int], outputs: int) -> None:
        super().__init__(config, feature_dim, genes, outputs)
        self.genes = nn.ModuleDict(
            {s: GeneVector(genes[s], config.width, config.dropout) for s in config.subspaces}
        )
        self.fusion = nn.ModuleDict({m: ReleasedFusion(config) for m in config.experts})


class ReleasedAggregation(TokenAggregation):
    """ITA with position bias; copies of a patch count as neighbours, clusters are those of the density peaks."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.refinements = 0
        self.deformation = BiasedDeformableAttention(config)

    def neighbor_counts(self, repeats: Tensor | None) -> int | Tensor:
        """Return the configured number, regardless of copies."""
        return self.neighbors


class ReleasedStudent(Student):
    """The student of the public code; see :class:`Student` for parameters and results.

    Its prototypes keep the order of their cluster scores: no order is learned.
    """

    def __init__(self, config: ModelConfig, feature_dim: int, outputs: int) -> None:
        super().__init__(config, feature_dim, outputs)
        self.learns_order = False
        self.aggregation = nn.ModuleDict({m: ReleasedAggregation(config) for m in config.experts})
        del self.order
