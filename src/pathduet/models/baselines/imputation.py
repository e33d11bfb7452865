"""Models that learn from slides and expression and predict from slides alone, by imputing the gene vector.

ABMIL gives a slide vector s, an SNN a gene vector g. An imputer predicts g from s; the classifier reads [s, imputed g]
in training and prediction alike, so the imputer learns from the task, also on slides without expression. On slides with
expression, the classifier reads [s, g] too, which trains the SNN, and the reconstruction loss draws the imputed vector to g.
Evaluation does not read the expression.

The target g is detached: learning from the reconstruction, it could become constant, which is easy to impute.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pathduet.models.baselines.abmil import GatedAttention
from pathduet.models.baselines.late_fusion import LateFusionConfig
from pathduet.models.inputs import Answer, Bag, Inputs, NetworkSizes
from pathduet.models.method.gene_vectors import gene_counts, gene_vectors
from pathduet.models.snn import SnnConfig, SnnEncoder


@dataclass(frozen=True)
class ImputationConfig(LateFusionConfig):
    """Sizes of a model that imputes: those of ABMIL and the SNN, and the imputation's.

    Attributes
    ----------
    reconstruction : float
        Weight of the reconstruction loss.
    """

    reconstruction: float = 1.0

    def __post_init__(self) -> None:
        if not self.reconstruction >= 0:
            raise ValueError(f"reconstruction is {self.reconstruction}; it must not be negative")


class Imputer(nn.Module):
    """Interface of an imputer."""

    def forward(self, slide: Tensor) -> Tensor:
        """Return the imputed gene vector (B, c) of slide vectors (B, c)."""
        raise NotImplementedError

    def reconstruction_loss(self, slide: Tensor, genes: Tensor) -> Tensor:
        """Return the loss of slides whose gene vectors (B, c) are known; the gene vectors get no gradient."""
        raise NotImplementedError


class ImputingModel(nn.Module):
    """ABMIL, SNN, an imputer and one linear classifier.

    Parameters
    ----------
    sizes : NetworkSizes
        Sizes of data and task.
    config : ImputationConfig
        The model's own sizes.
    imputer : Imputer
        Imputer of vectors as wide as `config.width`.
    """

    def __init__(self, sizes: NetworkSizes, config: ImputationConfig, imputer: Imputer) -> None:
        super().__init__()
        self.gene_input, self.weight = config.genes, config.reconstruction
        self.bag = Bag(sizes.feature_dim, config.width, config.magnifications, config.patch_start)
        self.attention = GatedAttention(config.width, config.attention_width)
        snn = SnnConfig((config.gene_hidden, config.width), config.dropout)
        self.snn = SnnEncoder(gene_counts(sizes, config.genes), snn)
        self.imputer = imputer
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * config.width, sizes.outputs)

    def forward(self, inputs: Inputs) -> Answer:
        """Classify slides; the expression is read in training only."""
        slide, _ = self.attention(self.bag(inputs.patches))
        fused = torch.cat([slide, self.imputer(slide)], dim=1)
        logits = self.classifier(self.dropout(fused))
        if not self.training:
            return Answer(logits, fused)
        genes = self.snn(gene_vectors(inputs, self.gene_input))
        paired = self.classifier(self.dropout(torch.cat([slide, genes], dim=1)))
        known = inputs.has_expression
        loss = logits.new_zeros(())
        if bool(known.any()):
            loss = self.weight * self.imputer.reconstruction_loss(slide[known], genes[known].detach())
        return Answer(logits, fused, {"reconstruction": loss}, paired)
