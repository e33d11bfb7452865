"""What a task predicts: how its logits become a loss, a probability of the observed outcome, a divergence."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pathduet.losses.classification import weighted_cross_entropy
from pathduet.losses.distillation import distillation_loss, hazard_distillation_loss
from pathduet.losses.survival import log_likelihood


@dataclass(frozen=True)
class ClassTarget:
    """One of several classes (diagnosis, grading).

    Attributes
    ----------
    classes : tuple of str
        Names, in the order of the logits.
    """

    classes: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """Number of logits."""
        return len(self.classes)

    def loss(self, logits: Tensor, label: Tensor, event: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the batch mean of the cross-entropy (eq. 15, 16), each slide weighted by its class."""
        return weighted_cross_entropy(logits, label, weights)

    def probability(self, logits: Tensor, label: Tensor, event: Tensor) -> Tensor:
        """Return the probability (B,) of the label."""
        return logits.softmax(dim=-1).gather(1, label.unsqueeze(1)).squeeze(1)

    def divergence(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return tau^2 KL(teacher || student), batch mean (eq. 13, 14)."""
        return distillation_loss(student, teacher, temperature)


@dataclass(frozen=True)
class SurvivalTarget:
    """Death in one of several intervals, possibly censored.

    Attributes
    ----------
    edges : tuple of float
        Inner edges of the intervals in days; K intervals have K - 1.
    """

    edges: tuple[float, ...]

    @property
    def outputs(self) -> int:
        """Number of logits."""
        return len(self.edges) + 1

    def loss(self, logits: Tensor, label: Tensor, event: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the batch mean of the negative log-likelihood (eq. 17); intervals have no weights."""
        return -log_likelihood(logits, label, event).mean()

    def probability(self, logits: Tensor, label: Tensor, event: Tensor) -> Tensor:
        """Return the likelihood (B,) of what was observed: death in the interval, or survival through it."""
        return log_likelihood(logits, label, event).exp()

    def divergence(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return tau^2 KL(teacher || student) of the hazards, batch mean."""
        return hazard_distillation_loss(student, teacher, temperature)


TaskTarget = ClassTarget | SurvivalTarget
