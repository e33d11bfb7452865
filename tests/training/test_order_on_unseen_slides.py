"""Prototype 0 is the tumour one on slides that the scorer never saw, though clustering gives them in any order."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pathduet.models import MAGNIFICATIONS, ModelConfig, Student
from pathduet.training import TrainingConfig, fit
from pathduet.training.dataset import Batch
from pathduet.training.objectives import DistilledObjective, TeacherTargets
from pathduet.training.task_targets import ClassTarget

CONFIG = ModelConfig(
    tokens=36, width=16, heads=2, head_dim=8, offset_groups=2, offset_kernel=3, stride=2, dropout=0.0
)


class TwoTissues:
    """Slides of two kinds of tissue, a third to two thirds of it tumour: the kinds differ in one feature."""

    def __init__(self, slides: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        share = 0.3 + 0.4 * torch.rand(slides, 1, generator=generator)
        self.tumour = torch.rand(slides, 36, generator=generator) < share
        values = torch.randn(slides, 36, 6, generator=generator) * 0.5
        values[..., 0] += torch.where(self.tumour, 3.0, -3.0)
        values[..., 1] += torch.where(self.tumour, -2.0, 2.0)
        self.patches = values
        self.label = torch.randint(0, 2, (slides,), generator=generator)

    def __len__(self) -> int:
        return len(self.patches)

    @property
    def patients(self) -> list[list[int]]:
        return [[i] for i in range(len(self))]

    def batch(self, indices: Sequence[int], /) -> Batch:
        rows = torch.tensor(list(indices))
        ones = torch.ones(len(rows), dtype=torch.int64)
        return Batch(
            index=rows, slide_ids=tuple(f"s{i}" for i in indices),
            patches=dict.fromkeys(MAGNIFICATIONS, self.patches[rows]), repeats=dict.fromkeys(MAGNIFICATIONS, ones),
            genes={s: torch.zeros(len(rows), 1) for s in CONFIG.subspaces}, has_expression=ones.bool(),
            label=self.label[rows], event=torch.zeros(len(rows)), value=torch.zeros(len(rows)),
        )  # fmt: skip


def tumour_share(slides: TwoTissues, assignment: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Return the share of tumour among the tokens of one prototype (B,) of each slide."""
    members = assignment == which.unsqueeze(1)
    return (members & slides.tumour).sum(1) / members.sum(1)


@torch.no_grad()
def look(student: Student, slides: TwoTissues) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the tumour share of the prototype put first, and of the one the clustering gives first."""
    student.eval()
    batch = slides.batch(range(len(slides)))
    output = student(batch.patches["10x"], batch.patches["20x"])
    put, given = {}, {}
    for m in MAGNIFICATIONS:
        assignment = output.aggregation[m].assignment
        put[m] = tumour_share(slides, assignment, output.order[m][:, 0])
        given[m] = tumour_share(slides, assignment, torch.zeros(len(slides), dtype=torch.int64))
    return put, given


def test_prototype_zero_is_the_tumour_one_on_unseen_slides() -> None:
    torch.manual_seed(0)
    student = Student(CONFIG, 6, 2)
    seen, unseen = TwoTissues(24, 1), TwoTissues(40, 2)
    # A teacher whose tumour half speaks of the tumour: what the student's own dense layer makes of either tissue.
    with torch.no_grad():
        halves = {}
        for m in MAGNIFICATIONS:
            tokens = student.patch_tokens(m)(seen.patches)
            for name, mask in (("tumor", seen.tumour), ("tme", ~seen.tumour)):
                mean = (tokens * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
                halves[m, name] = torch.tanh(student.dense[m](mean))
    representation = {m: torch.cat([halves[m, "tumor"], halves[m, "tme"]], dim=1) for m in MAGNIFICATIONS}
    targets = TeacherTargets({m: torch.zeros(24, 2) for m in MAGNIFICATIONS}, representation)
    config = TrainingConfig(epochs=10, batch_size=8, learning_rate=1e-2, w_mse=1.0, w_kl=1.0, w_order=1.0)
    objective = DistilledObjective(ClassTarget(("a", "b")), config, None, targets)
    fit(student, objective, seen, config, device=torch.device("cpu"))
    put, given = look(student, unseen)
    for m in MAGNIFICATIONS:
        right = (put[m] > 0.5).float().mean()
        by_chance = (given[m] > 0.5).float().mean()
        assert right >= 0.95
        assert 0.1 < by_chance < 0.9, "the clustering's own order says nothing"
