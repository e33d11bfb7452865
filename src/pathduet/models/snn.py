"""Self-normalising networks on gene vectors: one for all genes, or one per subspace, fused by an MLP.

Klambauer et al., Self-Normalizing Neural Networks, NeurIPS 2017: SELU activations, alpha dropout, weights drawn
with variance 1 / fan-in, so that activations keep mean 0 and variance 1 from layer to layer. The paper uses it as
its transcriptomic baseline (reference 21), and in three input forms (Fig. 2b): a gene set alone, both
concatenated, both in parallel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class SnnConfig:
    """Sizes of a self-normalising network.

    Attributes
    ----------
    hidden : tuple of int
        Width of each hidden layer of a branch.
    dropout : float
        Alpha dropout after each hidden layer, in [0, 1).
    input_dropout : float
        Share of genes that are set to their training mean (0) while training, in [0, 1).
    """

    hidden: tuple[int, ...] = (256, 256)
    dropout: float = 0.25
    input_dropout: float = 0.0


def _lecun_normal(layer: nn.Linear) -> nn.Linear:
    nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    nn.init.zeros_(layer.bias)
    return layer


def snn_branch(inputs: int, config: SnnConfig) -> nn.Sequential:
    """Return the hidden layers of one gene vector: (B, inputs) -> (B, hidden[-1])."""
    layers: list[nn.Module] = [nn.Dropout(config.input_dropout)] if config.input_dropout else []
    for width in config.hidden:
        layers += [_lecun_normal(nn.Linear(inputs, width)), nn.SELU(), nn.AlphaDropout(config.dropout)]
        inputs = width
    return nn.Sequential(*layers)


class SnnEncoder(nn.Module):
    """One branch per gene vector; several are concatenated and fused by one more SELU layer.

    Parameters
    ----------
    genes : sequence of int
        Length of each input vector; one for a gene set alone or concatenated sets, several for parallel ones.
    config : SnnConfig
        Sizes.
    """

    def __init__(self, genes: Sequence[int], config: SnnConfig) -> None:
        super().__init__()
        if not genes or min(genes) < 1:
            raise ValueError(f"needs at least one gene in each vector, got {list(genes)}")
        self.branches = nn.ModuleList(snn_branch(count, config) for count in genes)
        self.width = config.hidden[-1]
        self.fusion: nn.Module = nn.Identity()
        if len(genes) > 1:
            joined = _lecun_normal(nn.Linear(self.width * len(genes), self.width))
            self.fusion = nn.Sequential(joined, nn.SELU(), nn.AlphaDropout(config.dropout))

    def represent(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return (B, hidden[-1]) from one (B, genes) tensor per branch."""
        if len(vectors) != len(self.branches):
            raise ValueError(f"{len(vectors)} gene vectors for {len(self.branches)} branches")
        hidden = [branch(vector) for branch, vector in zip(self.branches, vectors)]
        fused: Tensor = self.fusion(torch.cat(hidden, dim=1))
        return fused

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return :meth:`represent`."""
        return self.represent(vectors)


class Snn(SnnEncoder):
    """An :class:`SnnEncoder` with a linear head.

    Parameters
    ----------
    genes : sequence of int
        Length of each input vector.
    outputs : int
        Number of logits.
    config : SnnConfig
        Sizes.
    """

    def __init__(self, genes: Sequence[int], outputs: int, config: SnnConfig) -> None:
        super().__init__(genes, config)
        self.head = _lecun_normal(nn.Linear(self.width, outputs))

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return logits (B, outputs) from one (B, genes) tensor per branch."""
        logits: Tensor = self.head(self.represent(vectors))
        return logits
