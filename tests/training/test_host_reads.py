"""What a training step sends to its device and asks of it: on a GPU, each answer is a wait for all that was asked of it before."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_cohort
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pathduet.losses.cgc import coordinate_classifier, coordinate_gradients
from pathduet.models import MAGNIFICATIONS, Student, Teacher
from pathduet.models.method.subspace_order import best_order, optimal_order
from pathduet.training import TrainingConfig
from pathduet.training.dataset import CPU, Batch, SlideDataset, gathered
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


#: A device that is not the CPU, computes shapes only, and refuses to be read: `meta` stands in for a GPU.
ELSEWHERE = torch.device("meta")


class Sent(TorchDispatchMode):
    """Note what is copied to another device: type, numbers, and whether somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[torch.dtype, int, bool]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func._schema.name == "aten::_to_copy" and given.get("device") not in (None, args[0].device):
            self.found.append((args[0].dtype, args[0].numel(), not given.get("non_blocking", False)))
        return func(*args, **given)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SlideDataset:
    """Return five slides, one without a label, one without expression."""
    from pathduet.expression.fold_matrix import load

    cohort = fake_cohort.make(tmp_path_factory.mktemp("cohort"), unpaired=("p01",))
    samples = list(cohort.data("diagnosis").samples(0, ClassTarget(fake_cohort.KINDS), "train"))[:5]
    samples[3] = replace(samples[3], label=-1)
    assert cohort.expression is not None
    return SlideDataset(samples, fake_cohort.SMALL, load(Path(cohort.expression)))


@pytest.fixture(scope="module")
def batch(dataset: SlideDataset) -> Batch:
    return dataset.batch(range(5))


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
    # On the CPU, where it costs nothing, DPC-KNN asks of each map which tokens are equally long, whether there are copies, and which are peaks.
    maps = 0 if kind == "teacher" else len(MAGNIFICATIONS) * len(batch.label)
    assert reads.found == ({"_local_scalar_dense": maps, "nonzero": 2 * maps} if maps else {})


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


@pytest.fixture
def no_autocast_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """`meta` has no autocast."""
    autocast = torch.autocast

    def none_on_meta(device: str, *args: Any, **kwargs: Any) -> Any:
        return nullcontext() if device == "meta" else autocast(device, *args, **kwargs)

    monkeypatch.setattr(torch, "autocast", none_on_meta)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.usefixtures("no_autocast_elsewhere")
def test_any_number_of_subspaces_stays_on_the_device(count: int) -> None:
    prototypes = torch.zeros(2, count, 8, device=ELSEWHERE)
    found = []
    for _ in range(2):  # the orders are sent in the first step
        with HostReads() as reads, Sent() as sent:
            wanted = optimal_order(prototypes, prototypes)
            found += [best_order(torch.zeros(2, count, count, device=ELSEWHERE)), wanted]
            weight = torch.zeros(4, 8 * count, device=ELSEWHERE)
            found.append(coordinate_classifier(weight, torch.zeros(count, device=ELSEWHERE)))
    assert {x.device for x in found} == {ELSEWHERE} and not sent.found and not reads.found


@pytest.mark.parametrize("kind", ["teacher", "student", "distilled"])
@pytest.mark.usefixtures("no_autocast_elsewhere")
def test_a_step_away_from_the_cpu_reads_nothing_back(batch: Batch, kind: str) -> None:
    """With the branches that a GPU takes; an answer, or an operator of tensors of two devices, is an error."""
    if kind == "teacher":
        batch = replace(batch, label=batch.label.clamp(min=0))
    batch = replace(batch, repeats={m: torch.tensor([1, 2, 1, 3, 1]) for m in MAGNIFICATIONS}).to(ELSEWHERE)
    with ELSEWHERE:
        model, objective = step(kind, batch)
    with HostReads() as reads, Sent() as sent:
        objective.loss(model.train(), batch).total.backward()
        objective.coordinate(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert not reads.found
    # each slide's number of neighbours, at both magnifications
    assert sent.found == ([] if kind == "teacher" else [(torch.int64, 5, False)] * 2)
    with pytest.raises(RuntimeError, match="meta"):
        float(batch.value.sum())


def test_a_device_is_sent_each_tile_once_in_half_precision(dataset: SlideDataset) -> None:
    elsewhere = SlideDataset(dataset.samples, dataset.config, device=ELSEWHERE)
    slides = [2, 0, 2]
    tiles = {m: [dataset.tiles(i, m) for i in slides] for m in MAGNIFICATIONS}
    with Sent() as sent:
        batch = elsewhere.batch(slides)
    assert {x.device.type for x in (*batch.patches.values(), batch.label, batch.labelled)} == {"meta"}
    assert {x.device for x in batch.repeats.values()} == {CPU}
    assert not any(waited for *_, waited in sent.found)
    halves = [numbers for dtype, numbers, _ in sent.found if dtype == torch.float16]
    assert halves == [sum(t.features.size for t in tiles[m]) for m in MAGNIFICATIONS]
    others = [numbers for dtype, numbers, _ in sent.found if dtype != torch.float16]
    assert max(others) == len(slides) * dataset.config.tokens  # which tile each token is
    # what it makes of them is what the CPU has
    expected = dataset.batch(slides).patches
    assert all(torch.equal(gathered(tiles[m], CPU), expected[m]) for m in MAGNIFICATIONS)
