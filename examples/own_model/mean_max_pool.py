"""A network of one's own: mean and maximum over all tiles, then a linear classifier.

Put into the tables by one entry in the configuration (config.yaml beside this file):

    comparison:
      own_models:
        mean_max: {file: examples/own_model/mean_max_pool.py, network: MeanMaxPool, settings: {width: 32}}
"""

from __future__ import annotations

import torch
from torch import nn

from pathduet.models.inputs import Answer, Bag, Inputs, NetworkSizes


class MeanMaxPool(nn.Module):
    """Mean and maximum of the tiles' tokens.

    Parameters
    ----------
    sizes : NetworkSizes
        Of data and task.
    width : int
        Width of a tile's token.
    dropout : float
        Before the classifier, in [0, 1).
    """

    def __init__(self, sizes: NetworkSizes, width: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.bag = Bag(sizes.feature_dim, width, sizes.magnifications)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * width, sizes.outputs)

    def forward(self, inputs: Inputs) -> Answer:
        """Classify slides."""
        tokens = self.bag(inputs.patches)  # (slides, tiles of all magnifications, width)
        pooled = torch.cat([tokens.mean(dim=1), tokens.amax(dim=1)], dim=1)
        return Answer(self.classifier(self.dropout(pooled)), pooled)
