"""Multi-head and deformable attention: against torch's own, by hand, and by properties."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from pathduet.models import DeformableAttention, ModelConfig, MultiHeadAttention, reference_points, sample_map

CONFIG = ModelConfig(
    tokens=36, width=8, heads=2, head_dim=4, offset_groups=2, offset_kernel=3, stride=2, dropout=0.0
)


def zero_offsets(block: DeformableAttention) -> None:
    nn.init.zeros_(block.offsets.pointwise.weight)


def test_equals_torchs_multi_head_attention() -> None:
    block = MultiHeadAttention(8, 2, 4)
    reference = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([block.query.weight, block.key.weight, block.value.weight]))
        nn.init.zeros_(reference.in_proj_bias)
        reference.out_proj.weight.copy_(block.output.weight)
        reference.out_proj.bias.copy_(block.output.bias)
    queries, source = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
    mask = torch.tensor([True] * 5 + [False] * 2)
    expected, weights = reference(
        queries, source, source, key_padding_mask=~mask.expand(3, 7), average_attn_weights=False
    )
    for need in (False, True):
        found, attention = block(queries, source, mask, need_attention=need)
        assert torch.allclose(found, expected, atol=1e-6)
        assert (attention is None) != need
    assert attention is not None and torch.allclose(attention, weights, atol=1e-6)


def test_attention_rows_sum_to_one_even_with_dropout() -> None:
    block = MultiHeadAttention(8, 2, 4, dropout=0.5).train()
    _, attention = block(torch.randn(2, 5, 8), torch.randn(2, 9, 8), need_attention=True)
    assert attention.shape == (2, 2, 5, 9)
    assert torch.allclose(attention.sum(dim=-1), torch.ones(2, 2, 5), atol=1e-6)


def test_attention_is_computed_in_float32_under_autocast() -> None:
    block = MultiHeadAttention(8, 2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        _, attention = block(torch.randn(2, 5, 8), torch.randn(2, 9, 8), need_attention=True)
    assert attention.dtype is torch.float32
    assert torch.allclose(attention.sum(dim=-1), torch.ones(2, 2, 5), atol=1e-6)


def test_masked_sources_change_nothing() -> None:
    block = MultiHeadAttention(8, 2, 4)
    queries, source = torch.randn(2, 5, 8), torch.randn(2, 6, 8)
    mask = torch.tensor([True, True, True, True, False, False])
    changed = torch.where(mask.view(1, 6, 1), source, torch.full_like(source, 50.0))
    assert torch.equal(block(queries, source, mask)[0], block(queries, changed, mask)[0])


def test_reference_points_are_cell_centres() -> None:
    points = reference_points(2)
    assert points.tolist() == [[[-0.5, -0.5], [0.5, -0.5]], [[-0.5, 0.5], [0.5, 0.5]]]


def test_sampling_at_every_cell_centre_gives_the_map_back() -> None:
    patches = torch.randn(2, 25, 4)
    points = reference_points(5).expand(2, 2, 5, 5, 2)
    assert torch.allclose(sample_map(patches, points), patches, atol=1e-5)


def test_one_cell_to_the_right_reads_the_right_neighbour() -> None:
    patches = torch.arange(16.0).view(1, 16, 1)  # 4 x 4, row by row
    points = reference_points(4) + torch.tensor([2 / 4, 0.0])
    sampled = sample_map(patches, points.view(1, 1, 4, 4, 2)).view(4, 4)
    assert torch.allclose(sampled[:, :3], patches.view(4, 4)[:, 1:], atol=1e-5)
    assert torch.allclose(sampled[:, 3], patches.view(4, 4)[:, 3], atol=1e-5), "beyond the map: its border"


def test_each_group_of_channels_is_read_at_its_own_points() -> None:
    patches = torch.randn(1, 9, 4)
    points = torch.stack([reference_points(3), reference_points(3).flip(1)]).unsqueeze(0)  # (1, 2, 3, 3, 2)
    sampled = sample_map(patches, points).view(3, 3, 4)
    whole = patches.view(3, 3, 4)
    assert torch.allclose(sampled[..., :2], whole[..., :2], atol=1e-5)
    assert torch.allclose(sampled[..., 2:], whole.flip(1)[..., 2:], atol=1e-5)


@pytest.mark.parametrize(("tokens", "side"), [(2500, 12), (144, 3), (16, 1), (256, 4), (4, 1)])
def test_reference_grid_of_the_papers_sizes(tokens: int, side: int) -> None:
    config = ModelConfig(tokens=tokens, width=16)
    block = DeformableAttention(config)
    patches = torch.randn(1, tokens, 16)
    output = block(patches, patches, need_attention=True)
    assert output.offsets.shape == (1, 8, side, side, 2)
    assert output.attention.shape == (1, 8, tokens, side * side)


@pytest.mark.parametrize("queries", [1, 4, 9, 64, 361, 400])
def test_any_query_grid_meets_the_reference_grid(queries: int) -> None:
    block = DeformableAttention(ModelConfig(tokens=2500, width=16))
    output = block(torch.randn(1, queries, 16), torch.randn(1, 2500, 16))
    assert output.tokens.shape == (1, queries, 16)
    assert output.offsets.shape == (1, 8, 12, 12, 2)


def test_zero_offsets_are_plain_attention_at_the_grid_points() -> None:
    # Stride 3 on 6 x 6: the reference points (cell centres of a 2 x 2 grid) fall on the middles of cells 1 and 4.
    config = ModelConfig(
        tokens=36, width=8, heads=2, head_dim=4, offset_groups=2, offset_kernel=3, stride=3, dropout=0.0
    )
    block = DeformableAttention(config)
    zero_offsets(block)
    patches, queries = torch.randn(2, 36, 8), torch.randn(2, 9, 8)
    cells = [1 * 6 + 1, 1 * 6 + 4, 4 * 6 + 1, 4 * 6 + 4]
    found = block(queries, patches, need_attention=True)
    expected, attention = block.attend(queries, patches[:, cells], need_attention=True)
    assert torch.equal(found.offsets, torch.zeros_like(found.offsets))
    assert torch.allclose(found.tokens, expected, atol=1e-6)
    assert torch.allclose(found.attention, attention, atol=1e-6)


def test_attention_by_hand() -> None:
    # One head of width 2, identity projections, keys e1 and e2 scaled: softmax of (sqrt(2), 0) / sqrt(2).
    block = MultiHeadAttention(2, 1, 2)
    with torch.no_grad():
        for layer in (block.query, block.key, block.value, block.output):
            layer.weight.copy_(torch.eye(2))
        nn.init.zeros_(block.output.bias)
    source = torch.tensor([[[2**0.5, 0.0], [0.0, 2**0.5]]])
    output, attention = block(torch.tensor([[[1.0, 0.0]]]), source, need_attention=True)
    share = torch.e / (torch.e + 1)
    assert attention[0, 0, 0].tolist() == pytest.approx([share, 1 - share], rel=1e-6)
    assert output[0, 0].tolist() == pytest.approx([share * 2**0.5, (1 - share) * 2**0.5], rel=1e-6)


def test_offsets_stay_in_range_and_depend_on_the_queries() -> None:
    block = DeformableAttention(CONFIG)
    patches = torch.randn(2, 36, 8)
    one, other = (block(torch.randn(2, 16, 8) * 20, patches).offsets for _ in range(2))
    # 6 cells and 3 points: a spacing is 2 cells, and this many strong queries reach the limit
    assert CONFIG.offset_range_points * 1.5 < one.abs().max() <= CONFIG.offset_range_points * 2
    assert not torch.allclose(one, other)
    assert one.flatten(2, 3).std(dim=2).min() > 0, "every group's offsets differ across the grid"


def test_offsets_see_the_tissue_only_where_they_are_told_to() -> None:
    queries, here, there = torch.randn(2, 16, 8), torch.randn(2, 36, 8), torch.randn(2, 36, 8)
    for given, moved in (("queries", False), ("queries_and_patches", True)):
        block = DeformableAttention(dataclasses.replace(CONFIG, offset_input=given))
        assert torch.equal(block(queries, here).offsets, block(queries, there).offsets) != moved


def test_points_keep_their_place_in_half_precision() -> None:
    torch.manual_seed(0)
    ramp = torch.arange(50.0).repeat(50, 1).reshape(1, 2500, 1).expand(-1, -1, 8)  # each cell's column
    points = torch.rand(1, 2, 12, 12, 2) * 1.9 - 0.95
    exact = sample_map(ramp, points)[0, :, 0]
    with torch.autocast("cpu", torch.bfloat16):
        found = sample_map(ramp.to(torch.bfloat16), points)
    assert found.dtype == torch.bfloat16
    # what remains is the rounding of the value itself, half a step of 1/8 between 16 and 32 and of 1/4 above
    assert (found[0, :, 0].float() - exact).abs().max() <= 0.13
    block = DeformableAttention(CONFIG)
    with torch.autocast("cpu", torch.bfloat16):
        assert block(torch.randn(1, 16, 8), torch.randn(1, 36, 8)).offsets.dtype == torch.float32


def test_masked_queries_move_no_point() -> None:
    block = DeformableAttention(CONFIG)
    patches, queries = torch.randn(2, 36, 8), torch.randn(2, 16, 8)
    mask = torch.arange(16) < 13
    changed = torch.where(mask.view(1, 16, 1), queries, torch.full_like(queries, 9.0))
    first, second = block(queries, patches, mask), block(changed, patches, mask)
    assert torch.equal(first.offsets, second.offsets)
    assert torch.equal(first.tokens[:, :13], second.tokens[:, :13])


def test_permuting_slides_permutes_outputs() -> None:
    block = DeformableAttention(CONFIG).eval()
    patches, order = torch.randn(4, 36, 8), torch.tensor([3, 1, 0, 2])
    assert torch.allclose(
        block(patches, patches).tokens[order], block(patches[order], patches[order]).tokens, atol=1e-6
    )


def test_gradients_reach_the_offsets_and_pass_gradcheck() -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        tokens=16, width=4, heads=2, head_dim=2, offset_groups=2, offset_kernel=3, stride=2, dropout=0.0
    )
    block = DeformableAttention(config).double()
    queries = torch.randn(1, 4, 4, dtype=torch.float64, requires_grad=True)
    patches = torch.randn(1, 16, 4, dtype=torch.float64, requires_grad=True)
    for need in (False, True):
        assert torch.autograd.gradcheck(
            lambda q, p, n=need: block(q, p, need_attention=n).tokens, (queries, patches)
        )
    block(queries, patches).tokens.square().sum().backward()
    assert block.offsets.pointwise.weight.grad.abs().sum() > 0
