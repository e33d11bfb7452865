"""The comparison networks of the public code: each departure from the equations is really there."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from pathduet.models import MAGNIFICATIONS, ReleasedStudent, ReleasedTeacher
from pathduet.models.method.attention import MultiHeadAttention
from pathduet.models.method.deformable_attention import reference_points, sample_map
from pathduet.models.released import BiasedDeformableAttention, PositionBias, ReleasedConfig

CONFIG = ReleasedConfig(
    tokens=36, width=16, heads=4, head_dim=8, offset_groups=2, offset_kernel=3, stride=2,
    dropout=0.0,
)  # fmt: skip


GENES = {"tumor": 5, "tme": 11}


def inputs() -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    genes = {name: torch.randn(3, count) for name, count in GENES.items()}
    return torch.randn(3, 36, 10), torch.randn(3, 36, 10), genes


def make_teacher() -> ReleasedTeacher:
    return ReleasedTeacher(CONFIG, 10, GENES, 4).eval()


def test_teacher_shapes_are_the_paper_variants_but_for_the_queries() -> None:
    output = make_teacher()(*inputs(), need_selection=True)
    for m in MAGNIFICATIONS:
        assert output.logits[m].shape == (3, 4) and output.representation[m].shape == (3, 32)
        for s in GENES:
            branch = output.branches[m][s]
            assert branch.attention.shape == (3, 4, 36, 9), "a row a position of the map"
            assert torch.allclose(branch.attention.sum(-1), torch.ones(3, 4, 36), atol=1e-6)


def test_nothing_is_selected() -> None:
    for branches in make_teacher()(*inputs(), need_selection=True).branches.values():
        for branch in branches.values():
            assert torch.equal(branch.selection, torch.ones_like(branch.selection)), "one key: a constant"


def test_without_position_bias_every_query_asks_the_same() -> None:
    teacher = make_teacher()
    differs = teacher(*inputs()).branches["10x"]["tumor"].attention.std(dim=2).max()
    for block in teacher.modules():
        if isinstance(block, PositionBias):
            nn.init.zeros_(block.network[-1].weight)
    same = teacher(*inputs()).branches["10x"]["tumor"].attention.std(dim=2).max()
    assert differs > 1e-4 and same < 1e-6


def test_subspaces_are_mixed_before_the_classifier() -> None:
    teacher, (coarse, fine, genes) = make_teacher(), inputs()
    before = teacher(coarse, fine, genes).representation["10x"]
    after = teacher(coarse, fine, genes | {"tumor": genes["tumor"] + 1}).representation["10x"]
    assert not torch.allclose(before[:, 16:], after[:, 16:]), "tumour genes reach the TME half"


def test_genes_reach_the_representation_past_the_attention() -> None:
    fusion = make_teacher().fusion["10x"]
    with torch.no_grad():
        for s in GENES:  # neither attention finds anything
            for block in (fusion.deformation[s].attend, fusion.selection[s]):
                block.output.weight.zero_()
    tokens, genes = torch.randn(2, 36, 16), {s: torch.randn(2, 1, 16) for s in GENES}
    patches, masks = dict.fromkeys(GENES, tokens), dict.fromkeys(GENES, torch.ones(1, dtype=torch.bool))
    found = fusion(patches, genes, masks).representation
    assert not torch.allclose(
        fusion(patches, {s: x + 1 for s, x in genes.items()}, masks).representation, found
    )


def test_position_bias_by_brute_force() -> None:
    bias = PositionBias(6, 2)
    queries, keys = torch.randn(4, 2) * 5, torch.randn(2, 3, 5, 2) * 5
    found = bias(queries, keys)
    assert found.shape == (2, 6, 4, 5)
    for b, g, q, s in ((0, 0, 0, 0), (1, 2, 3, 4), (0, 1, 2, 3)):
        d = queries[q] - keys[b, g, s]
        expected = bias.network(torch.sign(d) * torch.log(1 + d.abs()))
        assert torch.allclose(found[b, 2 * g : 2 * g + 2, q, s], expected, atol=1e-6)


def test_zero_bias_and_offsets_are_plain_attention_at_the_grid_points() -> None:
    block = BiasedDeformableAttention(CONFIG)
    nn.init.zeros_(block.offsets.pointwise.weight)
    for parameter in block.bias.network[-1].parameters():
        nn.init.zeros_(parameter)
    patches = torch.randn(2, 36, 16)
    keys = sample_map(patches, reference_points(3).expand(2, 2, 3, 3, 2))
    assert isinstance(block.attend, MultiHeadAttention)
    expected, attention = block.attend(patches, keys, need_attention=True)
    found = block(patches, patches)
    assert torch.allclose(found.tokens, expected, atol=1e-6)
    assert torch.allclose(found.attention, attention, atol=1e-6)


def test_prototypes_keep_the_order_of_the_cluster_scores() -> None:
    student = ReleasedStudent(CONFIG, 10, 4).eval()
    output = student(*inputs()[:2])
    for m in MAGNIFICATIONS:
        assert torch.equal(output.representation[m], output.prototypes[m].flatten(1))
        assert output.order[m].tolist() == [[0, 1]] * 3
    assert not student.learns_order and not hasattr(student, "order")


def test_copies_use_up_neighbours() -> None:
    student, patches = ReleasedStudent(CONFIG, 10, 4).eval(), inputs()[:2]
    twice = torch.tensor([2, 2, 2])
    for m in MAGNIFICATIONS:
        assert torch.equal(student(*patches).logits[m], student(*patches, twice, twice).logits[m])


def test_every_parameter_gets_a_gradient_but_the_single_keys() -> None:
    teacher, student = make_teacher().train(), ReleasedStudent(CONFIG, 10, 4)
    for network, output in ((teacher, teacher(*inputs())), (student, student(*inputs()[:2]))):
        sum(x.square().sum() for x in output.logits.values()).backward()
        without = {n for n, p in network.named_parameters() if p.grad is None or p.grad.abs().max() == 0}
        # A softmax over one key is 1 whatever query and key are; a shift of all log-weights changes no share.
        idle = ("query.weight", "key.weight")
        unexpected = [n for n in without if not (".selection." in n and n.endswith(idle))]
        assert [n for n in unexpected if not n.endswith("significance.bias")] == []


def test_permuting_slides_permutes_the_answers() -> None:
    teacher, student, order = make_teacher(), ReleasedStudent(CONFIG, 10, 4).eval(), torch.tensor([2, 0, 1])
    given = inputs()
    shuffled = (given[0][order], given[1][order], {s: x[order] for s, x in given[2].items()})
    for whole, permuted in (
        (teacher(*given), teacher(*shuffled)),
        (student(*given[:2]), student(*shuffled[:2])),
    ):
        for m in MAGNIFICATIONS:
            assert torch.allclose(whole.logits[m][order], permuted.logits[m], atol=1e-5)


def test_heads_must_fill_the_offset_groups() -> None:
    with pytest.raises(ValueError, match="offset_groups"):
        dataclasses.replace(CONFIG, heads=3)


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c")])
def test_other_than_two_subspaces_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=f"two subspaces, not {len(names)}"):
        dataclasses.replace(CONFIG, subspaces=names)


def test_what_the_public_code_does_in_one_way_cannot_be_switched() -> None:
    config = ReleasedConfig(token_order="hilbert", patch_start="principal")
    assert (config.token_order, config.patch_start) == ("raster", "random")
    for change in ({"attention": "plain"}, {"gene_input": "vector"}, {"aggregation": "mean"}):
        with pytest.raises(ValueError, match="no such switch"):
            dataclasses.replace(CONFIG, **change)


def test_one_magnification_can_be_read_alone() -> None:
    config = dataclasses.replace(CONFIG, magnifications="20x")
    _, fine, genes = inputs()
    assert list(ReleasedTeacher(config, 10, GENES, 4)(None, fine, genes).logits) == ["20x"]
    assert list(ReleasedStudent(config, 10, 4)(None, fine).logits) == ["20x"]
