"""Training of self-normalising networks on gene vectors, by the loop that trains every network here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pathduet.losses.class_weights import class_weights
from pathduet.models.snn import Snn, SnnConfig
from pathduet.training.config import TrainingConfig
from pathduet.training.loop import fit
from pathduet.training.objectives import Loss
from pathduet.training.task_targets import ClassTarget, TaskTarget


@dataclass(frozen=True)
class GeneBatch:
    """Patients stacked: B patients, one tensor (B, genes) a branch."""

    slide_ids: tuple[str, ...]  #: patient ids here; the loop names them in errors
    vectors: tuple[Tensor, ...]
    label: Tensor
    event: Tensor

    def to(self, device: torch.device) -> GeneBatch:
        """Return the batch on another device."""
        moved = tuple(vector.to(device) for vector in self.vectors)
        return GeneBatch(self.slide_ids, moved, self.label.to(device), self.event.to(device))


class GeneItems:
    """Labelled patients with their gene vectors.

    Parameters
    ----------
    patients : sequence of str, length n
    vectors : sequence of (n, genes) arrays
        One a branch of the network, scaled.
    label : (n,) int array
        Class index or survival interval.
    event : (n,) array
        1 if the death was seen; zeros in classification.
    """

    def __init__(
        self, patients: Sequence[str], vectors: Sequence[np.ndarray], label: np.ndarray, event: np.ndarray
    ) -> None:
        self.patients = list(patients)
        self.vectors = [torch.tensor(vector, dtype=torch.float32) for vector in vectors]
        self.label = torch.tensor(label, dtype=torch.int64)
        self.event = torch.tensor(event, dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.patients)

    def batch(self, indices: Sequence[int], /) -> GeneBatch:
        """Return the patients of some positions as one batch."""
        rows = torch.tensor(indices)
        return GeneBatch(
            tuple(self.patients[i] for i in indices),
            tuple(vector[rows] for vector in self.vectors),
            self.label[rows],
            self.event[rows],
        )


@dataclass
class SnnObjective:
    """The task loss alone."""

    outcome: TaskTarget
    class_weights: Tensor | None = field(default=None)

    def loss(self, model: nn.Module, batch: GeneBatch) -> Loss:
        logits = model(batch.vectors)
        task = self.outcome.loss(logits, batch.label, batch.event, self.class_weights)
        with torch.no_grad():
            probability = self.outcome.probability(logits, batch.label, batch.event)
        return Loss(task, {"task": task}, probability)

    def coordinate(self, model: nn.Module) -> float | None:
        return None


def train_snn(
    items: GeneItems, outcome: TaskTarget, network: SnnConfig, training: TrainingConfig, label: str = "snn"
) -> Snn:
    """Train a network on patients; the last epoch is the model.

    The seed of `training` decides initial weights, batch order and dropout.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = Snn([vector.shape[1] for vector in items.vectors], outcome.outputs, network)
    weights = None
    if isinstance(outcome, ClassTarget) and training.class_weights:
        weights = class_weights(items.label.tolist(), outcome.outputs)
    fit(model, SnnObjective(outcome, weights), items, training, device=torch.device("cpu"), label=label)
    return model


@torch.no_grad()
def predict_snn(model: Snn, vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Return logits (n, outputs) of patients' gene vectors, dropout off."""
    model.eval()
    tensors = [torch.tensor(vector, dtype=torch.float32) for vector in vectors]
    logits: np.ndarray = model(tensors).double().numpy()
    return logits
