"""Properties of the networks and their parts."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import nn

from pathduet.models import (
    MAGNIFICATIONS,
    DisentangledFusion,
    GeneTokens,
    ModelConfig,
    PatchTokens,
    Student,
    SubspaceOrder,
    Teacher,
    TokenAggregation,
    combine_hazards,
    combine_probabilities,
    optimal_order,
)
from pathduet.models.method import subspace_order
from pathduet.models.method.subspace_order import best_order, in_order, order_loss

CONFIG = ModelConfig(tokens=36, width=16, heads=2, head_dim=4, offset_groups=4, offset_kernel=4, stride=2)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


GENES = {"tumor": 7, "tme": 11}
FOUR = dataclasses.replace(CONFIG, subspaces=("tumor", "immune", "stroma", "vasculature"))


def teacher_inputs(slides: int = 3) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    genes = {name: torch.randn(slides, count) for name, count in GENES.items()}
    return torch.rand(slides, 36, 10), torch.rand(slides, 36, 10), genes


def make_teacher() -> Teacher:
    return Teacher(CONFIG, 10, GENES, 4).eval()


def test_teacher_shapes() -> None:
    output = make_teacher()(*teacher_inputs(), need_selection=True)
    for m in MAGNIFICATIONS:
        assert output.logits[m].shape == (3, 4)
        assert output.representation[m].shape == (3, 32)
        assert output.representation[m].abs().max() < 1
        for subspace, side in (("tumor", 3), ("tme", 4)):
            branch = output.branches[m][subspace]
            assert branch.attention.shape == (3, 2, side * side, 9)
            assert branch.selection.shape == (3, 2, side * side, side * side)


def test_attention_and_selection_rows_sum_to_one_and_selection_selects() -> None:
    teacher = make_teacher()
    output = teacher(*teacher_inputs(), need_selection=True)
    for m in MAGNIFICATIONS:
        for subspace in GENES:
            branch, mask = output.branches[m][subspace], teacher.gene_mask(subspace)
            assert torch.allclose(branch.attention.sum(-1), torch.ones(()), atol=1e-5)
            assert torch.allclose(branch.selection.sum(-1), torch.ones(()), atol=1e-5)
            assert branch.selection[..., ~mask].abs().max() == 0, "padding is never selected"
            assert branch.selection[..., mask].std(dim=-1).min() > 0, "not the same weight for every gene"


def test_offsets_differ_between_gene_positions_and_follow_expression() -> None:
    teacher = make_teacher()
    patches_10x, patches_20x, genes = teacher_inputs(1)
    moved = genes | {"tumor": genes["tumor"] + 1}
    first = teacher(patches_10x, patches_20x, genes).branches["10x"]["tumor"].offsets
    second = teacher(patches_10x, patches_20x, moved).branches["10x"]["tumor"].offsets
    assert first.flatten(2, 3).std(dim=2).min() > 0
    assert not torch.allclose(first, second)


def test_gene_tokens_differ_from_gene_to_gene_even_at_equal_expression() -> None:
    tokens = GeneTokens(7, 16)(torch.zeros(1, 7))[0]
    assert tokens.shape == (9, 16) and tokens[7:].abs().max() == 0
    assert torch.pdist(tokens[:7]).min() > 0.5


def test_subspaces_meet_only_in_the_classifier() -> None:
    teacher = make_teacher()
    patches_10x, patches_20x, genes = teacher_inputs()
    moved = genes | {"tumor": genes["tumor"] + 1}
    before = teacher(patches_10x, patches_20x, genes).representation
    after = teacher(patches_10x, patches_20x, moved).representation
    for m in MAGNIFICATIONS:
        assert torch.equal(before[m][:, 16:], after[m][:, 16:])
        assert not torch.allclose(before[m][:, :16], after[m][:, :16])


def test_magnifications_meet_only_in_the_experts() -> None:
    teacher = make_teacher()
    patches_10x, patches_20x, genes = teacher_inputs()
    before = teacher(patches_10x, patches_20x, genes).logits
    after = teacher(patches_10x + 1, patches_20x, genes).logits
    assert torch.equal(before["20x"], after["20x"]) and not torch.allclose(before["10x"], after["10x"])


@pytest.mark.parametrize("per_slide", [False, True])
def test_masked_gene_tokens_change_nothing(per_slide: bool) -> None:
    fusion = DisentangledFusion(CONFIG).eval()
    patches = torch.randn(2, 36, 16)
    genes = {"tumor": torch.randn(2, 9, 16), "tme": torch.randn(2, 16, 16)}
    masks = {"tumor": torch.arange(9) < 7, "tme": torch.arange(16) < 11}
    if per_slide:
        masks = {name: mask.expand(2, -1) for name, mask in masks.items()}

    def fuse(filling: float) -> torch.Tensor:
        filled = {
            name: torch.where(masks[name].expand(2, -1).unsqueeze(-1), tokens, filling)
            for name, tokens in genes.items()
        }
        return fusion(dict.fromkeys(genes, patches), filled, masks).representation

    assert torch.equal(fuse(0.0), fuse(123.0))


def test_fusion_passes_gradcheck_in_patches_and_genes() -> None:
    config = ModelConfig(
        tokens=16, width=4, heads=2, head_dim=2, offset_groups=2, offset_kernel=3, stride=2, dropout=0.0
    )
    fusion = DisentangledFusion(config).double().eval()
    patches, tumor, tme = (torch.randn(1, n, 4, dtype=torch.float64, requires_grad=True) for n in (16, 4, 4))
    masks = dict.fromkeys(GENES, torch.tensor([True, True, True, False]))
    assert torch.autograd.gradcheck(
        lambda x, *genes: fusion(dict.fromkeys(GENES, x), dict(zip(GENES, genes)), masks).representation,
        (patches, tumor, tme),
    )


def test_what_is_not_given_or_makes_no_map_is_refused() -> None:
    teacher, student = make_teacher(), Student(CONFIG, 10, 4)
    patches_10x, patches_20x, genes = teacher_inputs()
    for network, more in ((teacher, (genes,)), (student, ())):
        with pytest.raises(ValueError, match="no features at 20x"):
            network(patches_10x, None, *more)
        with pytest.raises(ValueError, match="35 patch tokens do not form a square map"):
            network(patches_10x[:, 1:], patches_20x, *more)
    with pytest.raises(ValueError, match="6 genes given to a network made for 7"):
        teacher(patches_10x, patches_20x, genes | {"tumor": genes["tumor"][:, 1:]})
    with pytest.raises(ValueError, match="genes of tumor for subspaces tumor, tme"):
        Teacher(CONFIG, 10, {"tumor": 7}, 4)


def test_permuting_slides_permutes_the_teachers_answers() -> None:
    teacher, order = make_teacher(), torch.tensor([2, 0, 1])
    patches_10x, patches_20x, genes = teacher_inputs()
    whole = teacher(patches_10x, patches_20x, genes)
    permuted = teacher(patches_10x[order], patches_20x[order], {s: x[order] for s, x in genes.items()})
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


@pytest.mark.parametrize("count", [2, 3, 4])
def test_order_is_hard_in_training_and_inference_and_learns_through_the_task(count: int) -> None:
    order = SubspaceOrder(4, count)
    nn.init.normal_(order.score.weight)
    prototypes = torch.randn(6, count, 4)
    ordered, scores = order(prototypes)
    for b in range(6):
        _, best = linear_sum_assignment(scores[b].T.detach().numpy(), maximize=True)
        assert torch.allclose(ordered[b], prototypes[b, best])
    shuffled = prototypes[:, torch.randperm(count)]
    assert torch.allclose(order(shuffled)[0], ordered), "whichever way they come"
    assert torch.equal(order(shuffled, through_task=False)[0], order(shuffled)[0])
    (ordered[:, 0] * torch.randn(4)).sum().backward()
    assert order.score.weight.grad.abs().sum() > 0


def test_of_two_the_higher_score_comes_first_and_the_given_order_wins_a_tie() -> None:
    scores = torch.tensor([[[1.0, 0.0], [2.0, 0.0]], [[3.0, 0.0], [2.0, 0.0]], [[2.0, 0.0], [2.0, 0.0]]])
    assert best_order(scores).tolist() == [[1, 0], [0, 1], [0, 1]]
    assert best_order(torch.zeros(2, 5, 5)).tolist() == [list(range(5))] * 2


@given(st.integers(2, 6), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_the_optimal_order_is_the_linear_assignment_and_recovers_a_permutation(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    prototypes, targets = (torch.randn(3, count, 5, generator=generator) for _ in range(2))
    errors = (prototypes.unsqueeze(2) - targets.unsqueeze(1)).square().sum(dim=-1)
    for found, cost in zip(optimal_order(prototypes, targets), errors):
        assert found.tolist() == linear_sum_assignment(cost.T.numpy())[1].tolist()
    order = torch.stack([torch.randperm(count, generator=generator) for _ in range(3)])
    noisy = in_order(prototypes, order) + 1e-3
    assert torch.equal(optimal_order(prototypes, noisy), order)


def test_the_general_form_of_the_order_says_of_two_what_the_form_for_two_says() -> None:
    """A softmax over both orders is the sigmoid of the margin; its cross-entropy the binary one."""
    scores = nn.functional.pad(torch.randn(7, 2, 1), (0, 1)).requires_grad_()
    wanted = best_order(torch.randn(7, 2, 2))
    own, total = order_loss(scores, wanted), subspace_order._totals(scores)
    chosen = scores.gather(1, wanted.unsqueeze(1)).sum(dim=(1, 2))
    general = (total.logsumexp(dim=-1) - chosen).mean()
    assert torch.allclose(own, general, atol=1e-6)
    gradients = [torch.autograd.grad(loss, scores)[0][..., 0] for loss in (own, general)]
    assert torch.allclose(*gradients, atol=1e-6)
    assert torch.allclose(total.softmax(dim=-1)[:, 0], torch.sigmoid(scores[:, 0, 0] - scores[:, 1, 0]))


@pytest.mark.parametrize("count", [3, 4])
def test_a_scorer_learns_the_order_that_a_teacher_shows(count: int) -> None:
    torch.manual_seed(1)
    scorer = SubspaceOrder(6, count)
    optimiser = torch.optim.Adam(scorer.parameters(), lr=0.1)
    kinds = torch.randn(count, 6)

    def slides(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        order = torch.stack([torch.randperm(count) for _ in range(number)])
        prototypes = torch.empty(number, count, 6)
        prototypes.scatter_(1, order.unsqueeze(-1).expand_as(prototypes), kinds.expand_as(prototypes))
        return prototypes + 0.1 * torch.randn_like(prototypes), order

    prototypes, order = slides(32)
    for _ in range(60):
        optimiser.zero_grad()
        _, scores = scorer(prototypes, through_task=False)
        order_loss(scores, optimal_order(prototypes, kinds.expand_as(prototypes))).backward()
        optimiser.step()
    unseen, order = slides(50)
    assert torch.equal(best_order(scorer(unseen)[1]), order)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_task_alone_can_teach_the_order(count: int) -> None:
    """Straight-through: moving the scores down the gradient lowers the loss of the order that it leads to."""
    torch.manual_seed(0)
    scorer, target = SubspaceOrder(4, count), torch.randn(count, 4)
    prototypes = torch.stack([target[torch.randperm(count)] for _ in range(16)])
    optimiser = torch.optim.Adam(scorer.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        (scorer(prototypes)[0] - target).square().mean().backward()
        optimiser.step()
    assert torch.allclose(scorer(prototypes)[0], target.expand_as(prototypes))


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c"), FOUR.subspaces, tuple("abcdefgh")])
def test_any_number_of_subspaces_through_both_networks(names: tuple[str, ...]) -> None:
    config = dataclasses.replace(CONFIG, subspaces=names)
    genes = {name: 3 + i for i, name in enumerate(names)}
    teacher, student = Teacher(config, 10, genes, 4), Student(config, 10, 4)
    patches = torch.rand(2, 36, 10), torch.rand(2, 36, 10)
    taught = teacher(*patches, {name: torch.randn(2, count) for name, count in genes.items()})
    seen = student(*patches)
    for m in MAGNIFICATIONS:
        assert tuple(taught.branches[m]) == names
        parts = [taught.branches[m][name].representation for name in names]
        assert torch.equal(taught.representation[m], torch.cat(parts, dim=1))
        assert seen.representation[m].shape == (2, 16 * len(names))
        assert seen.prototypes[m].shape == (2, len(names), 16)
        ordered = in_order(seen.prototypes[m], seen.order[m])
        assert torch.equal(seen.representation[m], ordered.flatten(1))
    for output in (taught, seen):
        sum(x.square().sum() for x in output.logits.values()).backward()
    assert student.learns_order == (len(names) > 1)


@pytest.mark.parametrize("config", [CONFIG, FOUR])
def test_reordering_names_the_prototypes_anew_and_changes_no_prediction(config: ModelConfig) -> None:
    student = Student(config, 10, 4).eval()
    for scorer in student.order.values():
        nn.init.normal_(scorer.score.weight)
    patches = teacher_inputs(6)[:2]
    before, order = student(*patches), [*range(1, len(config.subspaces)), 0]
    student.reorder("10x", order)
    after = student(*patches)
    assert torch.allclose(before.logits["10x"], after.logits["10x"], atol=1e-6)
    assert torch.equal(after.order["10x"], before.order["10x"][:, order])
    assert torch.equal(after.order["20x"], before.order["20x"])


def test_names_of_subspaces_that_cannot_be_are_refused() -> None:
    for names, found in (((), "0 subspaces"), (("a", "a"), "each once"), (tuple("abcdefghi"), "9 subspaces")):
        with pytest.raises(ValueError, match=found):
            dataclasses.replace(CONFIG, subspaces=names)
    with pytest.raises(ValueError, match="'keys'"):
        dataclasses.replace(CONFIG, subspaces=("keys", "tumor"))
    assert dataclasses.replace(CONFIG, subspaces=["b", "a"]).subspaces == ("b", "a")  # type: ignore[arg-type]


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
