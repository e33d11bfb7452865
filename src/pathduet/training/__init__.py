"""Training and inference: losses, gradient coordination, the trainer, and runs on earlier steps' artifacts."""

from typing import TYPE_CHECKING, Any

from pathduet.losses.cgc import coordinate_gradients, subspace_logits
from pathduet.losses.dev import cross_scale_similarity, dev_loss
from pathduet.losses.distillation import distillation_loss, hazard_distillation_loss
from pathduet.losses.survival import survival_curve, survival_nll, survival_risk
from pathduet.training.config import TrainingConfig
from pathduet.training.loop import TrainingError, fit
from pathduet.training.model_folder import load_model
from pathduet.training.predict import Predictions, predict_model, write_representations
from pathduet.training.train import train_model

if TYPE_CHECKING:
    from pathduet.cohort.survival_bins import discretize

__all__ = [
    "Predictions",
    "TrainingConfig",
    "TrainingError",
    "coordinate_gradients",
    "cross_scale_similarity",
    "dev_loss",
    "discretize",
    "distillation_loss",
    "fit",
    "hazard_distillation_loss",
    "load_model",
    "predict_model",
    "subspace_logits",
    "survival_curve",
    "survival_nll",
    "survival_risk",
    "train_model",
    "write_representations",
]


def __getattr__(name: str) -> Any:
    if name == "discretize":
        from pathduet.cohort.survival_bins import discretize

        return discretize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
