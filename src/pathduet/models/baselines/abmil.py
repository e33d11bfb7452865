"""ABMIL: gated attention over a bag of tiles.

Ilse, Tomczak, Welling: Attention-based Deep Multiple Instance Learning, ICML 2018 (eq. 9).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pathduet.models.inputs import Answer, Bag, BagConfig, Inputs, NetworkSizes


@dataclass(frozen=True)
class AbmilConfig(BagConfig):
    """Sizes of ABMIL.

    Attributes
    ----------
    width : int
        Width of a tile's token.
    attention_width : int
        Width of the gated attention's hidden layer.
    dropout : float
        Dropout before the classifier, in [0, 1).
    """

    patch_start: str = "random"
    width: int = 128
    attention_width: int = 64
    dropout: float = 0.25


class GatedAttention(nn.Module):
    """Weighted mean of tokens; the weights are a softmax of w (tanh(V h) * sigmoid(U h)), eq. 9.

    Parameters
    ----------
    width : int
        Width of a token.
    hidden : int
        Width of V and U.
    dropout : float
        Dropout of the outputs of V and U, in [0, 1).
    """

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.tanh, self.sigmoid = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)  # the softmax would cancel a bias
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean (B, width) and the weights (B, N) of tokens (B, N, width)."""
        content, gate = torch.tanh(self.tanh(tokens)), torch.sigmoid(self.sigmoid(tokens))
        gated = self.dropout(content) * self.dropout(gate)
        weights = torch.softmax(self.score(gated).squeeze(-1), dim=1)
        return torch.einsum("bn,bnc->bc", weights, tokens), weights


class Abmil(nn.Module):
    """Gated attention over all tiles, then a linear classifier."""

    def __init__(self, sizes: NetworkSizes, config: AbmilConfig) -> None:
        super().__init__()
        self.bag = Bag(sizes.feature_dim, config.width, config.magnifications, config.patch_start)
        self.attention = GatedAttention(config.width, config.attention_width)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.width, sizes.outputs)

    def forward(self, inputs: Inputs) -> Answer:
        """Classify slides."""
        pooled, _ = self.attention(self.bag(inputs.patches))
        return Answer(self.classifier(self.dropout(pooled)), pooled)
