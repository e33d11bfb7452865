"""Training settings; recorded with every model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pathduet.cohort.tasks import Task
from pathduet.core.config import default, training_settings

CGC_SCOPES = ("classifier", "shared")


@dataclass(frozen=True)
class TrainingConfig:
    """Optimisation and loss weights.

    Attributes
    ----------
    epochs : int
        Passes over the training part; the last epoch is the model (nothing is chosen on the test part).
    min_steps : int
        Fewest steps: where `epochs` give fewer, more epochs are trained (small cohorts).
    batch_size : int
        Slides per step.
    accumulation : int
        Batches whose gradients are added up for one step of the optimiser.
    learning_rate : float
        Peak of the schedule.
    weight_decay : float
        AdamW's, on matrices only (not on biases and norms).
    warmup_fraction : float
        Share of all steps with a linearly rising learning rate; a cosine to zero follows.
    clip_norm : float
        Largest norm of the whole gradient; 0 = no clipping.
    class_weights : bool
        Weight classes by their inverse frequency among the training slides.
    cgc : bool
        Confidence-guided gradient coordination (eq. 6); teacher only.
    cgc_scope : str
        Whose gradients: ``classifier`` (the subspaces' blocks of each expert's classifier, which share nothing) or ``shared`` (the patch
        tokens' parameters, which all branches share).
    igc : bool
        Inter-magnification consistency, the DEV loss (eq. 7); teacher only.
    lambda_dev : float
        Weight of the DEV loss.
    lambda_level : float
        Weight of 1 - correlation of the two magnifications' attention, which eq. 7 does not have; 0 = without.
    inner_folds : int
        Parts of the training part, by patient: each has a teacher trained without it that predicts it. 0 = the fold's own teacher predicts
        its training slides, whose labels it has memorised; distilled only.
    w_mse, w_kl : float
        Weights of the representation and prediction terms (eq. 18); distilled only.
    w_order : float
        Weight of the loss that teaches the prototypes' order; only the order's scorer learns from it; distilled
        only.
    temperature : float
        tau of eq. 13, on both sides; distilled only.
    seed : int
        Seed of initial weights, batch order and dropout.
    cache_mib : int
        Memory in MiB that may hold features between epochs.
    compile : bool
        Compile the network with ``torch.compile`` before training.
    """

    epochs: int = default("training.epochs")
    min_steps: int = default("training.min_steps")
    batch_size: int = default("training.batch_size")
    accumulation: int = default("training.accumulation")
    learning_rate: float = default("training.learning_rate")
    weight_decay: float = default("training.weight_decay.classification")
    warmup_fraction: float = default("training.warmup_fraction")
    clip_norm: float = default("training.clip_norm")
    class_weights: bool = default("training.class_weights")
    cgc: bool = default("training.teacher.cgc")
    cgc_scope: str = default("training.teacher.cgc_scope")
    igc: bool = default("training.teacher.igc")
    lambda_dev: float = default("training.teacher.lambda_dev")
    lambda_level: float = default("training.teacher.lambda_level")
    inner_folds: int = default("training.distilled.inner_folds")
    w_mse: float = default("training.distilled.w_mse")
    w_kl: float = default("training.distilled.w_kl")
    w_order: float = 0.1
    temperature: float = default("training.distilled.temperature")
    seed: int = default("seed")
    cache_mib: int = default("training.cache_mib")
    compile: bool = default("training.compile")

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"training.{name} is {getattr(self, name)}; it must be above 0")
        for name in (
            "weight_decay", "clip_norm", "lambda_dev", "lambda_level", "w_mse", "w_kl",
            "w_order", "cache_mib", "inner_folds", "min_steps",
        ):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise ValueError(f"training.{name} is {getattr(self, name)}; it must not be negative")
        if self.cgc_scope not in CGC_SCOPES:
            raise ValueError(f"training.cgc_scope is {self.cgc_scope!r}; known: {', '.join(CGC_SCOPES)}")
        if not 0 <= self.warmup_fraction <= 1:
            raise ValueError(f"training.warmup_fraction is {self.warmup_fraction}; it must be in [0, 1]")

    @classmethod
    def start_values(cls, task: Task, role: str, **changes: Any) -> TrainingConfig:
        """Return the defaults for a task and a role (``teacher``, ``student``, ...), with `changes` applied."""
        return cls(**{**training_settings(default("training"), role, task.name, task.kind), **changes})
