"""Regression of a z-score: the Gaussian likelihood with unit variance, and the divergence of two such predictions.

With one variance for all, minus the log-likelihood is half the squared error, up to a constant. The constant is left out, so
that the density of an exact prediction is 1.
"""

from __future__ import annotations

from torch import Tensor

from pathduet.models.precision import at_least_float32


def log_density(prediction: Tensor, value: Tensor) -> Tensor:
    """Return minus half the squared error, elementwise: at most 0. Half precision is converted to float32."""
    return -(at_least_float32(prediction) - value).square() / 2


def squared_error(prediction: Tensor, value: Tensor) -> Tensor:
    """Return half the squared error, batch mean: the negative log-likelihood up to a constant.

    Parameters
    ----------
    prediction, value : Tensor
        (B,) z-scores.
    """
    return -log_density(prediction, value).mean()


def regression_distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the KL divergence of two Gaussians of unit variance, batch mean: half the squared difference of their means.

    A temperature would change nothing: tau squared times the divergence of means divided by tau is the same.

    Parameters
    ----------
    student, teacher : Tensor
        (B,) predicted z-scores. The teacher's get no gradient.
    """
    return squared_error(student, teacher.detach())
