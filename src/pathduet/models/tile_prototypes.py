"""Prototypes of the training part's tiles, and a slide's tiles as a mixture of Gaussians around them (PANTHER).

Song et al.: Morphological Prototyping for Unsupervised Slide Representation Learning in Computational Pathology, CVPR 2024.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor, nn


class TilePrototypes(nn.Module):
    """Features (B, N, d) to weight, mean and diagonal variance of each prototype's component, (B, K, 1 + 2 d).

    One step of expectation maximisation from equal weights, the prototypes as means and variance 1. These are also the prior,
    which weighs as much as one tile: a prototype with no tile nearby keeps its place. Nothing is learned by gradients.

    Parameters
    ----------
    features : int
        Numbers per tile, d.
    prototypes : int
        K.
    """

    mean: Tensor
    scale: Tensor
    centres: Tensor

    def __init__(self, features: int, prototypes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("centres", torch.randn(prototypes, features))

    @torch.no_grad()
    def fit(self, tiles: Tensor) -> None:
        """Set mean, standard deviation and k-means centres from the training part's tiles (n, d); fewer tiles than prototypes are repeated."""
        from scipy.cluster.vq import kmeans2

        sd = tiles.std(dim=0)
        self.mean.copy_(tiles.mean(dim=0))
        self.scale.copy_(torch.where(sd > 1e-6, 1 / sd.clamp(min=1e-6), torch.zeros_like(sd)))
        scaled = ((tiles - self.mean) * self.scale).double().numpy()
        scaled = np.resize(scaled, (max(len(scaled), len(self.centres)), scaled.shape[1]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty cluster keeps its centre
            centres, _ = kmeans2(scaled, len(self.centres), 30, minit="++", rng=np.random.default_rng(0))
        self.centres.copy_(torch.from_numpy(centres))

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Return (B, K, 1 + 2 d)."""
        with torch.autocast(features.device.type, enabled=False):
            x = (features.float() - self.mean) * self.scale
            prior = self.centres
            # of the squared distance to each prototype, what differs between them
            shares = (
                (x @ prior.T - prior.square().sum(dim=1) / 2).softmax(dim=-1).transpose(1, 2)
            )  # (B, K, N)
            mass = shares.sum(dim=2, keepdim=True) + 1
            means = (shares @ x + prior) / mass
            variances = (shares @ x.square() + 1 + prior.square()) / mass - means.square()
            return torch.cat([mass / mass.sum(dim=1, keepdim=True), means, variances], dim=2)
