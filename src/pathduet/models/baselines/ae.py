"""AE: a cross-modal autoencoder imputes the gene vector from the slide vector alone.

Dumpala, Sheikh, Chakraborty, Kopparapu: Audio-visual Fusion for Sentiment Classification using Cross-modal Autoencoder, NeurIPS workshop
2018 (the paper's reference 31): an autoencoder of both modalities' vectors is trained with both, and with one replaced by zeros; it has to
reconstruct both. Unlike in the authors' public code of the method, the imputed vector is used: see
:mod:`pathduet.models.baselines.imputation`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pathduet.models.baselines.imputation import ImputationConfig, Imputer, ImputingModel
from pathduet.models.inputs import NetworkSizes


@dataclass(frozen=True)
class AutoencoderConfig(ImputationConfig):
    """Sizes of AE: those of :class:`~pathduet.models.baselines.imputation.ImputationConfig`, and the autoencoder's.

    Attributes
    ----------
    code : int
        Width of the autoencoder's code.
    """

    patch_start: str = "principal"
    code: int = 64


class AutoencoderImputer(Imputer):
    """[s, g or zeros] -> code -> [s, g].

    Parameters
    ----------
    width : int
        Width of both vectors.
    code : int
        Width of the code.
    """

    def __init__(self, width: int, code: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, code))
        self.decoder = nn.Sequential(nn.Linear(code, width), nn.ReLU(), nn.Linear(width, 2 * width))

    def autoencode(self, slide: Tensor, genes: Tensor) -> Tensor:
        """Return both vectors reconstructed from the code, (B, 2 width)."""
        both: Tensor = self.decoder(self.encoder(torch.cat([slide, genes], dim=1)))
        return both

    def forward(self, slide: Tensor) -> Tensor:
        """Return the imputed gene vector (B, width)."""
        return self.autoencode(slide, torch.zeros_like(slide)).chunk(2, dim=1)[1]

    def reconstruction_loss(self, slide: Tensor, genes: Tensor) -> Tensor:
        """Return the mean squared errors of both vectors, summed over inputs with and without the genes."""
        genes = genes.detach()
        target = torch.cat([slide.detach(), genes], dim=1)
        with_genes = F.mse_loss(self.autoencode(slide, genes), target)
        return with_genes + F.mse_loss(self.autoencode(slide, torch.zeros_like(slide)), target)


def autoencoder_imputation(sizes: NetworkSizes, config: AutoencoderConfig) -> ImputingModel:
    """Return the model AE."""
    return ImputingModel(sizes, config, AutoencoderImputer(config.width, config.code))
