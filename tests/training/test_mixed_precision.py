"""The forward pass in bfloat16, as a GPU computes it: losses, gradients and learning stay those of float32."""

from __future__ import annotations

from pathlib import Path

import fake_cohort
import pytest
import torch
from torch import nn

from pathduet.expression.fold_matrix import load
from pathduet.models import Student, Teacher
from pathduet.training import TrainingConfig
from pathduet.training.dataset import Batch, SlideDataset
from pathduet.training.fold_data import fold_samples, fold_target
from pathduet.training.objectives import (
    DistilledObjective,
    Loss,
    Objective,
    StudentObjective,
    TeacherObjective,
    TeacherTargets,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=list(fake_cohort.TASKS))
def whole_batch(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[object, Batch]:
    cohort = fake_cohort.make(Path(tmp_path_factory.mktemp("cohort")))
    labels = cohort.labels(request.param)
    outcome = fold_target(fake_cohort.TASKS[request.param], labels, cohort.folds, 0)
    cases = [c for c in fold_samples(cohort.slides, labels, cohort.folds, 0, outcome) if c.part == "train"]
    dataset = SlideDataset(cases, fake_cohort.SMALL, load(cohort.expression))
    return outcome, dataset.batch(range(len(dataset)))


def build(model: str, outcome: object, batch: Batch) -> tuple[nn.Module, Objective]:
    torch.manual_seed(0)
    config, outputs = TrainingConfig(), outcome.outputs  # type: ignore[attr-defined]
    sizes = (fake_cohort.SMALL, fake_cohort.FEATURES)
    teacher = Teacher(*sizes, fake_cohort.GENES, outputs)
    if model == "teacher":
        return teacher, TeacherObjective(outcome, config)  # type: ignore[arg-type]
    student = Student(*sizes, outputs)
    if model == "student":
        return student, StudentObjective(outcome, config)  # type: ignore[arg-type]
    with torch.no_grad():
        said = teacher(batch.patches["10x"], batch.patches["20x"], batch.genes)
    targets = TeacherTargets(said.logits, said.representation)
    return student, DistilledObjective(outcome, config, None, targets)  # type: ignore[arg-type]


def loss_of(objective: Objective, network: nn.Module, batch: Batch, half: bool) -> Loss:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        return objective.loss(network, batch)


@pytest.mark.parametrize("model", ["teacher", "student", "distilled"])
def test_losses_and_gradients_differ_by_rounding_alone(whole_batch: tuple, model: str) -> None:
    outcome, batch = whole_batch
    gradients = []
    losses = []
    for half in (False, True):
        network, objective = build(model, outcome, batch)
        network.eval()
        loss = loss_of(objective, network, batch, half)
        assert all(part.dtype is torch.float32 for part in loss.parts.values()), "losses are in float32"
        loss.total.backward()
        objective.coordinate(network)
        found = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        assert all(part.dtype is torch.float32 for part in found)
        gradients.append(torch.cat(found))
        losses.append(float(loss.total.detach()))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert torch.isfinite(gradients[1]).all()
    assert torch.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["teacher", "student"]
)  # a distilled one would follow the untrained teacher
def test_it_learns_in_bfloat16(whole_batch: tuple, model: str) -> None:
    outcome, batch = whole_batch
    network, objective = build(model, outcome, batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    tasks = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = loss_of(objective, network, batch, half=True)
        tasks.append(float(loss.parts["task"].detach()))
        loss.total.backward()
        objective.coordinate(network)
        optimizer.step()
    assert tasks[-1] < 0.3 * tasks[0]
