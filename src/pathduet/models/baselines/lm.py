"""LM: the gene vector as a linear map of the slide vector.

The paper's baseline "Linear Mapping" (section IV, comparisons; reference 31 for imputation across modalities:
Dumpala, Sheikh, Chakraborty, Kopparapu: Audio-visual Fusion for Sentiment Classification using Cross-modal Autoencoder, NeurIPS
workshop 2018). Unlike in the authors' public code, the imputed vector is used: see
:mod:`pathduet.models.baselines.imputation`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pathduet.models.baselines.imputation import ImputationConfig, Imputer, ImputingModel
from pathduet.models.inputs import NetworkSizes


class LinearImputer(Imputer):
    """g = W s + b."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, slide: Tensor) -> Tensor:
        """Return the imputed gene vector (B, width)."""
        genes: Tensor = self.linear(slide)
        return genes

    def reconstruction_loss(self, slide: Tensor, genes: Tensor) -> Tensor:
        """Return the mean squared error."""
        return F.mse_loss(self(slide), genes.detach())


def linear_mapping(sizes: NetworkSizes, config: ImputationConfig) -> ImputingModel:
    """Return the model LM."""
    return ImputingModel(sizes, config, LinearImputer(config.width))
