"""Training objective of the models of the comparison: the task's loss plus the model's own losses."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pathduet.losses.cgc import coordinate_classifier, subspace_logits
from pathduet.models.inputs import CoordinatedSubspaces
from pathduet.models.magnification_experts import answers_of, experts_of
from pathduet.training.config import TrainingConfig
from pathduet.training.dataset import Batch
from pathduet.training.objectives import Loss
from pathduet.training.task_targets import TaskTarget


@dataclass
class BaselineObjective:
    """Task loss of a baseline's outputs plus its auxiliary losses; an ``Objective`` for ``loop.fit``.

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
    _confidence: dict[str, list[Tensor]] = field(default_factory=dict)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the loss of a batch, summed over experts."""
        parts: dict[str, Tensor] = {}
        probabilities = []
        experts = experts_of(model)
        for name, answer in answers_of(model(batch)).items():
            logits = answer.logits.float()
            terms = {"task": self.target.loss(logits, batch.observed, self.class_weights)}
            if answer.paired_logits is not None:
                terms["paired"] = self._paired_loss(answer.paired_logits.float(), batch)
            terms |= answer.auxiliary
            parts |= {term: parts[term] + value if term in parts else value for term, value in terms.items()}
            with torch.no_grad():
                probabilities.append(self.target.probability(logits, batch.observed))
                expert = experts[name]
                if isinstance(expert, CoordinatedSubspaces):
                    self._record_confidence(name, expert, answer.representation, batch)
        probability = torch.stack(probabilities).mean(dim=0)
        return Loss(torch.stack(list(parts.values())).sum(), parts, probability)

    def _record_confidence(
        self, name: str, expert: CoordinatedSubspaces, representation: Tensor, batch: Batch
    ) -> None:
        classifier = expert.subspace_classifier()
        count = len(expert.subspaces)
        alone = subspace_logits(representation.float(), classifier.weight, classifier.bias, count)
        sums = [self.target.probability(x, batch.observed).sum() for x in alone]
        self._confidence.setdefault(name, []).append(torch.stack(sums))

    def _paired_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        known = batch.paired
        if not len(known):
            return logits.new_zeros(())
        return self.target.loss(logits[known], batch.observed.of(known), self.class_weights)

    @torch.no_grad()
    def coordinate(self, model: nn.Module) -> Tensor | None:
        """Coordinate the gradients of a model with subspaces (eq. 6 of the paper); None for all others."""
        if not self._confidence:
            return None
        conflicts = []
        for name, expert in experts_of(model).items():
            assert isinstance(expert, CoordinatedSubspaces)
            gradient = expert.subspace_classifier().weight.grad  # (outputs, K c)
            assert gradient is not None
            conflicts.append(coordinate_classifier(gradient, torch.stack(self._confidence[name]).sum(dim=0)))
        self._confidence.clear()
        return torch.stack(conflicts).double().mean()
