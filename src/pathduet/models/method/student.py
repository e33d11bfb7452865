"""The histology-only student: K prototypes per magnification, one per subspace (stage II).

ITA merges the patch tokens into the prototypes. Each passes through a dense + tanh layer like that at the end of the
teacher's branches, so that both representations live in (-1, 1) and their squared difference is meaningful; the
ordered prototypes are concatenated as the teacher's subspaces are. Without ITA (``aggregation: mean``) the mean of
the patch tokens passes through K such layers, one per subspace: there are no prototypes to tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pathduet.models.method.config import ModelConfig
from pathduet.models.method.patch_tokens import PatchTokens, given
from pathduet.models.method.subspace_order import SubspaceOrder, best_order
from pathduet.models.method.token_aggregation import Aggregation, TokenAggregation


class StudentOutput(NamedTuple):
    """Result of :class:`Student`, each a dictionary by magnification (``10x``, ``20x``, or the one that is read).

    Attributes
    ----------
    logits : dict
        (B, outputs) of each expert: class logits, logits of the hazards per survival interval, or a number.
    representation : dict
        (B, K c), X_R: the subspaces' prototypes in their order.
    prototypes : dict
        (B, K, c), in the clustering's order; without ITA the parts of `representation`.
    scores : dict
        (B, K, K), how well each prototype in that order (rows) matches each subspace (columns); see
        :mod:`pathduet.models.method.subspace_order`. Zeros where no order is learned.
    order : dict
        (B, K), which of these prototypes belongs to each subspace.
    aggregation : dict
        :class:`Aggregation` with the tokens' assignment to these prototypes; empty without ITA.
    """

    logits: dict[str, Tensor]
    representation: dict[str, Tensor]
    prototypes: dict[str, Tensor]
    scores: dict[str, Tensor]
    order: dict[str, Tensor]
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
        Classes, survival intervals, or 1.
    """

    def __init__(self, config: ModelConfig, feature_dim: int, outputs: int) -> None:
        super().__init__()
        self.config = config
        c, count = config.width, len(config.subspaces)
        self.patches = nn.ModuleDict({m: PatchTokens(feature_dim, c) for m in config.experts})
        #: Whether the prototypes' order is learned.
        self.learns_order = config.aggregation == "ita" and count > 1
        if config.aggregation == "ita":
            self.aggregation = nn.ModuleDict({m: TokenAggregation(config) for m in config.experts})
            self.dense = nn.ModuleDict({m: nn.Linear(c, c) for m in config.experts})
        else:
            self.halves = nn.ModuleDict({m: nn.Linear(c, count * c) for m in config.experts})
        if self.learns_order:
            self.order = nn.ModuleDict({m: SubspaceOrder(c, count) for m in config.experts})
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.ModuleDict({m: nn.Linear(count * c, outputs) for m in config.experts})

    def patch_tokens(self, magnification: str) -> PatchTokens:
        """Return the block that turns a magnification's features into tokens."""
        block = self.patches[magnification]
        assert isinstance(block, PatchTokens)
        return block

    def scorer(self, magnification: str) -> Tensor:
        """Return the weight (K - 1, c) that scores a prototype for each subspace but the last."""
        order = self.order[magnification]
        assert isinstance(order, SubspaceOrder)
        return order.score.weight

    @torch.no_grad()
    def reorder(self, magnification: str, order: Sequence[int]) -> None:
        """Assign to subspace k the prototype of subspace ``order[k]``; the student's predictions do not change."""
        classifier, scorer = self.classifier[magnification], self.scorer(magnification)
        assert isinstance(classifier, nn.Linear)
        scores = nn.functional.pad(scorer, (0, 0, 0, 1))[list(order)]
        scorer.copy_(scores[:-1] - scores[-1])
        blocks = classifier.weight.unflatten(1, (len(order), -1))
        classifier.weight.copy_(blocks[:, list(order)].flatten(1))

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
            (B,) how often a patch occurs among the tokens; see :class:`TokenAggregation`.
        order_from_task : bool
            Whether the task's gradient teaches the order of the prototypes (no teacher) or not (a teacher does).

        Raises
        ------
        ValueError
            If a magnification that is read is not given, or N is not a square number.
        """
        features = {"10x": patches_10x, "20x": patches_20x}
        repeats = {"10x": repeats_10x, "20x": repeats_20x}
        logits, representation, prototypes, scores, order = {}, {}, {}, {}, {}
        aggregation: dict[str, Aggregation] = {}
        count = len(self.config.subspaces)
        for m in self.config.experts:
            tokens = self.patches[m](given(features, m))
            if self.config.aggregation == "mean":
                prototypes[m] = torch.tanh(self.halves[m](tokens.mean(dim=1))).unflatten(1, (count, -1))
            else:
                aggregation[m] = self.aggregation[m](tokens, repeats[m])
                prototypes[m] = torch.tanh(self.dense[m](aggregation[m].prototypes))  # (B, K, c)
            ordered, scores[m] = prototypes[m], tokens.new_zeros(len(tokens), count, count)
            if self.learns_order:
                ordered, scores[m] = self.order[m](prototypes[m], through_task=order_from_task)
            order[m] = best_order(scores[m])
            representation[m] = ordered.flatten(1)  # (B, K c)
            logits[m] = self.classifier[m](self.dropout(representation[m]))
        return StudentOutput(logits, representation, prototypes, scores, order, aggregation)
