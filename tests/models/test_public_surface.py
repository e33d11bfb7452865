"""The documented names, called as documented: their arguments by name, and the shapes that come back."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from pathduet import models
from pathduet import training as learning

B, N, K, C, GENES, KEYS, HEADS = 3, 36, 2, 16, 7, 9, 2
CONFIG = models.ModelConfig(
    tokens=N, width=C, heads=HEADS, head_dim=4, offset_groups=4, offset_kernel=4, stride=2
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("package", [models, learning])
def test_every_exported_name_is_there_and_says_what_it_is(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        found = getattr(package, name)
        if inspect.isclass(found) or inspect.isfunction(found):
            assert (found.__doc__ or "").strip(), name
    with pytest.raises(AttributeError):
        package.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_dpc_knn_and_merge_tokens() -> None:
    tokens = torch.randn(B, N, C)
    found = models.dpc_knn(tokens=tokens, n_clusters=K, n_neighbors=5)
    assert found._fields == ("assignment", "centers", "density", "separation")
    assert [tuple(part.shape) for part in found] == [(B, N), (B, K), (B, N), (B, N)]
    assert all(map(torch.equal, found, models.dpc_knn(tokens, K)))  # 5 neighbours unless told
    merged = models.merge_tokens(
        tokens=tokens, assignment=found.assignment, weights=torch.ones(B, N), n_clusters=K
    )
    assert merged.shape == (B, K, C)


def test_the_blocks_take_tokens_and_return_tokens() -> None:
    patches, genes = torch.randn(B, N, C), torch.randn(B, 9, C)
    seen = models.DeformableAttention(CONFIG)(genes, patches, need_attention=True)
    assert seen.tokens.shape == (B, 9, C) and seen.attention.shape == (B, HEADS, 9, KEYS)
    mask = torch.ones(1, 9, dtype=torch.bool)
    fused = models.DisentangledFusion(CONFIG)(
        patches=dict.fromkeys(CONFIG.subspaces, patches),
        genes=dict.fromkeys(CONFIG.subspaces, genes),
        masks=dict.fromkeys(CONFIG.subspaces, mask),
    )
    assert fused.representation.shape == (B, 2 * C) and tuple(fused.branches) == CONFIG.subspaces
    merged = models.TokenAggregation(CONFIG)(patches)
    assert merged.prototypes.shape == (B, K, C) and merged.assignment.shape == (B, N)


def test_teacher_and_student_take_raw_inputs_and_return_logits_by_magnification() -> None:
    patches = [torch.rand(B, N, 10) for _ in range(2)]
    teacher = models.Teacher(CONFIG, 10, {"tumor": 7, "tme": 11}, 4).eval()
    taught = teacher(*patches, {"tumor": torch.randn(B, 7), "tme": torch.randn(B, 11)})
    student = models.Student(CONFIG, 10, 4).eval()(*patches)
    for output in (taught, student):
        assert {m: tuple(x.shape) for m, x in output.logits.items()} == {"10x": (B, 4), "20x": (B, 4)}
        assert {tuple(x.shape) for x in output.representation.values()} == {(B, 2 * C)}


def test_coordinate_gradients_leaves_what_does_not_conflict() -> None:
    first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 1.0]])
    less, more = learning.coordinate_gradients(gradients=[first, second], confidences=[0.2, 0.8])
    assert (less * second).sum().abs() < 1e-6 and torch.equal(more, second)
    for pair, sure in (((first, -second), (0.2, 0.8)), ((first, second), (0.5, 0.5))):
        assert all(map(torch.equal, learning.coordinate_gradients(pair, sure), pair))


def test_dev_loss_reads_attention_of_both_magnifications() -> None:
    both = [torch.rand(B, HEADS, GENES, KEYS).softmax(dim=-1) for _ in range(2)]
    once = learning.dev_loss(attention_10x=both[0], attention_20x=both[1], weight=1.0)
    assert once.shape == () and once > 0
    torch.testing.assert_close(learning.dev_loss(*both, weight=3.0), 3 * learning.dev_loss(*both))


def test_survival_and_distillation() -> None:
    logits, interval, event = torch.randn(B, 4), torch.tensor([0, 3, 1]), torch.tensor([1, 0, 1])
    loss = learning.survival_nll(logits=logits, bin=interval, event=event)
    alone = [
        learning.survival_nll(logits[i : i + 1], interval[i : i + 1], event[i : i + 1]) for i in range(B)
    ]
    torch.testing.assert_close(loss, torch.stack(alone).mean())
    curve = (1 - logits.sigmoid()).cumprod(dim=1)
    torch.testing.assert_close(learning.survival_risk(logits), -curve.sum(dim=1))
    pull = learning.distillation_loss(
        student_logits=logits, teacher_logits=torch.randn(B, 4), temperature=2.0
    )
    assert pull.shape == () and pull > 0
    assert learning.distillation_loss(logits, logits, 2.0) == pytest.approx(0.0, abs=1e-6)


def test_discretize_returns_inner_edges() -> None:
    times = np.arange(1.0, 101.0)
    edges = learning.discretize(times=times, events=times % 2, n_bins=4)
    assert edges.tolist() == pytest.approx(np.quantile(times, [0.25, 0.5, 0.75]).tolist())
