"""TransMIL: a transformer over all tiles of a slide, with positions read from a square map.

Shao et al.: TransMIL: Transformer based Correlated Multiple Instance Learning for Whole Slide Image Classification, NeurIPS 2021
(algorithm 2): tokens padded to a square by repeating the first ones, a class token in front; Nystroem attention, PPEG,
Nystroem attention; the class token is classified. Layers have no feed-forward part, as in the paper.

Deviations: width 128 instead of 512, as in all models of the comparison; two magnifications in one bag are separately padded and
encoded maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pathduet.models.baselines.nystroem_attention import NystroemAttention
from pathduet.models.inputs import Answer, Bag, BagConfig, Inputs, NetworkSizes


@dataclass(frozen=True)
class TransMilConfig(BagConfig):
    """Sizes of TransMIL.

    Attributes
    ----------
    width : int
        Width of a token.
    heads, head_dim : int
        Attention heads and the width of each.
    landmarks : int
        Landmarks of the Nystroem attention.
    iterations : int
        Iterations of its pseudoinverse.
    dropout : float
        Dropout after each attention, in [0, 1).
    """

    width: int = 128
    heads: int = 8
    head_dim: int = 16
    landmarks: int = 64
    iterations: int = 6
    dropout: float = 0.1


def square_padding(tokens: Tensor) -> Tensor:
    """Return tokens (B, n * n, c) for (B, N, c): the sequence followed by its beginning, n the next square's side."""
    N = tokens.shape[1]
    side = math.isqrt(N - 1) + 1
    return torch.cat([tokens, tokens[:, : side * side - N]], dim=1)


class Ppeg(nn.Module):
    """Pyramid position encoding generator: a map plus three depthwise convolutions of it, kernels 7, 5 and 3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pyramid = nn.ModuleList(
            nn.Conv2d(width, width, k, padding=k // 2, groups=width) for k in (7, 5, 3)
        )

    def forward(self, tokens: Tensor, maps: int = 1) -> Tensor:
        """Return (B, 1 + maps * n * n, width), each map encoded separately; the class token in front is unchanged."""
        encoded = []
        for square in tokens[:, 1:].chunk(maps, dim=1):
            side = math.isqrt(square.shape[1])
            grid = square.transpose(1, 2).unflatten(2, (side, side))
            mixed = grid + sum(convolution(grid) for convolution in self.pyramid)
            encoded.append(mixed.flatten(2).transpose(1, 2))
        return torch.cat([tokens[:, :1], *encoded], dim=1)


class AttentionLayer(nn.Module):
    """x + attention(LayerNorm(x))."""

    def __init__(self, config: TransMilConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.attention = NystroemAttention(
            config.width,
            config.heads,
            config.head_dim,
            config.landmarks,
            config.iterations,
            dropout=config.dropout,
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, N, width)."""
        mixed: Tensor = tokens + self.attention(self.norm(tokens))
        return mixed


class TransMilBody(nn.Module):
    """Square padding, class token, attention, PPEG, attention, LayerNorm."""

    def __init__(self, config: TransMilConfig) -> None:
        super().__init__()
        self.class_token = nn.Parameter(
            nn.init.normal_(torch.empty(1, 1, config.width), std=config.width**-0.5)
        )
        self.first, self.second = AttentionLayer(config), AttentionLayer(config)
        self.positions = Ppeg(config.width)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor, maps: int = 1) -> tuple[Tensor, Tensor]:
        """Return the class token (B, width) and the tokens (B, maps * n * n, width) of all maps, padding included."""
        squares = [square_padding(part) for part in tokens.chunk(maps, dim=1)]
        sequence = torch.cat([self.class_token.expand(len(tokens), -1, -1), *squares], dim=1)
        sequence = self.norm(self.second(self.positions(self.first(sequence), maps)))
        return sequence[:, 0], sequence[:, 1:]


class TransMil(nn.Module):
    """:class:`TransMilBody` on all tiles, then a linear classifier of the class token."""

    def __init__(self, sizes: NetworkSizes, config: TransMilConfig) -> None:
        super().__init__()
        self.bag = Bag(sizes.feature_dim, config.width, config.magnifications, config.patch_start)
        self.body = TransMilBody(config)
        self.classifier = nn.Linear(config.width, sizes.outputs)

    def forward(self, inputs: Inputs) -> Answer:
        """Classify slides."""
        representation, _ = self.body(self.bag(inputs.patches), len(self.bag.patches))
        return Answer(self.classifier(representation), representation)
