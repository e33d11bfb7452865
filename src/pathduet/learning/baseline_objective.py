"""What every model of the comparison is trained for: the task's loss, and the model's own beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pathduet.learning.config import TrainingConfig
from pathduet.learning.dataset import Batch
from pathduet.learning.objectives import Loss
from pathduet.learning.outcomes import Outcome
from pathduet.models.inputs import Answer, CoordinatedSubspaces


@dataclass
class BaselineObjective:
    """Task loss of the one answer a baseline gives, plus its auxiliary losses; an ``Objective`` for ``trainer.fit``.

    Attributes
    ----------
    outcome : Outcome
        The task.
    config : TrainingConfig
        Optimisation; its weights of the method's own terms are not used here.
    class_weights : Tensor, optional
        (K,).
    """

    outcome: Outcome
    config: TrainingConfig
    class_weights: Tensor | None = None
    _confidence: list[Tensor] = field(default_factory=list)

    def loss(self, model: nn.Module, batch: Batch, epoch: int) -> Loss:
        """Return the loss of a batch."""
        answer: Answer = model(batch)
        logits = answer.logits.float()
        task = self.outcome.loss(logits, batch.label, batch.event, self.class_weights)
        parts = {"task": task, **answer.auxiliary}
        with torch.no_grad():
            probability = self.outcome.probability(logits, batch.label, batch.event)
            if isinstance(model, CoordinatedSubspaces):
                alone = model.subspace_logits(answer.representation.float())
                sums = [self.outcome.probability(x.float(), batch.label, batch.event).sum() for x in alone]
                self._confidence.append(torch.stack(sums))
        return Loss(torch.stack(list(parts.values())).sum(), parts, probability)

    @torch.no_grad()
    def coordinate(self, model: nn.Module) -> float | None:
        """Let a model with subspaces coordinate its gradients; None for all others."""
        if not isinstance(model, CoordinatedSubspaces):
            return None
        confidence = torch.stack(self._confidence).sum(dim=0)
        self._confidence.clear()
        return model.coordinate_gradients(list(confidence))
