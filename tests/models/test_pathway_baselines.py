"""SurvPath and MMP: what attends to what, and prototypes against plain computations."""

from __future__ import annotations

from dataclasses import replace

import baseline_inputs as small_cohort
import pytest
import torch

from pathduet.models.baselines.survpath import PathwayAttention
from pathduet.models.tile_prototypes import TilePrototypes


@pytest.mark.parametrize("among_histology", [False, True])
def test_a_tile_hears_of_other_tiles_only_where_histology_attends_to_itself(among_histology: bool) -> None:
    torch.manual_seed(0)
    block = PathwayAttention(8, among_histology)
    pathways, tiles = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    of_pathways, of_tiles = block(pathways, tiles)
    assert of_pathways.shape == (2, 3, 4) and of_tiles.shape == (2, 5, 4)
    changed = tiles.index_fill(1, torch.tensor([4]), 1.5)
    others, rest = block(pathways, changed)
    assert torch.allclose(rest[:, :4], of_tiles[:, :4]) is not among_histology
    assert not torch.allclose(others, of_pathways)


def test_pathway_attention_agrees_with_a_softmax_under_a_mask() -> None:
    torch.manual_seed(0)
    block = PathwayAttention(8, False).double()
    pathways, tiles = torch.randn(1, 3, 8).double(), torch.randn(1, 5, 8).double()
    q, k, v = block.projections(block.norm(torch.cat([pathways, tiles], dim=1))).chunk(3, dim=-1)
    scores = q @ k.transpose(1, 2) / 4**0.5
    scores[:, 3:, 3:] = -torch.inf
    expected = scores.softmax(dim=-1) @ v
    assert torch.allclose(torch.cat(block(pathways, tiles), dim=1), expected)


def fitted() -> tuple[TilePrototypes, torch.Tensor, torch.Tensor]:
    """Return prototypes of four far clusters of tiles, the tiles, and the cluster of each."""
    generator = torch.Generator().manual_seed(0)
    cluster = torch.arange(200) % 4
    tiles = 20 * torch.randn(4, 6, generator=generator)[cluster] + torch.randn(200, 6, generator=generator)
    block = TilePrototypes(6, 4)
    block.fit(tiles)
    return block, tiles, cluster


def test_prototypes_are_the_means_of_the_training_clusters_each_time() -> None:
    block, tiles, cluster = fitted()
    scaled = (tiles - tiles.mean(0)) / tiles.std(0)
    means = torch.stack([scaled[cluster == k].mean(0) for k in range(4)])
    distance = torch.cdist(means, block.centres)
    assert distance.min(dim=1).values.max() < 1e-4
    assert torch.equal(fitted()[0].centres, block.centres)


def test_a_slides_mixture_agrees_with_its_tiles_moments() -> None:
    block, tiles, cluster = fitted()
    block.centres.mul_(10)  # so far apart that each tile is of one component
    block.scale.mul_(10)
    picked = torch.cat([tiles[cluster == 1][:30], tiles[cluster == 2][:10]])
    weight, mean, variance = block(picked[None])[0].split([1, 6, 6], dim=1)
    scaled = (picked - block.mean) * block.scale
    owner = torch.cdist(scaled, block.centres).argmin(dim=1)
    for k in range(4):
        mine, prior = scaled[owner == k], block.centres[k]
        count = len(mine) + 1
        assert weight[k].item() == pytest.approx(count / 44)
        expected = (mine.sum(0) + prior) / count
        assert torch.allclose(mean[k], expected, atol=1e-4)
        second = (mine.square().sum(0) + 1 + prior.square()) / count
        assert torch.allclose(variance[k], second - expected.square(), rtol=1e-3, atol=1e-2)
    assert sorted(torch.bincount(owner, minlength=4).tolist()) == [0, 0, 10, 30]


def test_more_copies_of_a_tile_raise_its_prototypes_weight_in_mmp() -> None:
    model, items = small_cohort.small("mmp").eval(), small_cohort.batch(2)
    block = model.prototypes["10x"]
    assert block(items.patches["10x"])[:, :, 0].sum(dim=1) == pytest.approx([1, 1])
    copied = items.patches["10x"].clone()
    copied[:, :18] = block.centres[0]
    assert (block(copied)[:, 0, 0] > block(items.patches["10x"])[:, 0, 0]).all()
    other = replace(items, patches=items.patches | {"10x": copied})
    assert not torch.allclose(model(other).logits, model(items).logits)
