"""Properties of the networks and their parts."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pathduet.models import (
    MAGNIFICATIONS,
    SUBSPACES,
    DisentangledFusion,
    GeneTokens,
    ModelConfig,
    PatchTokens,
    Student,
    SubspaceOrder,
    Teacher,
    TokenAggregation,
    assignment_costs,
    combine_hazards,
    combine_probabilities,
)

CONFIG = ModelConfig(tokens=36, width=16, heads=2, head_dim=4, offset_groups=4, offset_kernel=4, stride=2)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def teacher_inputs(slides: int = 3) -> tuple[torch.Tensor, ...]:
    return (
        torch.rand(slides, 36, 10),
        torch.rand(slides, 36, 10),
        torch.randn(slides, 7),
        torch.randn(slides, 11),
    )


def make_teacher() -> Teacher:
    return Teacher(CONFIG, 10, 7, 11, 4).eval()


def test_teacher_shapes() -> None:
    output = make_teacher()(*teacher_inputs(), need_selection=True)
    for m in MAGNIFICATIONS:
        assert output.logits[m].shape == (3, 4)
        assert output.representation[m].shape == (3, 32)
        assert output.representation[m].abs().max() < 1
        for subspace, side in zip(SUBSPACES, (3, 4), strict=True):
            branch = output.branches[m][subspace]
            assert branch.attention.shape == (3, 2, side * side, 9)
            assert branch.selection.shape == (3, 2, side * side, side * side)


def test_attention_and_selection_rows_sum_to_one_and_selection_selects() -> None:
    teacher = make_teacher()
    output = teacher(*teacher_inputs(), need_selection=True)
    for m in MAGNIFICATIONS:
        for subspace in SUBSPACES:
            branch, mask = output.branches[m][subspace], teacher.gene_mask(subspace)
            assert torch.allclose(branch.attention.sum(-1), torch.ones(()), atol=1e-5)
            assert torch.allclose(branch.selection.sum(-1), torch.ones(()), atol=1e-5)
            assert branch.selection[..., ~mask].abs().max() == 0, "padding is never selected"
            assert branch.selection[..., mask].std(dim=-1).min() > 0, "not the same weight for every gene"


def test_offsets_differ_between_gene_positions_and_follow_expression() -> None:
    teacher = make_teacher()
    patches_10x, patches_20x, tumor, tme = teacher_inputs(1)
    first = teacher(patches_10x, patches_20x, tumor, tme).branches["10x"]["tumor"].offsets
    second = teacher(patches_10x, patches_20x, tumor + 1, tme).branches["10x"]["tumor"].offsets
    assert first.flatten(2, 3).std(dim=2).min() > 0
    assert not torch.allclose(first, second)


def test_gene_tokens_differ_from_gene_to_gene_even_at_equal_expression() -> None:
    tokens = GeneTokens(7, 16)(torch.zeros(1, 7))[0]
    assert tokens.shape == (9, 16) and tokens[7:].abs().max() == 0
    assert torch.pdist(tokens[:7]).min() > 0.5


def test_subspaces_meet_only_in_the_classifier() -> None:
    teacher = make_teacher()
    patches_10x, patches_20x, tumor, tme = teacher_inputs()
    before = teacher(patches_10x, patches_20x, tumor, tme).representation
    after = teacher(patches_10x, patches_20x, tumor + 1, tme).representation
    for m in MAGNIFICATIONS:
        assert torch.equal(before[m][:, 16:], after[m][:, 16:])
        assert not torch.allclose(before[m][:, :16], after[m][:, :16])


def test_magnifications_meet_only_in_the_experts() -> None:
    teacher = make_teacher()
    patches_10x, patches_20x, tumor, tme = teacher_inputs()
    before = teacher(patches_10x, patches_20x, tumor, tme).logits
    after = teacher(patches_10x + 1, patches_20x, tumor, tme).logits
    assert torch.equal(before["20x"], after["20x"]) and not torch.allclose(before["10x"], after["10x"])


@pytest.mark.parametrize("per_slide", [False, True])
def test_masked_gene_tokens_change_nothing(per_slide: bool) -> None:
    fusion = DisentangledFusion(CONFIG).eval()
    patches, tumor, tme = torch.randn(2, 36, 16), torch.randn(2, 9, 16), torch.randn(2, 16, 16)
    tumor_mask, tme_mask = torch.arange(9) < 7, torch.arange(16) < 11
    if per_slide:
        tumor_mask, tme_mask = tumor_mask.expand(2, 9), tme_mask.expand(2, 16)

    def fuse(filling: float) -> torch.Tensor:
        filled = [
            torch.where(mask.expand(2, -1).unsqueeze(-1), genes, torch.full_like(genes, filling))
            for genes, mask in ((tumor, tumor_mask), (tme, tme_mask))
        ]
        return fusion(patches, *filled, tumor_mask, tme_mask).representation

    assert torch.equal(fuse(0.0), fuse(123.0))


def test_fusion_passes_gradcheck_in_patches_and_genes() -> None:
    config = ModelConfig(
        tokens=16, width=4, heads=2, head_dim=2, offset_groups=2, offset_kernel=3, stride=2, dropout=0.0
    )
    fusion = DisentangledFusion(config).double().eval()
    patches, tumor, tme = (torch.randn(1, n, 4, dtype=torch.float64, requires_grad=True) for n in (16, 4, 4))
    mask = torch.tensor([True, True, True, False])
    assert torch.autograd.gradcheck(lambda *x: fusion(*x, mask, mask).representation, (patches, tumor, tme))


def test_what_is_not_given_or_makes_no_map_is_refused() -> None:
    teacher, student = make_teacher(), Student(CONFIG, 10, 4)
    patches_10x, patches_20x, tumor, tme = teacher_inputs()
    for network, genes in ((teacher, (tumor, tme)), (student, ())):
        with pytest.raises(ValueError, match="no features at 20x"):
            network(patches_10x, None, *genes)
        with pytest.raises(ValueError, match="35 patch tokens make no square map"):
            network(patches_10x[:, 1:], patches_20x, *genes)
    with pytest.raises(ValueError, match="6 genes given to a network made for 7"):
        teacher(patches_10x, patches_20x, tumor[:, 1:], tme)


def test_permuting_slides_permutes_the_teachers_answers() -> None:
    teacher, order = make_teacher(), torch.tensor([2, 0, 1])
    inputs = teacher_inputs()
    whole, permuted = teacher(*inputs), teacher(*(x[order] for x in inputs))
    for m in MAGNIFICATIONS:
        assert torch.allclose(whole.logits[m][order], permuted.logits[m], atol=1e-6)


def test_permuting_slides_permutes_the_students_answers() -> None:
    student, order = Student(CONFIG, 10, 4).eval(), torch.tensor([2, 0, 1])
    patches = teacher_inputs()[:2]
    whole, permuted = student(*patches), student(*(x[order] for x in patches))
    for m in MAGNIFICATIONS:
        assert torch.allclose(whole.logits[m][order], permuted.logits[m], atol=1e-6)
        assert torch.equal(whole.aggregation[m].assignment[order], permuted.aggregation[m].assignment)


def test_every_parameter_of_the_networks_gets_a_gradient() -> None:
    teacher, student = make_teacher().train(), Student(CONFIG, 10, 4)
    for network, output in ((teacher, teacher(*teacher_inputs())), (student, student(*teacher_inputs()[:2]))):
        sum(x.square().sum() for x in output.logits.values()).backward()
        without = [
            name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().sum() == 0
        ]
        # A shift of all log-weights changes no share.
        assert [name for name in without if not name.endswith("significance.bias")] == []


def test_student_takes_no_gradient_for_its_order_when_a_teacher_settles_it() -> None:
    student = Student(CONFIG, 10, 4)
    output = student(*teacher_inputs()[:2], order_from_task=False)
    sum(x.square().sum() for x in output.logits.values()).backward()
    assert all(p.grad is None for p in student.order.parameters())


def test_prototypes_are_weighted_means_of_their_clusters() -> None:
    block = TokenAggregation(CONFIG).eval()
    patches = torch.randn(2, 36, 16)
    found = block(patches)
    tokens = block.norm(patches + block.deformation(patches, patches).tokens)
    for b in range(2):
        for k in range(2):
            members = found.assignment[b] == k
            omega = torch.exp(block.significance(tokens[b, members]))
            expected = (omega * tokens[b, members]).sum(0) / omega.sum()
            assert torch.allclose(found.prototypes[b, k], expected, atol=1e-5)


def test_huge_significance_does_not_overflow() -> None:
    block = TokenAggregation(CONFIG)
    with torch.no_grad():
        block.significance.weight.mul_(1e4)
    assert torch.isfinite(block(torch.randn(2, 36, 16)).prototypes).all()


def test_order_is_hard_in_training_and_inference_and_learns_through_the_task() -> None:
    order = SubspaceOrder(4)
    nn.init.normal_(order.score.weight)
    prototypes = torch.randn(6, 2, 4)
    ordered, margin = order(prototypes)
    for b in range(6):
        expected = prototypes[b] if margin[b] >= 0 else prototypes[b].flip(0)
        assert torch.allclose(ordered[b], expected)
    again, _ = order(prototypes.flip(1))
    assert torch.allclose(again, ordered), "whichever way they come"
    (ordered[:, 0] * torch.randn(4)).sum().backward()
    assert order.score.weight.grad.abs().sum() > 0


def test_assignment_costs_by_hand() -> None:
    prototypes = torch.tensor([[[1.0], [0.0]]])
    kept, swapped = assignment_costs(prototypes, torch.tensor([[[0.0], [1.0]]]))
    assert (kept.item(), swapped.item()) == (1.0, 0.0)


def test_standardised_features_have_mean_zero_before_the_linear_map() -> None:
    block = PatchTokens(5, 8)
    features = torch.randn(4, 20, 5) * 3 + 10
    features[..., 4] = 7.0
    mean, sd = features.mean(dim=(0, 1)), features.std(dim=(0, 1), unbiased=False)
    block.standardise(mean, sd)
    expected = (features - mean) / torch.where(sd > 1e-6, sd, torch.inf)
    plain = block.norm(torch.relu(block.linear(expected)))
    assert torch.allclose(block(features), plain, atol=1e-4)


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_the_more_confident_expert_speaks(B: int, K: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = {m: torch.randn(B, K, generator=generator) * 3 for m in MAGNIFICATIONS}
    probability, expert, single = combine_probabilities(logits)
    assert torch.allclose(probability.sum(dim=1), torch.ones(B), atol=1e-5)
    for b in range(B):
        best = {m: single[m][b].max().item() for m in MAGNIFICATIONS}
        expected = "20x" if best["20x"] > best["10x"] else "10x"
        assert MAGNIFICATIONS[int(expert[b])] == expected
        assert torch.equal(probability[b], single[expected][b])
    mean, _, _ = combine_probabilities(logits, "mean")
    assert torch.allclose(mean, (single["10x"] + single["20x"]) / 2)


def test_hazards_are_averaged() -> None:
    logits = {"10x": torch.tensor([[0.0, 100.0]]), "20x": torch.tensor([[-100.0, 100.0]])}
    assert combine_hazards(logits)[0].tolist() == [[0.25, 1.0]]


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": 2499}, {"token_order": "random"}, {"expert_rule": "vote"},
        {"width": 12, "offset_groups": 5}, {"dropout": 1.0}, {"offset_kernel": 2, "stride": 4}, {"heads": 0},
    ],
)  # fmt: skip
def test_impossible_configurations_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="model"):
        dataclasses.replace(ModelConfig(), **change)
