"""What the parts of the method are compared with: plain attention, one magnification, a gene vector, mean pooling."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pathduet.models import (
    DeformableAttention,
    GeneVector,
    ModelConfig,
    PlainAttention,
    Student,
    Teacher,
    combine_hazards,
    combine_probabilities,
    pool_keys,
)

SMALL = ModelConfig(tokens=36, width=16, heads=2, head_dim=4, offset_groups=4, offset_kernel=4, stride=2)
SWITCHES = [
    {"attention": "plain"}, {"magnifications": "10x"}, {"magnifications": "20x"}, {"gene_input": "vector"},
    {"aggregation": "mean"}, {"attention": "plain", "magnifications": "20x", "gene_input": "vector"},
]  # fmt: skip


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


GENES = {"tumor": 7, "tme": 11}


def inputs(slides: int = 3) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    genes = {name: torch.randn(slides, count) for name, count in GENES.items()}
    return torch.rand(slides, 36, 10), torch.rand(slides, 36, 10), genes


def networks(change: dict) -> tuple[Teacher, Student]:
    config = dataclasses.replace(SMALL, **change)
    return Teacher(config, 10, GENES, 4), Student(config, 10, 4)


@pytest.mark.parametrize("change", SWITCHES)
def test_shapes_gradients_and_only_what_is_read(change: dict) -> None:
    teacher, student = networks(change)
    given = inputs()
    read = (change["magnifications"],) if "magnifications" in change else ("10x", "20x")
    patches = [x if m in read else None for m, x in zip(("10x", "20x"), given[:2], strict=True)]
    for network, output in (
        (teacher, teacher(*patches, *given[2:], need_selection=True)),
        (student, student(*patches)),
    ):
        assert tuple(output.logits) == tuple(output.representation) == read
        for m in read:
            assert output.logits[m].shape == (3, 4) and output.representation[m].shape == (3, 32)
            assert output.representation[m].abs().max() < 1
        sum(x.square().sum() for x in output.logits.values()).backward()
        without = {n for n, p in network.named_parameters() if p.grad is None or p.grad.abs().max() == 0}
        # A softmax over one key is 1 whatever query and key are; a shift of all log-weights changes no share.
        idle = (".selection.query.weight", ".selection.key.weight") if "gene_input" in change else ()
        assert [n for n in without if not n.endswith((*idle, "significance.bias"))] == []


@pytest.mark.parametrize("change", SWITCHES)
def test_permuting_slides_permutes_the_answers(change: dict) -> None:
    teacher, student = (network.eval() for network in networks(change))
    given, order = inputs(), torch.tensor([2, 0, 1])
    shuffled = (given[0][order], given[1][order], {s: x[order] for s, x in given[2].items()})
    for whole, permuted in (
        (teacher(*given), teacher(*shuffled)),
        (student(*given[:2]), student(*shuffled[:2])),
    ):
        for m, logits in whole.logits.items():
            assert torch.allclose(logits[order], permuted.logits[m], atol=1e-5)


def test_one_magnification_is_that_half_of_both() -> None:
    both, half = networks({}), networks({"magnifications": "20x"})
    for whole, part in zip(both, half, strict=True):
        weights = {n: w for n, w in whole.state_dict().items() if ".10x." not in f".{n}."}
        assert weights.keys() == part.state_dict().keys(), "no weight of the other magnification is kept"
        part.load_state_dict(weights)
        whole.eval(), part.eval()
        given = inputs() if isinstance(whole, Teacher) else inputs()[:2]
        assert torch.equal(whole(*given).logits["20x"], part(None, *given[1:]).logits["20x"])


def test_plain_attention_equals_torchs_multi_head_attention() -> None:
    block = (
        PlainAttention(dataclasses.replace(SMALL, head_dim=8)).double().eval()
    )  # 2 x 8 = width, as torch wants it
    queries, patches = torch.randn(2, 5, 16).double(), torch.randn(2, 36, 16).double()
    attend = block.attend
    expected, weights = F.multi_head_attention_forward(
        queries.transpose(0, 1), patches.transpose(0, 1), patches.transpose(0, 1), 16, 2, None, None, None, None,
        False, 0.0, attend.output.weight, attend.output.bias, use_separate_proj_weight=True,
        q_proj_weight=attend.query.weight, k_proj_weight=attend.key.weight, v_proj_weight=attend.value.weight,
        average_attn_weights=False,
    )  # fmt: skip
    for need_attention in (True, False):
        found = block(queries, patches, need_attention=need_attention)
        assert torch.allclose(found.tokens, expected.transpose(0, 1), atol=1e-12)
        assert (found.attention is not None) == need_attention
    attention = block(queries, patches, need_attention=True).attention
    assert torch.allclose(attention, weights, atol=1e-12)


def test_plain_attention_is_deformable_attention_on_every_cell_with_offsets_of_zero() -> None:
    # the kernel of 1 is the only one that fits stride 1 without an offset of its own
    deformable = DeformableAttention(dataclasses.replace(SMALL, stride=1, offset_kernel=1))
    torch.nn.init.zeros_(deformable.offsets.pointwise.weight)
    plain = PlainAttention(SMALL)
    plain.attend.load_state_dict(deformable.attend.state_dict())
    queries, patches = torch.randn(2, 9, 16), torch.randn(2, 36, 16)
    one = deformable.eval()(queries, patches, need_attention=True)
    other = plain.eval()(queries, patches, need_attention=True)
    assert torch.allclose(one.tokens, other.tokens, atol=1e-5)
    assert torch.allclose(one.attention, other.attention, atol=1e-6)
    assert torch.equal(one.offsets, other.offsets)


def test_plain_attention_keeps_no_matrix_that_nobody_asked_for() -> None:
    teacher = networks({"attention": "plain"})[0]
    branch = teacher(*inputs(), need_attention=False).branches["10x"]["tumor"]
    assert branch.attention is None and branch.offsets.abs().max() == 0
    asked = teacher.eval()(*inputs()).branches["10x"]["tumor"].attention
    assert asked.shape == (3, 2, 9, 36) and torch.allclose(asked.sum(-1), torch.ones(()), atol=1e-5)
    deformable = networks({})[0](*inputs(), need_attention=False).branches["10x"]["tumor"]
    assert deformable.attention.shape == (3, 2, 9, 9), "nine reference points: always there"


@pytest.mark.parametrize(("n", "side"), [(6, 3), (50, 12), (7, 1), (5, 5)])
def test_pooling_keys_by_hand(n: int, side: int) -> None:
    attention = torch.rand(2, 3, 4, n * n).softmax(-1)
    found = pool_keys(attention, side)
    expected = np.zeros((2, 3, 4, side, side))
    for y in range(n):
        for x in range(n):
            cell = attention[..., y * n + x].numpy()
            expected[..., int((y + 0.5) / n * side), int((x + 0.5) / n * side)] += cell
    assert np.allclose(found.numpy(), expected.reshape(2, 3, 4, -1), atol=1e-6)
    assert torch.allclose(found.sum(-1), torch.ones(()), atol=1e-5)


def test_a_gene_vector_is_one_token_that_follows_the_expression() -> None:
    teacher = networks({"gene_input": "vector"})[0].eval()
    assert all(isinstance(teacher.genes[s], GeneVector) for s in ("tumor", "tme"))
    assert teacher.gene_mask("tumor").tolist() == [True]
    coarse, fine, genes = inputs()
    before = teacher(coarse, fine, genes, need_selection=True)
    after = teacher(coarse, fine, genes | {"tumor": genes["tumor"] + 1})
    branch = before.branches["10x"]["tumor"]
    assert branch.attention.shape == (3, 2, 1, 9)
    assert torch.equal(branch.selection, torch.ones(3, 2, 1, 1)), "one key: nothing to select among"
    assert not torch.allclose(before.representation["10x"][:, :16], after.representation["10x"][:, :16])
    assert torch.equal(before.representation["10x"][:, 16:], after.representation["10x"][:, 16:])
    with pytest.raises(ValueError, match="5 genes given to a network made for 7"):
        teacher(coarse, fine, genes | {"tumor": genes["tumor"][:, :5]})


def test_mean_pooling_by_hand_and_blind_to_the_order_of_patches() -> None:
    student = networks({"aggregation": "mean"})[1].eval()
    patches = inputs()[:2]
    output = student(*patches)
    assert not student.learns_order and output.aggregation == {}
    for m, x in zip(("10x", "20x"), patches, strict=True):
        mean = student.patch_tokens(m)(x).mean(dim=1)
        assert torch.allclose(output.representation[m], torch.tanh(student.halves[m](mean)), atol=1e-6)
        assert torch.equal(output.prototypes[m].flatten(1), output.representation[m])
        assert output.order[m].tolist() == [[0, 1]] * 3, "the given order stands"
    shuffled = student(*(x[:, torch.randperm(36)] for x in patches))
    assert torch.allclose(shuffled.logits["20x"], output.logits["20x"], atol=1e-5)


@pytest.mark.parametrize("only", ["10x", "20x"])
def test_a_single_expert_speaks_for_itself(only: str) -> None:
    logits = {only: torch.randn(5, 3)}
    for rule in ("max_confidence", "mean"):
        probability, expert, single = combine_probabilities(logits, rule)
        assert torch.equal(probability, logits[only].softmax(-1)) and list(single) == [only]
        assert expert.tolist() == [("10x", "20x").index(only)] * 5
    hazards, single = combine_hazards(logits)
    assert torch.equal(hazards, logits[only].sigmoid()) and list(single) == [only]


@pytest.mark.parametrize("name", ["attention", "magnifications", "gene_input", "aggregation"])
def test_unknown_values_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"model\.{name} is 'other'; known: "):
        dataclasses.replace(SMALL, **{name: "other"})
