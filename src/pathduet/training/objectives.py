"""Training objectives: the losses of both stages (eq. 15-18) and the coordination of their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from pathduet.losses.cgc import any_conflict, coordinate_classifier, coordinate_gradients, subspace_logits
from pathduet.losses.dev import dev_loss, level_loss
from pathduet.models.method.config import MAGNIFICATIONS
from pathduet.models.method.plain_attention import pool_keys
from pathduet.models.method.student import Student
from pathduet.models.method.subspace_order import in_order, optimal_order, order_loss
from pathduet.models.method.teacher import SharedTokens, Teacher, TeacherOutput
from pathduet.training.config import TrainingConfig
from pathduet.training.dataset import Batch
from pathduet.training.task_targets import TaskTarget


class Loss(NamedTuple):
    """One batch's loss.

    Attributes
    ----------
    total : Tensor
        What is minimised.
    parts : dict of str to Tensor
        Its terms as they enter the total, by name.
    probability : Tensor
        (B,) probability of the observed outcome, mean of the two experts.
    """

    total: Tensor
    parts: dict[str, Tensor]
    probability: Tensor


class Objective(Protocol):
    """A loss, and a hook between the backward pass and the optimiser's step."""

    def loss(self, model: nn.Module, batch: Any) -> Loss:
        """Return the loss of a batch."""

    def coordinate(self, model: nn.Module) -> Tensor | None:
        """Change gradients before a step; return the share of magnifications in conflict, None if not checked."""


def teacher_inputs(batch: Batch) -> tuple[Tensor | None, Tensor | None, dict[str, Tensor]]:
    """Return a teacher's inputs: patches at 10x and 20x, then the genes of the subspaces."""
    coarse, fine = (batch.patches.get(m) for m in MAGNIFICATIONS)
    return coarse, fine, batch.genes


def student_inputs(batch: Batch) -> tuple[Tensor | None, ...]:
    """Return a student's inputs: patches at 10x and 20x, then how often they are repeated."""
    return tuple(part.get(m) for part in (batch.patches, batch.repeats) for m in MAGNIFICATIONS)


def _task_loss(
    target: TaskTarget, logits: dict[str, Tensor], batch: Batch, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the sum of the experts' losses and the mean probability of the observed outcomes, over labelled slides.

    Without any, the loss is 0 and there is no probability.
    """
    both = [expert.float() for expert in logits.values()]
    observed, chosen = batch.observed, batch.labelled
    if not len(chosen):
        return torch.stack([x.sum() for x in both]).sum() * 0, both[0].new_zeros(0)
    if len(chosen) < len(batch.label):
        both, observed = [x[chosen] for x in both], observed.of(chosen)
    loss = torch.stack([target.loss(x, observed, weights) for x in both]).sum()
    with torch.no_grad():
        probability = torch.stack([target.probability(x, observed) for x in both]).mean(dim=0)
    return loss, probability


@dataclass
class TeacherObjective:
    """The experts' task losses plus DEV for each subspace (eq. 15-17), with coordinated gradients (eq. 6).

    DEV compares magnifications: a teacher that reads one has no DEV loss, whatever `config.igc` is.

    Attributes
    ----------
    target : TaskTarget
        The task.
    config : TrainingConfig
        Switches and weights.
    class_weights : Tensor, optional
        (K,).
    """

    target: TaskTarget
    config: TrainingConfig
    class_weights: Tensor | None = None
    _confidence: dict[str, list[Tensor]] = field(default_factory=dict)
    _shared: dict[str, list[SharedTokens]] = field(default_factory=dict)
    #: How often a conflicting gradient loses its component along the other, and whether each output's row is coordinated separately.
    projections: ClassVar[int] = 1
    by_row: ClassVar[bool] = False

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the experts' task losses and, with IGC, each subspace's DEV loss."""
        assert isinstance(model, Teacher)
        consistency = self.config.igc and len(model.config.experts) > 1
        apart = self.config.cgc and self.config.cgc_scope == "shared" and model.training
        output = model(*teacher_inputs(batch), need_attention=consistency, apart=apart)
        task, probability = _task_loss(self.target, output.logits, batch, self.class_weights)
        parts = {"task": task}
        if consistency:
            by_subspace = [self._consistency(model, output, s) for s in model.config.subspaces]
            parts |= {
                name: torch.stack([found[name] for found in by_subspace]).sum() for name in by_subspace[0]
            }
        if self.config.cgc:
            self._record_confidence(model, output.representation, batch)
        for m, shared in output.shared.items():
            self._shared.setdefault(m, []).append(shared)
        return Loss(torch.stack(list(parts.values())).sum(), parts, probability)

    def _consistency(self, model: Teacher, output: TeacherOutput, subspace: str) -> dict[str, Tensor]:
        coarse, fine = (output.branches[m][subspace].attention for m in model.config.experts)
        assert coarse is not None and fine is not None
        if model.config.attention == "plain":
            # pooled to cells around the reference points: lambda then means the same as for deformable attention
            side = max(math.isqrt(model.config.tokens) // model.config.stride, 1)
            coarse, fine = pool_keys(coarse, side), pool_keys(fine, side)
        return self.consistency_losses(coarse, fine, model.gene_mask(subspace))

    def consistency_losses(self, coarse: Tensor, fine: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return the loss terms of a subspace's attention (B, heads, G, keys) at the two magnifications, by name."""
        terms = {"dev": dev_loss(coarse, fine, self.config.lambda_dev, mask)}
        if self.config.lambda_level:
            terms["level"] = level_loss(coarse, fine, self.config.lambda_level, mask)
        return terms

    @torch.no_grad()
    def _record_confidence(self, model: Teacher, representation: dict[str, Tensor], batch: Batch) -> None:
        for m in model.config.experts:
            classifier = model.expert(m)
            count = len(model.config.subspaces)
            alone = subspace_logits(representation[m].float(), classifier.weight, classifier.bias, count)
            sums = [self.target.probability(logits, batch.observed).sum() for logits in alone]
            self._confidence.setdefault(m, []).append(torch.stack(sums))

    @torch.no_grad()
    def coordinate(self, model: nn.Module) -> Tensor | None:
        """Apply CGC to the gradients of the experts' classifiers, or of the patch tokens that all branches read."""
        assert isinstance(model, Teacher)
        if not self.config.cgc:
            return None
        conflicts = []
        for m in model.config.experts:
            sure = torch.stack(self._confidence[m]).sum(dim=0)
            if m in self._shared:
                conflicts.append(self._coordinate_shared(model.patch_tokens(m), self._shared[m], sure))
                continue
            gradient = model.expert(m).weight.grad  # (outputs, K c)
            assert gradient is not None
            conflicts.append(coordinate_classifier(gradient, sure, self.projections, self.by_row))
        self._confidence.clear()
        self._shared.clear()
        return torch.stack(conflicts).double().mean()

    def _coordinate_shared(self, block: nn.Module, read: Sequence[SharedTokens], sure: Tensor) -> Tensor:
        """Set a block's gradients to the sum of the branches' coordinated gradients; return whether any two conflicted."""
        parameters = [parameter for parameter in block.parameters() if parameter.requires_grad]
        wanted = []
        for subspace in read[0].read:
            parts = [
                torch.autograd.grad(one.tokens, parameters, one.read[subspace].grad, retain_graph=True)
                for one in read
            ]
            wanted.append(torch.cat([torch.stack(found).sum(dim=0).flatten() for found in zip(*parts)]))
        conflict = any_conflict(wanted)
        wanted = coordinate_gradients(wanted, sure, self.projections)
        whole = torch.stack(wanted).sum(dim=0).split([parameter.numel() for parameter in parameters])
        for parameter, gradient in zip(parameters, whole, strict=True):
            parameter.grad = gradient.view_as(parameter).to(parameter.dtype)
        return conflict


@dataclass
class StudentObjective:
    """The experts' task losses; the prototypes' order is learned through the task."""

    target: TaskTarget
    config: TrainingConfig
    class_weights: Tensor | None = None

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the experts' task losses."""
        assert isinstance(model, Student)
        output = model(*student_inputs(batch))
        task, probability = _task_loss(self.target, output.logits, batch, self.class_weights)
        return Loss(task, {"task": task}, probability)

    def coordinate(self, model: nn.Module) -> Tensor | None:
        """Leave the gradients as they are."""
        return None


class TeacherTargets(NamedTuple):
    """The frozen teacher's outputs for every slide of a dataset, by magnification.

    Attributes
    ----------
    logits : dict
        (n, outputs); zeros where the slide has no expression.
    representation : dict
        (n, K c).
    """

    logits: dict[str, Tensor]
    representation: dict[str, Tensor]


@dataclass
class DistilledObjective:
    """Task loss, MSE to the teacher's X_R and KL to its predictions (eq. 18), and the prototypes' order.

    The scorer of the order learns the optimal assignment of the prototypes to the teacher's subspaces. The MSE is
    computed in the scorer's order, as at inference: under each slide's own optimal assignment, slides
    would settle on different orders for the same tissue, and there would be nothing for the scorer to learn. Slides without expression take part in the task loss only.

    Attributes
    ----------
    target, config, class_weights
        As for the other objectives.
    targets : TeacherTargets
        The teacher's outputs, indexed like the dataset.
    """

    target: TaskTarget
    config: TrainingConfig
    class_weights: Tensor | None
    targets: TeacherTargets

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the experts' task losses and the distances from the teacher's representations and logits."""
        assert isinstance(model, Student)
        output = model(*student_inputs(batch), order_from_task=False)
        task, probability = _task_loss(self.target, output.logits, batch, self.class_weights)
        parts = {"task": task}
        zero = task.new_zeros(())
        parts |= {"mse": zero, "kl": zero, "order": zero}
        taught = batch.paired
        if len(taught):
            rows = batch.index[taught]
            for m in model.config.experts:
                prototypes = output.prototypes[m][taught].float()  # (b, K, c)
                target = self.targets.representation[m][rows].view_as(prototypes)
                distance = (in_order(prototypes, output.order[m][taught]) - target).square()
                divergence = self.target.divergence(
                    output.logits[m][taught].float(), self.targets.logits[m][rows], self.config.temperature
                )
                # mean per slide first: the order of summation affects the result
                parts["mse"] = parts["mse"] + self.config.w_mse * distance.mean(dim=(1, 2)).mean()
                parts["kl"] = parts["kl"] + self.config.w_kl * divergence
                if model.learns_order:
                    wanted = optimal_order(prototypes.detach(), target)
                    order = order_loss(output.scores[m][taught].float(), wanted)
                    parts["order"] = parts["order"] + self.config.w_order * order
        return Loss(torch.stack(list(parts.values())).sum(), parts, probability)

    def coordinate(self, model: nn.Module) -> Tensor | None:
        """Leave the gradients as they are."""
        return None
