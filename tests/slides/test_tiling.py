from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pathduet.slides.previews import mask_preview
from pathduet.slides.tile_grid import box_means, lattice

MPP = st.floats(0.1, 0.6)


@given(MPP, MPP, st.integers(1, 200_000), st.integers(1, 200_000), st.sampled_from([0.5, 1.0]))
def test_tiles_lie_inside_and_no_further_one_would_fit(
    x: float, y: float, width: int, height: int, target: float
) -> None:
    tiles = lattice((width, height), (x, y), target)
    for count, size, footprint in (
        (tiles.columns, width, tiles.width0),
        (tiles.rows, height, tiles.height0),
    ):
        assert count * footprint <= size + 1e-5 * footprint
        assert (count + 1) * footprint > size


@given(st.integers(2000, 9999))
def test_positions_do_not_drift_over_a_slide(mpp_1e4: int) -> None:
    mpp = mpp_1e4 / 10_000
    tiles = lattice((200_000, 1_000), (mpp, mpp), 0.5)
    last = tiles.origin0(np.array([[tiles.columns - 1, 0]]))[0, 0]
    exact = Fraction(tiles.columns - 1) * 224 * Fraction(1, 2) / Fraction(mpp_1e4, 10_000)
    assert abs(last - float(exact)) < 1e-6


def test_a_10x_tile_covers_exactly_four_20x_tiles() -> None:
    low, high = (lattice((9_999, 7_777), (0.2527, 0.2531), target) for target in (1.0, 0.5))
    assert (low.width0, low.height0) == (2 * high.width0, 2 * high.height0)
    assert (low.columns, low.rows) == (high.columns // 2, high.rows // 2)


@settings(deadline=None)  # a stride of one pixel makes a large lattice
@given(MPP, st.integers(1, 20_000), st.integers(0, 223))
def test_overlapping_tiles_share_just_so_many_pixels(mpp: float, width: int, overlap: int) -> None:
    tiles = lattice((width, width), (mpp, mpp), 0.5, 224, overlap)
    assert np.isclose(tiles.width0 - tiles.step_x0, overlap * 0.5 / mpp, atol=1e-9)
    origins = tiles.origin0(tiles.all_tiles())
    if len(origins):
        assert origins.max() + tiles.width0 <= width + 1e-5 * tiles.width0
        assert origins.max() + tiles.step_x0 + tiles.width0 > width
    else:
        assert tiles.width0 > width


def test_without_overlap_the_lattice_is_bit_for_bit_the_plain_one() -> None:
    for size, mpp in (((9_999, 7_777), 0.2527), ((100_003, 51), 0.4991)):
        tiles = lattice(size, (mpp, mpp), 0.5)
        assert (tiles.step_x0, tiles.step_y0) == (tiles.width0, tiles.height0)
        assert tiles.columns == int(size[0] / tiles.width0 + 1e-6)


def test_a_slide_of_whole_tiles_loses_none_to_rounding() -> None:
    for mpp in (0.1, 0.2, 0.25, 0.35, 0.5, 0.7):
        edge = round(7 * 224 * 1.0 / mpp)
        if abs(edge * mpp - 7 * 224) < 1e-9:
            assert lattice((edge, edge), (mpp, mpp), 1.0).columns == 7


def test_all_tiles_come_row_by_row() -> None:
    tiles = lattice((3 * 224, 2 * 224), (0.5, 0.5), 0.5)
    assert tiles.all_tiles().tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_box_means_equal_counting_on_a_fine_raster(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((6, 5)) < 0.5
    fine = np.kron(values, np.ones((16, 16)))
    x, y = np.sort(rng.integers(0, 80, 2)), np.sort(rng.integers(0, 96, 2))
    x[1] += x[0] == x[1]
    y[1] += y[0] == y[1]
    expected = fine[y[0] : y[1], x[0] : x[1]].mean()
    box = np.array([[x[0], y[0], x[1], y[1]]]) / 16
    assert abs(box_means(values, box)[0] - expected) < 1e-9


def test_the_part_of_a_box_outside_counts_as_nothing() -> None:
    assert box_means(np.ones((4, 4)), np.array([[2.0, 0.0, 6.0, 4.0]]))[0] == 0.5


def test_the_preview_of_a_slide_longer_than_512_tiles_is_drawn() -> None:
    tiles = lattice((224 * 700, 2_000), (0.5, 0.5), 0.5)
    shape = 7, 512  # so a tile is narrower than a pixel
    white, tissue = np.full((*shape, 3), 255, np.uint8), np.ones(shape, bool)
    corners = tiles.origin0(tiles.all_tiles())
    kept = {"20x": (corners, tiles.width0, tiles.height0)}
    drawn = np.asarray(mask_preview(white, tissue, ~tissue, (224 * 700, 2_000), kept))
    inside = drawn[1:-1, 1:-1]  # without the tissue's outline
    assert (inside != 255).any(-1).all()
