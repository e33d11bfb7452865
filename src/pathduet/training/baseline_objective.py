"""What every model of the comparison is trained for: the task's loss, and the model's own beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pathduet.losses.cgc import coordinate_classifier, subspace_logits
from pathduet.models.inputs import Answer, CoordinatedSubspaces
from pathduet.training.config import TrainingConfig
from pathduet.training.dataset import Batch
from pathduet.training.objectives import Loss
from pathduet.training.task_targets import TaskTarget


@dataclass
class BaselineObjective:
    """Task loss of the one answer a baseline gives, plus its auxiliary losses; an ``Objective`` for ``trainer.fit``.

    Attributes
    ----------
    target : TaskTarget
        The task.
    config : TrainingConfig
        Optimisation; its weights of the method's own terms are not used here.
    class_weights : Tensor, optional
        (K,).
    """

    target: TaskTarget
    config: TrainingConfig
    class_weights: Tensor | None = None
    _confidence: list[Tensor] = field(default_factory=list)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the loss of a batch."""
        answer: Answer = model(batch)
        logits = answer.logits.float()
        parts = {"task": self.target.loss(logits, batch.observed, self.class_weights)}
        if answer.paired_logits is not None:
            parts["paired"] = self._paired_loss(answer.paired_logits.float(), batch)
        parts |= answer.auxiliary
        with torch.no_grad():
            probability = self.target.probability(logits, batch.observed)
            if isinstance(model, CoordinatedSubspaces):
                classifier = model.subspace_classifier()
                count = len(model.subspaces)
                alone = subspace_logits(
                    answer.representation.float(), classifier.weight, classifier.bias, count
                )
                sums = [self.target.probability(x, batch.observed).sum() for x in alone]
                self._confidence.append(torch.stack(sums))
        return Loss(torch.stack(list(parts.values())).sum(), parts, probability)

    def _paired_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        known = batch.has_expression
        if not bool(known.any()):
            return logits.new_zeros(())
        return self.target.loss(logits[known], batch.observed.of(known), self.class_weights)

    @torch.no_grad()
    def coordinate(self, model: nn.Module) -> float | None:
        """Coordinate the gradients of a model with subspaces (eq. 6 of the paper); None for all others."""
        if not isinstance(model, CoordinatedSubspaces):
            return None
        gradient = model.subspace_classifier().weight.grad  # (outputs, K c)
        assert gradient is not None
        sure = torch.stack(self._confidence).sum(dim=0)
        self._confidence.clear()
        return float(coordinate_classifier(gradient, sure))
