from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathduet.features.hilbert import hilbert_order
from pathduet.features.token_map import map_order, token_indices, token_rows


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


def test_map_neighbours_are_tissue_neighbours() -> None:
    grid = np.stack(np.meshgrid(np.arange(50), np.arange(50)), -1).reshape(-1, 2)
    where = grid[token_rows(grid, 2500)].reshape(50, 50, 2)
    distance = np.linalg.norm(np.diff(where, axis=1), axis=-1)
    shuffled = np.random.default_rng(0).permutation(grid).reshape(50, 50, 2)
    assert distance.mean() < 0.25 * np.linalg.norm(np.diff(shuffled, axis=1), axis=-1).mean()
