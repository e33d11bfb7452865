"""Which prototype is the tumour one is read off the expression, and exchanging the two changes no prediction."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from pathduet.learning.dataset import Batch
from pathduet.learning.orientation import order_evidence, orient
from pathduet.models import MAGNIFICATIONS, ModelConfig, Student

CONFIG = ModelConfig(
    tokens=36, width=16, heads=2, head_dim=8, offset_groups=2, offset_kernel=3, stride=2, dropout=0.0
)


def programmes(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two prototypes, each moved by a programme of its own, and the genes of both programmes under noise."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, n, 1, generator=generator)
    ordered = torch.stack(
        [latent * torch.randn(1, 12, generator=generator) for latent in z], dim=1
    ) + torch.randn(n, 2, 12, generator=generator)
    tumor, tme = (
        latent * torch.randn(1, genes, generator=generator) + torch.randn(n, genes, generator=generator)
        for latent, genes in zip(z, (20, 40))
    )
    return ordered, tumor, tme


@pytest.mark.parametrize("seed", range(5))
def test_evidence_is_positive_in_the_true_order_and_changes_its_sign_with_the_order(seed: int) -> None:
    ordered, tumor, tme = programmes(60, seed)
    evidence = order_evidence(ordered, tumor, tme)
    assert 0 < evidence <= 1
    assert order_evidence(ordered.flip(1), tumor, tme) == pytest.approx(-evidence, abs=1e-9)


def test_evidence_does_not_depend_on_the_scale_of_a_prototype() -> None:
    ordered, tumor, tme = programmes(60, 0)
    scaled = ordered * torch.tensor([100.0, 0.01]).view(1, 2, 1)
    assert order_evidence(scaled, tumor, tme) == pytest.approx(order_evidence(ordered, tumor, tme), abs=1e-4)


@dataclass
class Slides:
    """Slides with random features, whose genes are given."""

    patches: torch.Tensor  # (n, N, d)
    genes: tuple[torch.Tensor, torch.Tensor]

    def __len__(self) -> int:
        return len(self.patches)

    def batch(self, indices: list[int], /) -> Batch:
        rows = torch.tensor(indices)
        n = len(rows)
        return Batch(
            index=rows, slide_ids=tuple(map(str, indices)),
            patches=dict.fromkeys(MAGNIFICATIONS, self.patches[rows]),
            repeats={m: torch.ones(n, dtype=torch.int64) for m in MAGNIFICATIONS},
            tumor=self.genes[0][rows], tme=self.genes[1][rows], has_expression=torch.ones(n, dtype=torch.bool),
            label=torch.zeros(n, dtype=torch.int64), event=torch.ones(n),
        )  # fmt: skip


def student(seed: int) -> Student:
    torch.manual_seed(seed)
    network = Student(CONFIG, 10, 3).eval()
    for m in MAGNIFICATIONS:
        torch.nn.init.normal_(network.order[m].score.weight)  # type: ignore[union-attr, arg-type]
    return network


def test_exchanging_the_prototypes_changes_no_prediction() -> None:
    network, patches = student(0), torch.randn(6, 36, 10)
    with torch.no_grad():
        before = network(patches, patches)
        network.exchange("20x")
        after = network(patches, patches)
    for m in MAGNIFICATIONS:
        assert torch.allclose(before.logits[m], after.logits[m], atol=1e-6)
    assert torch.equal(after.representation["20x"], before.representation["20x"].roll(CONFIG.width, dims=1))
    assert torch.equal(after.representation["10x"], before.representation["10x"])


def test_orientation_follows_the_genes_whichever_way_the_student_stood() -> None:
    """Genes that are read off the two prototypes themselves: the first must come first, from either start."""
    patches = torch.randn(30, 36, 10) + 2 * torch.randn(30, 1, 10)
    network = student(1)
    with torch.no_grad():
        first, second = network(patches, patches).representation["10x"].unflatten(1, (2, -1)).unbind(dim=1)
    slides = Slides(patches, (first.clone(), second.clone()))
    kept = orient(network, slides, list(range(30)), 7, torch.device("cpu"))
    assert kept["10x"] > 0
    network.exchange("10x")
    assert orient(network, slides, list(range(30)), 7, torch.device("cpu"))["10x"] == pytest.approx(
        -kept["10x"], abs=1e-5
    )
    with torch.no_grad():
        again = network(patches, patches).representation["10x"].unflatten(1, (2, -1))
    assert torch.allclose(again[:, 0], first, atol=1e-6)
    assert not network.training


def test_too_few_slides_with_expression_leave_the_order_alone() -> None:
    network = student(2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    slides = Slides(torch.randn(4, 36, 10), (torch.randn(4, 5), torch.randn(4, 6)))
    assert orient(network, slides, [0, 1], 2, torch.device("cpu")) == {"10x": 0.0, "20x": 0.0}
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
