"""SNN: a self-normalising network on the expression alone.

Klambauer, Unterthiner, Mayr, Hochreiter: Self-Normalizing Neural Networks, NeurIPS 2017. The network is
:mod:`pathduet.models.snn`; this file feeds it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from pathduet.models.inputs import Answer, Inputs, NetworkSizes
from pathduet.models.method.gene_vectors import gene_counts, gene_vectors
from pathduet.models.snn import Snn, SnnConfig


@dataclass(frozen=True)
class GeneSnnConfig:
    """Sizes of the SNN.

    Attributes
    ----------
    genes : str
        A subspace's name: its genes alone; ``concat``: one branch for all; ``parallel``: one branch each.
    hidden : tuple of int
        Width of each hidden layer of a branch.
    dropout : float
        Alpha dropout after each hidden layer, in [0, 1).
    input_dropout : float
        Share of genes set to their training mean while training, in [0, 1).
    """

    genes: str = "concat"
    hidden: tuple[int, ...] = (256, 256)
    dropout: float = 0.25
    input_dropout: float = 0.0


class GeneSnn(nn.Module):
    """An SNN for each gene vector, then a linear classifier."""

    def __init__(self, sizes: NetworkSizes, config: GeneSnnConfig) -> None:
        super().__init__()
        self.genes = config.genes
        snn = SnnConfig(config.hidden, config.dropout, config.input_dropout)
        self.snn = Snn(gene_counts(sizes, config.genes), sizes.outputs, snn)

    def forward(self, inputs: Inputs) -> Answer:
        """Classify patients."""
        representation = self.snn.represent(gene_vectors(inputs, self.genes))
        return Answer(self.snn.head(representation), representation)
