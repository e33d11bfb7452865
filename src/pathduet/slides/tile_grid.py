"""Geometry of tiles: an exact, gap-free lattice at a target pixel size. Pure functions, no slide needed.

Names state the unit: ``_um`` micrometres, ``0`` level-0 pixels, ``_px`` tile pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_WHOLE = 1e-6  # of a tile: rounding must not cost the last column


@dataclass(frozen=True)
class Lattice:
    """A lattice of square tiles from the slide's top-left corner; it contains only whole tiles.

    Attributes
    ----------
    columns, rows : int
        Whole tiles across and down.
    width0, height0 : float
        A tile's footprint in level-0 pixels.
    step_x0, step_y0 : float
        Distance between neighbours in level-0 pixels: the footprint minus the overlap. Kept as floats: tile ``i``
        starts at ``i * step_x0``, so rounding errors do not accumulate over a slide.
    """

    columns: int
    rows: int
    width0: float
    height0: float
    step_x0: float
    step_y0: float

    def origin0(self, grid: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the exact top-left corners (n, 2), level-0 pixels, of tiles (n, 2) given as (column, row)."""
        return np.asarray(grid, np.float64) * np.array([self.step_x0, self.step_y0])

    def all_tiles(self) -> NDArray[np.int32]:
        """Return (column, row) of every tile, row by row, as an (n, 2) array."""
        column, row = np.meshgrid(np.arange(self.columns), np.arange(self.rows))
        return np.stack([column.ravel(), row.ravel()], 1).astype(np.int32)


def lattice(
    size0: tuple[int, int],
    mpp: tuple[float, float],
    target_mpp: float,
    tile_px: int = 224,
    overlap_px: int = 0,
) -> Lattice:
    """Return the lattice of `tile_px` tiles of exactly `target_mpp` micrometres per pixel.

    Parameters
    ----------
    size0 : (int, int)
        Width and height of level 0.
    mpp : (float, float)
        Level-0 pixel size in micrometres, x and y (they may differ).
    target_mpp : float
        Target pixel size in micrometres.
    tile_px : int
        Tile edge in pixels.
    overlap_px : int
        Pixels that neighbours share, fewer than `tile_px`.

    >>> lattice((4480, 4480), (0.25, 0.25), 0.5)
    Lattice(columns=10, rows=10, width0=448.0, height0=448.0, step_x0=448.0, step_y0=448.0)
    >>> lattice((4480, 4480), (0.25, 0.25), 0.5, overlap_px=112).columns
    19
    """
    width0, height0 = tile_px * target_mpp / mpp[0], tile_px * target_mpp / mpp[1]
    step = tile_px - overlap_px
    step_x0, step_y0 = step * target_mpp / mpp[0], step * target_mpp / mpp[1]
    columns = int((size0[0] - (width0 - step_x0)) / step_x0 + _WHOLE)
    rows = int((size0[1] - (height0 - step_y0)) / step_y0 + _WHOLE)
    return Lattice(max(0, columns), max(0, rows), width0, height0, step_x0, step_y0)


def box_means(
    values: NDArray[np.floating] | NDArray[np.bool_], boxes: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the area-weighted mean of a pixel map in boxes with fractional edges.

    Parameters
    ----------
    values : (H, W) array
        Constant within each pixel.
    boxes : (n, 4) array
        left, top, right, bottom in pixels of `values`; parts outside count as 0.

    Returns
    -------
    (n,) array
    """
    if not values.any():
        return np.zeros(len(boxes))
    height, width = values.shape
    exact = np.asarray(values).dtype == np.bool_  # counts need half the memory of sums
    integral = np.zeros((height + 1, width + 1), np.int32 if exact else np.float64)
    inner = integral[1:, 1:]
    inner[...] = values
    for above, row in pairwise(inner):  # numpy's cumsum down the columns takes ten times as long
        row += above
    np.cumsum(inner, axis=1, out=inner)

    def at(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float64]:
        # Within a pixel the integral of a piecewise constant map is bilinear, so this is exact.
        x, y = np.clip(x, 0, width), np.clip(y, 0, height)
        i, j = np.minimum(x.astype(int), width - 1), np.minimum(y.astype(int), height - 1)
        u, v = x - i, y - j
        return (
            integral[j, i] * (1 - u) * (1 - v)
            + integral[j, i + 1] * u * (1 - v)
            + integral[j + 1, i] * (1 - u) * v
            + integral[j + 1, i + 1] * u * v
        )

    left, top, right, bottom = np.asarray(boxes, np.float64).T
    area = (right - left) * (bottom - top)
    return (at(right, bottom) - at(left, bottom) - at(right, top) + at(left, top)) / area
