"""The histology-only student: two prototypes per magnification, one per subspace (stage II).

ITA merges the patch tokens into two prototypes. Each passes the dense + tanh layer that ends the teacher's branches,
so that both representations live in (-1, 1) and their squared difference is meaningful; the ordered
prototypes are concatenated as the teacher's [tumor; TME]. Without ITA (``aggregation: mean``) the mean of the patch
tokens passes two such layers, one a subspace: there are no prototypes to tell apart.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pathduet.models.method.config import ModelConfig
from pathduet.models.method.patch_tokens import PatchTokens, given
from pathduet.models.method.subspace_order import SubspaceOrder
from pathduet.models.method.token_aggregation import Aggregation, TokenAggregation


class StudentOutput(NamedTuple):
    """Result of :class:`Student`, each a dictionary by magnification (``10x``, ``20x``, or the one that is read).

    Attributes
    ----------
    logits : dict
        (B, K) of each expert: class logits, or logits of the hazards per survival interval.
    representation : dict
        (B, 2c), X_R: the tumor prototype, then the TME prototype.
    prototypes : dict
        (B, 2, c), the two as the clustering gave them; without ITA the two halves of `representation`.
    margin : dict
        (B,) score of the first given prototype minus that of the second; at or above 0 the given order stands.
        Without ITA, 0.
    aggregation : dict
        :class:`Aggregation` with the tokens' assignment to the given prototypes; empty without ITA.
    """

    logits: dict[str, Tensor]
    representation: dict[str, Tensor]
    prototypes: dict[str, Tensor]
    margin: dict[str, Tensor]
    aggregation: dict[str, Aggregation]


class Student(nn.Module):
    """ITA at 10x and 20x (or one of them), with a linear classifier each.

    Parameters
    ----------
    config : ModelConfig
        Sizes.
    feature_dim : int
        Numbers per tile.
    outputs : int
        Classes, or survival intervals.
    """

    def __init__(self, config: ModelConfig, feature_dim: int, outputs: int) -> None:
        super().__init__()
        self.config = config
        c = config.width
        self.patches = nn.ModuleDict({m: PatchTokens(feature_dim, c) for m in config.experts})
        #: Whether the prototypes' order is learned.
        self.learns_order = config.aggregation == "ita"
        if config.aggregation == "ita":
            self.aggregation = nn.ModuleDict({m: TokenAggregation(config) for m in config.experts})
            self.dense = nn.ModuleDict({m: nn.Linear(c, c) for m in config.experts})
            self.order = nn.ModuleDict({m: SubspaceOrder(c) for m in config.experts})
        else:
            self.halves = nn.ModuleDict({m: nn.Linear(c, 2 * c) for m in config.experts})
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.ModuleDict({m: nn.Linear(2 * c, outputs) for m in config.experts})

    def patch_tokens(self, magnification: str) -> PatchTokens:
        """Return the block that turns a magnification's features into tokens."""
        block = self.patches[magnification]
        assert isinstance(block, PatchTokens)
        return block

    def scorer(self, magnification: str) -> Tensor:
        """Return the weight (1, c) that rates how tumor-like a magnification's prototypes are."""
        order = self.order[magnification]
        assert isinstance(order, SubspaceOrder)
        return order.score.weight

    @torch.no_grad()
    def exchange(self, magnification: str) -> None:
        """Let the prototype that came second come first; what the student predicts does not change."""
        classifier = self.classifier[magnification]
        assert isinstance(classifier, nn.Linear)
        self.scorer(magnification).neg_()
        classifier.weight.copy_(classifier.weight.roll(self.config.width, dims=1))

    def forward(
        self,
        patches_10x: Tensor | None,
        patches_20x: Tensor | None,
        repeats_10x: Tensor | None = None,
        repeats_20x: Tensor | None = None,
        order_from_task: bool = True,
    ) -> StudentOutput:
        """Classify slides.

        Parameters
        ----------
        patches_10x, patches_20x : Tensor or None
            (B, N, d) features, N = n x n cells of the token map in row-major order; None if the magnification is not
            read.
        repeats_10x, repeats_20x : Tensor, optional
            (B,) how often a patch stands among the tokens; see :class:`TokenAggregation`.
        order_from_task : bool
            Whether the task's gradient teaches the order of the prototypes (no teacher) or not (a teacher does).

        Returns
        -------
        StudentOutput

        Raises
        ------
        ValueError
            If a magnification that is read is not given, or N is no square number.
        """
        features = {"10x": patches_10x, "20x": patches_20x}
        repeats = {"10x": repeats_10x, "20x": repeats_20x}
        logits, representation, prototypes, margin = {}, {}, {}, {}
        aggregation: dict[str, Aggregation] = {}
        for m in self.config.experts:
            tokens = self.patches[m](given(features, m))
            if self.config.aggregation == "mean":
                prototypes[m] = torch.tanh(self.halves[m](tokens.mean(dim=1))).unflatten(1, (2, -1))
                ordered, margin[m] = prototypes[m], tokens.new_zeros(len(tokens))
            else:
                aggregation[m] = self.aggregation[m](tokens, repeats[m])
                prototypes[m] = torch.tanh(self.dense[m](aggregation[m].prototypes))  # (B, 2, c)
                ordered, margin[m] = self.order[m](prototypes[m], through_task=order_from_task)
            representation[m] = ordered.flatten(1)  # (B, 2c)
            logits[m] = self.classifier[m](self.dropout(representation[m]))
        return StudentOutput(logits, representation, prototypes, margin, aggregation)
