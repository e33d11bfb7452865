"""One loss per file; takes logits (slides, outputs) or gradients and returns a scalar, lower = better."""

from pathduet.losses.cgc import coordinate_gradients
from pathduet.losses.class_weights import class_weights
from pathduet.losses.classification import weighted_cross_entropy
from pathduet.losses.dev import cross_scale_similarity, dev_loss
from pathduet.losses.distillation import distillation_loss, hazard_distillation_loss
from pathduet.losses.regression import squared_error
from pathduet.losses.survival import survival_nll, survival_risk

__all__ = [
    "class_weights",
    "coordinate_gradients",
    "cross_scale_similarity",
    "dev_loss",
    "distillation_loss",
    "hazard_distillation_loss",
    "squared_error",
    "survival_nll",
    "survival_risk",
    "weighted_cross_entropy",
]
