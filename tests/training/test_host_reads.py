"""What a training step asks of its device: on a GPU, each answer is a wait for all that was asked of it before."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_cohort
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pathduet.losses.cgc import coordinate_gradients
from pathduet.models import MAGNIFICATIONS, Student, Teacher
from pathduet.training import TrainingConfig
from pathduet.training.dataset import Batch, SlideDataset
from pathduet.training.objectives import (
    DistilledObjective,
    Objective,
    StudentObjective,
    TeacherObjective,
    TeacherTargets,
    teacher_inputs,
)
from pathduet.training.task_targets import ClassTarget

CLASSES = ClassTarget(("a", "b", "c", "d"))
CONFIG = TrainingConfig(cgc=True, igc=True)


class HostReads(TorchDispatchMode):
    """Count the operators whose result or shape the host has to know."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        by_mask = name.startswith("index") and len(args) > 1 and isinstance(args[1], list | tuple)
        if name in ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select"):
            self.found[name] += 1
        elif by_mask and any(x is not None and x.dtype == torch.bool for x in args[1]):
            self.found["index by mask"] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """Return five slides, one without a label, one without expression."""
    from pathduet.expression.fold_matrix import load

    cohort = fake_cohort.make(tmp_path_factory.mktemp("cohort"), unpaired=("p01",))
    samples = list(cohort.data("diagnosis").samples(0, ClassTarget(fake_cohort.KINDS), "train"))[:5]
    samples[3] = replace(samples[3], label=-1)
    assert cohort.expression is not None
    return SlideDataset(samples, fake_cohort.SMALL, load(Path(cohort.expression))).batch(range(5))


def step(kind: str, batch: Batch) -> tuple[torch.nn.Module, Objective]:
    torch.manual_seed(0)
    teacher = Teacher(fake_cohort.SMALL, fake_cohort.FEATURES, fake_cohort.GENES, 4)
    if kind == "teacher":
        return teacher, TeacherObjective(CLASSES, CONFIG)
    student = Student(fake_cohort.SMALL, fake_cohort.FEATURES, 4)
    if kind == "student":
        return student, StudentObjective(CLASSES, CONFIG)
    with torch.no_grad():
        said = teacher(*teacher_inputs(batch))
    return student, DistilledObjective(
        CLASSES, CONFIG, None, TeacherTargets(said.logits, said.representation)
    )


@pytest.mark.parametrize("kind", ["teacher", "student", "distilled"])
def test_a_training_step_asks_its_device_nothing(batch: Batch, kind: str) -> None:
    if kind == "teacher":  # it takes no slide without a label or expression
        batch = replace(batch, label=batch.label.clamp(min=0))
    model, objective = step(kind, batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    with HostReads() as reads:
        objective.loss(model.train(), batch).total.backward()
        objective.coordinate(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    # On the CPU, where it costs nothing, DPC-KNN asks of each map whether it has copies of a token.
    maps = 0 if kind == "teacher" else len(MAGNIFICATIONS) * len(batch.label)
    assert reads.found == ({"_local_scalar_dense": maps} if maps else {})


def test_the_counter_sees_what_it_counts() -> None:
    x = torch.tensor([1.0, -1.0])
    with HostReads() as reads:
        float(x[0])
        bool((x > 0).any())
        x[x > 0]
        x.nonzero()
    assert reads.found == {"_local_scalar_dense": 2, "index by mask": 1, "nonzero": 1}


def test_coordination_of_three_subspaces_asks_nothing() -> None:
    gradients = list(torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0)))
    with HostReads() as reads:
        coordinate_gradients(gradients, torch.tensor([0.2, 0.9, 0.5]))
    assert not reads.found
