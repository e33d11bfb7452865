"""Target of a task: turns outputs into a loss, a probability of the observed outcome, a divergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pathduet.losses.classification import weighted_cross_entropy
from pathduet.losses.distillation import distillation_loss, hazard_distillation_loss
from pathduet.losses.regression import log_density, regression_distillation_loss, squared_error
from pathduet.losses.survival import log_likelihood


class Observed(NamedTuple):
    """Observed outcomes of B samples; each kind of target reads its own part.

    Attributes
    ----------
    label : Tensor
        (B,) int64: class or survival interval.
    event : Tensor
        (B,) float32: 1 if the event was seen, 0 if censored.
    value : Tensor
        (B,) float32: z-score of a regression.
    """

    label: Tensor
    event: Tensor
    value: Tensor

    def of(self, chosen: Tensor) -> Observed:
        """Return some of the samples."""
        return Observed(*(part[chosen] for part in self))


@dataclass(frozen=True)
class ClassTarget:
    """One of several classes. Steps of a scale are treated as classes; only the metrics use their order.

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

    def loss(self, logits: Tensor, observed: Observed, weights: Tensor | None = None) -> Tensor:
        """Return the batch mean of the cross-entropy (eq. 15, 16), each slide weighted by its class."""
        return weighted_cross_entropy(logits, observed.label, weights)

    def probability(self, logits: Tensor, observed: Observed) -> Tensor:
        """Return the probability (B,) of the label."""
        return logits.softmax(dim=-1).gather(1, observed.label.unsqueeze(1)).squeeze(1)

    def averaged(self, experts: Sequence[Tensor]) -> Tensor:
        """Return float64 logits whose probabilities are the mean of the experts'."""
        return torch.stack([x.double().softmax(dim=-1) for x in experts]).mean(dim=0).log()

    def divergence(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return tau^2 KL(teacher || student), batch mean (eq. 13, 14)."""
        return distillation_loss(student, teacher, temperature)

    def to_plain(self) -> dict[str, Any]:
        """Return the entry in model.json."""
        return {"kind": "classification", "classes": list(self.classes)}


@dataclass(frozen=True)
class SurvivalTarget:
    """The event in one of several intervals, possibly censored.

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

    def loss(self, logits: Tensor, observed: Observed, weights: Tensor | None = None) -> Tensor:
        """Return the batch mean of the negative log-likelihood (eq. 17); intervals have no weights."""
        return -log_likelihood(logits, observed.label, observed.event).mean()

    def probability(self, logits: Tensor, observed: Observed) -> Tensor:
        """Return the likelihood (B,) of the outcome: the event in the interval, or survival through it."""
        return log_likelihood(logits, observed.label, observed.event).exp()

    def averaged(self, experts: Sequence[Tensor]) -> Tensor:
        """Return float64 logits whose hazards are the mean of the experts'."""
        return torch.stack([x.double().sigmoid() for x in experts]).mean(dim=0).logit()

    def divergence(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return tau^2 KL(teacher || student) of the hazards, batch mean."""
        return hazard_distillation_loss(student, teacher, temperature)

    def to_plain(self) -> dict[str, Any]:
        """Return the entry in model.json."""
        return {"kind": "survival", "edges_days": list(self.edges)}


@dataclass(frozen=True)
class RegressionTarget:
    """A number. The network predicts its z-score, by this mean and standard deviation.

    Attributes
    ----------
    mean, sd : float
        Mean and standard deviation in the unit of the label.
    """

    mean: float
    sd: float

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return 1

    def loss(self, logits: Tensor, observed: Observed, weights: Tensor | None = None) -> Tensor:
        """Return half the squared error of the z-scores, batch mean; there are no classes to weight."""
        return squared_error(logits.squeeze(1), observed.value)

    def probability(self, logits: Tensor, observed: Observed) -> Tensor:
        """Return the Gaussian density (B,) of the observed z-score around the predicted one, 1 at its top: a confidence for eq. 6."""
        return log_density(logits.squeeze(1), observed.value).exp()

    def averaged(self, experts: Sequence[Tensor]) -> Tensor:
        """Return the mean of the experts' z-scores, float64."""
        return torch.stack([x.double() for x in experts]).mean(dim=0)

    def divergence(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Return half the squared difference of the predictions, batch mean; temperature has no effect."""
        return regression_distillation_loss(student.squeeze(1), teacher.squeeze(1))

    def to_plain(self) -> dict[str, Any]:
        """Return the entry in model.json."""
        return {"kind": "regression", **asdict(self)}


TaskTarget = ClassTarget | SurvivalTarget | RegressionTarget


def target_of(plain: Mapping[str, Any]) -> TaskTarget:
    """Undo a target's ``to_plain``."""
    if plain["kind"] == "classification":
        return ClassTarget(tuple(plain["classes"]))
    if plain["kind"] == "survival":
        return SurvivalTarget(tuple(plain["edges_days"]))
    return RegressionTarget(plain["mean"], plain["sd"])
