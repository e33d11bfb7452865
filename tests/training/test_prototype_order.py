"""Which prototype is which subspace's is read off the expression, and exchanging them changes no prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from pathduet.models import MAGNIFICATIONS, ModelConfig, Student
from pathduet.training.dataset import Batch
from pathduet.training.prototype_order import consistent_scorer, order_evidence, order_prototypes

CONFIG = ModelConfig(
    tokens=36, width=16, heads=2, head_dim=8, offset_groups=2, offset_kernel=3, stride=2, dropout=0.0
)

THREE = replace(CONFIG, subspaces=(*CONFIG.subspaces, "stroma"))


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
    fits = order_evidence(ordered, (tumor, tme))
    assert 0 <= fits[1, 0] < fits[0, 1] <= 1
    swapped = order_evidence(ordered.flip(1), (tumor, tme))
    assert (swapped[0, 1], swapped[1, 0]) == pytest.approx((fits[1, 0], fits[0, 1]), abs=1e-9)


def test_evidence_does_not_depend_on_the_scale_of_a_prototype() -> None:
    ordered, tumor, tme = programmes(60, 0)
    scaled = ordered * torch.tensor([100.0, 0.01]).view(1, 2, 1)
    fits = order_evidence(ordered, (tumor, tme))
    assert order_evidence(scaled, (tumor, tme)) == pytest.approx(fits, abs=1e-4)


@dataclass
class Slides:
    """Slides with random features, whose genes are given."""

    patches: torch.Tensor  # (n, N, d)
    genes: tuple[torch.Tensor, ...]
    fine: torch.Tensor | None = None  # (n, N, d) at 20x, if it is not the same

    def __len__(self) -> int:
        return len(self.patches)

    def batch(self, indices: list[int], /) -> Batch:
        rows = torch.tensor(indices)
        n = len(rows)
        return Batch(
            index=rows, slide_ids=tuple(map(str, indices)),
            patches={"10x": self.patches[rows], "20x": (self.patches if self.fine is None else self.fine)[rows]},
            repeats={m: torch.ones(n, dtype=torch.int64) for m in MAGNIFICATIONS},
            genes={s: genes[rows] for s, genes in zip(THREE.subspaces, self.genes)},
            has_expression=torch.ones(n, dtype=torch.bool),
            label=torch.zeros(n, dtype=torch.int64), event=torch.ones(n), value=torch.zeros(n),
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
        network.reorder("20x", (1, 0))
        after = network(patches, patches)
    for m in MAGNIFICATIONS:
        assert torch.allclose(before.logits[m], after.logits[m], atol=1e-6)
    assert torch.equal(after.representation["20x"], before.representation["20x"].roll(CONFIG.width, dims=1))
    assert torch.equal(after.representation["10x"], before.representation["10x"])


def two_tissues(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Slides of two tissues told apart by feature 0, each moved by a latent of its own: patches, latents (n, 2)."""
    generator = torch.Generator().manual_seed(seed)
    share = 0.3 + 0.4 * torch.rand(n, 1, generator=generator)
    first = torch.rand(n, 36, generator=generator) < share
    latents = torch.randn(n, 2, generator=generator)
    patches = torch.randn(n, 36, 10, generator=generator) * 0.5
    patches[..., 0] += torch.where(first, 4.0, -4.0)
    patches[..., 1] += torch.where(first, latents[:, :1], torch.zeros(()))
    patches[..., 2] += torch.where(first, torch.zeros(()), latents[:, 1:])
    return patches, latents


def genes(latent: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return latent.unsqueeze(1) + torch.randn(len(latent), 15, generator=generator)


@torch.no_grad()
def tissue_put_first(network: Student, patches: torch.Tensor, m: str) -> torch.Tensor:
    """Return the mean of feature 0 over the tiles of the prototype put first (n,)."""
    output = network(patches, patches)
    member = output.aggregation[m].assignment == output.order[m][:, :1]
    return (patches[..., 0] * member).sum(1) / member.sum(1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sign", [1, -1])
def test_orientation_puts_the_tissue_first_that_moves_with_the_tumour_genes(seed: int, sign: int) -> None:
    """From scorers that order at random, at both magnifications, and on slides that it did not see."""
    network = student(seed)
    patches, latents = two_tissues(60, seed)
    tumor, tme = (genes(z, 9) for z in (latents if sign > 0 else latents.flip(1)).T)
    order_prototypes(network, Slides(patches[:40], (tumor[:40], tme[:40])), list(range(40)), 7)
    assert not network.training
    for m in MAGNIFICATIONS:
        assert (sign * tissue_put_first(network, patches[40:], m) > 0).float().mean() > 0.9


def test_the_order_found_does_not_depend_on_the_one_before() -> None:
    patches, latents = two_tissues(40, 4)
    slides = Slides(patches, (genes(latents[:, 0], 1), genes(latents[:, 1], 2)))
    one, other = student(3), student(3)
    other.reorder("10x", (1, 0))
    found = [order_prototypes(network, slides, list(range(40)), 7) for network in (one, other)]
    assert found[0]["10x"] == pytest.approx(-found[1]["10x"]) and found[0]["20x"] == pytest.approx(
        found[1]["20x"]
    )
    for name, value in one.state_dict().items():
        assert torch.allclose(other.state_dict()[name], value, atol=1e-6), name


def test_a_weak_witness_follows_the_magnification_that_says_more() -> None:
    """At 20x the features that move with the programmes are hidden: the shares still say which tissue is which."""
    patches, latents = two_tissues(40, 5)
    hidden = patches.clone()
    hidden[..., 1:3] = torch.randn(40, 36, 2, generator=torch.Generator().manual_seed(0)) * 0.5
    slides = Slides(patches, (genes(latents[:, 0], 1), genes(latents[:, 1], 2)), hidden)
    for seed in range(4):
        network = student(seed)
        order_prototypes(network, slides, list(range(40)), 7)
        assert (tissue_put_first(network, hidden, "20x") > 0).float().mean() > 0.9


def three_tissues(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Slides of three tissues, each moved by a latent of its own: patches, latents (n, 3), tissue of each patch."""
    generator = torch.Generator().manual_seed(seed)
    share = 0.5 + torch.rand(n, 3, generator=generator)
    kind = torch.multinomial(share, 36, replacement=True, generator=generator)  # (n, 36)
    latents = torch.randn(n, 3, generator=generator)
    patches = torch.randn(n, 36, 10, generator=generator) * 0.3
    for k in range(3):
        patches[..., k] += torch.where(kind == k, 4.0, 0.0)
        patches[..., 3 + k] += torch.where(kind == k, latents[:, k : k + 1], torch.zeros(()))
    return patches, latents, kind


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_each_of_three_subspaces_gets_the_tissue_that_moves_with_its_genes(
    order: tuple[int, int, int],
) -> None:
    torch.manual_seed(sum(order))
    network = Student(THREE, 10, 3).eval()
    for m in MAGNIFICATIONS:
        torch.nn.init.normal_(network.scorer(m))
    patches, latents, kind = three_tissues(60, 3)
    expressed = tuple(genes(latents[:40, k], k) for k in order)
    before = network(patches, patches).logits
    evidence = order_prototypes(network, Slides(patches[:40], expressed), list(range(40)), 7)
    output = network(patches, patches)
    for m in MAGNIFICATIONS:
        assignment = output.aggregation[m].assignment
        for subspace, tissue in enumerate(order):
            member = assignment == output.order[m][:, subspace].unsqueeze(1)
            share = ((kind == tissue) & member).sum(1) / member.sum(1)
            assert (share[40:] > 0.5).float().mean() > 0.9
    assert set(evidence) == set(MAGNIFICATIONS) == set(before)


def test_the_direction_is_the_one_in_which_prototypes_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(12, generator=generator), dim=0)
    given = torch.randn(50, 2, 12, generator=generator) * 0.1
    side = torch.where(torch.rand(50, generator=generator) < 0.5, 1.0, -1.0)
    given[:, 0] += side.unsqueeze(1) * axis
    given[:, 1] -= side.unsqueeze(1) * axis
    for scorer in (axis + 0.1, -axis, torch.zeros(12)):
        (found,) = consistent_scorer(given, scorer.unsqueeze(0))
        assert abs(float(torch.cosine_similarity(found, axis, dim=0))) > 0.99
        assert float(found @ scorer) >= 0, "of the two ends the one that the scorer points to"
        margin = (given[:, 0] - given[:, 1]) @ found
        assert float(margin.abs().mean()) == pytest.approx(1, rel=1e-5)
        assert len(torch.unique(torch.sign(margin) * side)) == 1, "alike on every slide"
    for count in (2, 3):
        assert consistent_scorer(torch.ones(5, count, 3), torch.ones(count - 1, 3)) is None


def test_too_few_slides_with_expression_leave_the_order_alone() -> None:
    network = student(2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    slides = Slides(torch.randn(4, 36, 10), (torch.randn(4, 5), torch.randn(4, 6)))
    assert order_prototypes(network, slides, [0, 1], 2) == {"10x": 0.0, "20x": 0.0}
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
