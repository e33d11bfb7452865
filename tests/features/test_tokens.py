from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathduet.features.hilbert import hilbert_order
from pathduet.features.token_map import map_order, nested_token_rows, parents, token_indices, token_rows


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 7, 10, 13, 16, 25, 31, 50, 64, 99])
def test_the_map_walk_visits_every_cell_once_and_steps_only_to_neighbours(side: int) -> None:
    walk = map_order(side)
    assert sorted(walk.tolist()) == list(range(side * side))
    row, column = np.divmod(walk, side)
    steps = np.abs(np.diff(row)) + np.abs(np.diff(column))
    assert (steps == 1).all()


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_hilbert_order_of_a_full_square_steps_only_to_neighbours(bits: int) -> None:
    edge = 2**bits
    grid = np.stack(np.meshgrid(np.arange(edge), np.arange(edge)), -1).reshape(-1, 2)
    grid = np.random.default_rng(bits).permutation(grid)
    path = grid[hilbert_order(grid)]
    assert (np.abs(np.diff(path, axis=0)).sum(1) == 1).all()


def test_hilbert_order_does_not_depend_on_where_or_in_which_order_the_tiles_are() -> None:
    rng = np.random.default_rng(0)
    grid = np.unique(rng.integers(0, 40, (300, 2)), axis=0)
    path = grid[hilbert_order(grid)]
    shift = np.array([1000, 77])
    shuffled = rng.permutation(grid) + shift
    assert np.array_equal(shuffled[hilbert_order(shuffled)] - shift, path)


def test_hilbert_neighbours_are_nearer_than_raster_neighbours() -> None:
    y, x = np.mgrid[:60, :60]
    grid = np.stack([x, y], -1)[np.hypot(x - 30, y - 30) < 28]
    path, lag = grid[hilbert_order(grid)], 40
    by_curve = np.linalg.norm(path[lag:] - path[:-lag], axis=1).mean()
    by_row = np.linalg.norm(grid[lag:] - grid[:-lag], axis=1).mean()
    assert by_curve < 0.5 * by_row


@given(st.integers(1, 400), st.integers(1, 400))
def test_token_indices_follow_the_rule(n: int, n_tokens: int) -> None:
    found = token_indices(n, n_tokens).tolist()
    if n <= n_tokens:
        assert found == (list(range(n)) * n_tokens)[:n_tokens]
    else:
        assert found == [round(i * n / n_tokens) for i in range(n_tokens)]
        assert len(set(found)) == n_tokens and max(found) < n


def test_every_tile_is_used_as_often_as_any_other_give_or_take_one() -> None:
    counts = np.bincount(token_indices(700, 2500))
    assert counts.min() == 3 and counts.max() == 4


def test_no_tiles_no_tokens() -> None:
    with pytest.raises(ValueError, match="0 tiles"):
        token_indices(0, 100)
    with pytest.raises(ValueError, match="square"):
        token_rows(np.zeros((3, 2), int), 99)


@pytest.mark.parametrize("order", ["hilbert", "raster"])
def test_the_map_reads_back_as_the_tokens_sequence(order: str) -> None:
    grid = np.unique(np.random.default_rng(1).integers(0, 30, (200, 2)), axis=0)
    rows = token_rows(grid, 100, order)  # type: ignore[arg-type]
    sequence = hilbert_order(grid) if order == "hilbert" else np.lexsort((grid[:, 0], grid[:, 1]))
    assert np.array_equal(rows[map_order(10, order)], sequence[token_indices(len(grid), 100)])  # type: ignore[arg-type]


def test_copies_lie_beside_their_original_on_the_curve() -> None:
    grid = np.stack(np.meshgrid(np.arange(5), np.arange(5)), -1).reshape(-1, 2)
    walked = token_rows(grid, 100)[map_order(10)]
    assert np.array_equal(walked, np.repeat(hilbert_order(grid), 4))
    listed = token_rows(grid, 100, "raster")
    assert np.array_equal(listed, np.tile(np.arange(25), 4))


def test_map_neighbours_are_tissue_neighbours() -> None:
    grid = np.stack(np.meshgrid(np.arange(50), np.arange(50)), -1).reshape(-1, 2)
    where = grid[token_rows(grid, 2500)].reshape(50, 50, 2)
    distance = np.linalg.norm(np.diff(where, axis=1), axis=-1)
    shuffled = np.random.default_rng(0).permutation(grid).reshape(50, 50, 2)
    assert distance.mean() < 0.25 * np.linalg.norm(np.diff(shuffled, axis=1), axis=-1).mean()


def tissue(tiles_10x: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the tiles of a piece of tissue with holes at 10x and at 20x, in a random order each."""
    side = int(np.sqrt(tiles_10x * 1.6)) + 2
    y, x = np.mgrid[:side, :side]
    wave = np.sin(x / side * 7 + rng.uniform(0, 6)) + np.cos(y / side * 5 + rng.uniform(0, 6))
    coarse = np.stack([x, y], -1)[wave > np.quantile(wave, 1 - tiles_10x / side**2)]
    fine = (2 * coarse[:, None] + np.array([[0, 0], [1, 0], [0, 1], [1, 1]])).reshape(-1, 2)
    fine = fine[rng.random(len(fine)) < 0.9]  # some lie on glass
    return rng.permutation(coarse), rng.permutation(fine)


@pytest.mark.parametrize("tiles", [1, 83, 300, 700, 2500, 4000, 12_000])
def test_a_cell_shows_the_same_place_at_both_magnifications(tiles: int) -> None:
    rng = np.random.default_rng(tiles)
    coarse, fine = tissue(tiles, rng)
    parent = parents(coarse + 0.5, (fine + 0.5) / 2)
    rows = token_rows(coarse, 2500)
    nested = nested_token_rows(coarse, fine, parent, 2500)
    apart = np.abs(coarse[rows] - fine[nested] // 2).max(axis=1)
    # but for the few coarse tiles none of whose children is tissue
    assert np.mean(apart == 0) > 0.99
    assert len(set(nested.tolist())) > 0.75 * min(2500, len(fine))


def test_children_of_a_repeated_tile_take_turns() -> None:
    coarse, fine = np.array([[0, 0]]), np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    nested = nested_token_rows(coarse, fine, np.zeros(4, int), 16)
    assert np.bincount(nested).tolist() == [4, 4, 4, 4]
    assert nested_token_rows(coarse, fine, np.zeros(4, int), 1).tolist() == [2]


def test_tissue_seen_at_one_magnification_only_belongs_to_the_nearest_tile() -> None:
    coarse = np.array([[0, 0], [5, 0]])
    fine = np.array(
        [[0, 0], [1, 1], [4, 0]]
    )  # the last one's own coarse tile is missing, the second's children too
    parent = parents(coarse + 0.5, (fine + 0.5) / 2)
    assert parent.tolist() == [0, 0, 0]
    assert set(nested_token_rows(coarse, fine, parent, 9).tolist()) <= {0, 1, 2}
