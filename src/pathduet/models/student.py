"""The histology-only student: two prototypes per magnification, one per subspace (stage II).

ITA merges the patch tokens into two prototypes. Each passes the dense + tanh layer that ends the teacher's branches,
so that both representations live in (-1, 1) and their squared difference is meaningful; the ordered
prototypes are concatenated as the teacher's [tumor; TME].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pathduet.models.aggregation import Aggregation, TokenAggregation
from pathduet.models.config import MAGNIFICATIONS, ModelConfig
from pathduet.models.patch_tokens import PatchTokens
from pathduet.models.subspace_order import SubspaceOrder


class StudentOutput(NamedTuple):
    """Result of :class:`Student`, each a dictionary by magnification (``10x``, ``20x``).

    Attributes
    ----------
    logits : dict
        (B, K) of each expert: class logits, or logits of the hazards per survival interval.
    representation : dict
        (B, 2c), X_R: the tumor prototype, then the TME prototype.
    prototypes : dict
        (B, 2, c), the two as the clustering gave them.
    margin : dict
        (B,) score of the first given prototype minus that of the second; at or above 0 the given order stands.
    aggregation : dict
        :class:`Aggregation` with the tokens' assignment to the given prototypes.
    """

    logits: dict[str, Tensor]
    representation: dict[str, Tensor]
    prototypes: dict[str, Tensor]
    margin: dict[str, Tensor]
    aggregation: dict[str, Aggregation]


class Student(nn.Module):
    """ITA at 10x and 20x, with a linear classifier each.

    Parameters
    ----------
    config : ModelConfig
        Sizes.
    feature_dim : int
        Numbers per tile.
    outputs : int
        Classes, or survival intervals.
    """

    #: Whether the prototypes' order is learned.
    learns_order = True

    def __init__(self, config: ModelConfig, feature_dim: int, outputs: int) -> None:
        super().__init__()
        self.config = config
        c = config.width
        self.patches = nn.ModuleDict({m: PatchTokens(feature_dim, c) for m in MAGNIFICATIONS})
        self.aggregation = nn.ModuleDict({m: TokenAggregation(config) for m in MAGNIFICATIONS})
        self.dense = nn.ModuleDict({m: nn.Linear(c, c) for m in MAGNIFICATIONS})
        self.order = nn.ModuleDict({m: SubspaceOrder(c) for m in MAGNIFICATIONS})
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.ModuleDict({m: nn.Linear(2 * c, outputs) for m in MAGNIFICATIONS})

    def patch_tokens(self, magnification: str) -> PatchTokens:
        """Return the block that turns a magnification's features into tokens."""
        block = self.patches[magnification]
        assert isinstance(block, PatchTokens)
        return block

    def forward(
        self,
        patches_10x: Tensor,
        patches_20x: Tensor,
        repeats_10x: Tensor | None = None,
        repeats_20x: Tensor | None = None,
        order_from_task: bool = True,
    ) -> StudentOutput:
        """Classify slides.

        Parameters
        ----------
        patches_10x, patches_20x : Tensor
            (B, N, d) features, N = n x n cells of the token map in row-major order.
        repeats_10x, repeats_20x : Tensor, optional
            (B,) how often a patch stands among the tokens; see :class:`TokenAggregation`.
        order_from_task : bool
            Whether the task's gradient teaches the order of the prototypes (no teacher) or not (a teacher does).
        """
        features = {"10x": (patches_10x, repeats_10x), "20x": (patches_20x, repeats_20x)}
        logits, representation, prototypes, margin, aggregation = {}, {}, {}, {}, {}
        for m in MAGNIFICATIONS:
            patches, repeats = features[m]
            aggregation[m] = self.aggregation[m](self.patches[m](patches), repeats)
            prototypes[m] = torch.tanh(self.dense[m](aggregation[m].prototypes))  # (B, 2, c)
            ordered, margin[m] = self.order[m](prototypes[m], through_task=order_from_task)
            representation[m] = ordered.flatten(1)  # (B, 2c)
            logits[m] = self.classifier[m](self.dropout(representation[m]))
        return StudentOutput(logits, representation, prototypes, margin, aggregation)
