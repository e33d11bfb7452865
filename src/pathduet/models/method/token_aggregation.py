"""Informative token aggregation (ITA): equations 8 to 12 of the paper.

Patches attend to deformably sampled patches, the informative tokens are clustered around density peaks, and each
cluster is merged into one prototype. Residual and LayerNorm follow the attention: the normalised tokens
are clustered and merged.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pathduet.models.method.config import ModelConfig
from pathduet.models.method.dpc_knn import dpc_knn, merge_tokens, refine_clusters
from pathduet.models.method.plain_attention import attention_to_patches


class Aggregation(NamedTuple):
    """Result of :class:`TokenAggregation`.

    Attributes
    ----------
    prototypes : Tensor
        (B, K, c); eq. 12, in the order of the cluster centres' scores.
    assignment : Tensor
        (B, N); the prototype that each token was merged into.
    centers : Tensor
        (B, K); token index of each cluster's centre.
    weights : Tensor
        (B, N); significance of each token, relative to the highest of its cluster, in (0, 1].
    """

    prototypes: Tensor
    assignment: Tensor
    centers: Tensor
    weights: Tensor


class TokenAggregation(nn.Module):
    """Aggregate the patch tokens of a slide into K prototypes.

    Parameters
    ----------
    config : ModelConfig
        Sizes and neighbours.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.prototypes, self.neighbors = len(config.subspaces), config.neighbors
        self.refinements = config.refinements
        self.deformation: nn.Module = attention_to_patches(config)
        self.norm = nn.LayerNorm(config.width)
        self.significance = nn.Linear(config.width, 1)

    def neighbor_counts(self, repeats: Tensor | None) -> int | Tensor:
        """Return the neighbours of eq. 10, multiplied by the copies of a patch."""
        return self.neighbors if repeats is None else self.neighbors * repeats

    def forward(self, patches: Tensor, repeats: Tensor | None = None) -> Aggregation:
        """Aggregate patch tokens (B, N, c).

        Parameters
        ----------
        patches : Tensor
            (B, N, c), N = n x n.
        repeats : Tensor, optional
            (B,) integers: how often each patch of the slide occurs among its tokens, at most. Copies of a patch
            are at distance zero; without this they would be all of its nearest neighbours and eq. 10
            would give every patch of a small slide the same density.

        Raises
        ------
        ValueError
            If N is not a square number, or smaller than the number of prototypes.
        """
        tokens = self.norm(patches + self.deformation(patches, patches).tokens)  # eq. 8-9
        clusters = dpc_knn(tokens, self.prototypes, self.neighbor_counts(repeats))
        assignment = refine_clusters(tokens.detach(), clusters.assignment, clusters.centers, self.refinements)
        log_weights = self.significance(tokens).squeeze(-1)  # (B, N)
        # exp(linear) relative to the cluster's highest: the same shares, and no overflow.
        highest = torch.full(
            (len(tokens), self.prototypes), -torch.inf, dtype=log_weights.dtype, device=tokens.device
        ).scatter_reduce(1, assignment, log_weights.detach(), "amax")
        weights = torch.exp(log_weights - highest.gather(1, assignment))
        prototypes = merge_tokens(tokens, assignment, weights, self.prototypes)  # eq. 12
        return Aggregation(prototypes, assignment, clusters.centers, weights)
