"""Reduction of a pyramid's levels, from their sizes, and whether their contents agree."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Edge of the patches that are compared, in pixels of a level.
PATCH_PX = 64
_STEPS = (0.7548776662466927, 0.5698402909980532)
_MANY = 16  # patches along an edge: few of all places are the same if they start at whole patches
_LEAST_CONTRAST = 6.0  # grey levels, of means of 4 x 4 pixels
_LARGEST_RMS = 255 * 10 ** (-25 / 20)  # 25 dB
_ALIKE = 0.7  # correlation
_MOST_SHIFT_PX = 0.6  # half a pixel, plus the error of a fit to one patch


def reduction(size0: tuple[int, int], size: tuple[int, int], tile: tuple[int, int] | None = None) -> float:
    """Return the reduction of a level if the sizes determine it; 0 otherwise.

    An integer if the level's size is level 0's divided by it, rounded. Libraries divide the sizes: a level of 1499 x 499
    pixels, a quarter of 5999 x 1999, would be reduced by 4.004, and at the far edge every pixel would be off by one and a
    half pixels. A power of two if the divided size is padded to whole tiles, as Philips does.

    Parameters
    ----------
    size0, size : (int, int)
        Width and height of level 0 and of the level.
    tile : (int, int), optional
        Width and height of the level's tiles.

    >>> reduction((5999, 1999), (1499, 499)), reduction((5999, 1999), (2400, 800))
    (4.0, 0.0)
    >>> reduction((2048, 2816), (1024, 1536), (256, 256))
    2.0
    """
    ratios = [large / small for large, small in zip(size0, size)]
    whole = round(sum(ratios) / 2)
    if whole and all(abs(small - large / whole) < 1 for small, large in zip(size, size0)):
        return float(whole)
    if tile is None or max(ratios) < 1:
        return 0.0
    power = 2 ** math.ceil(math.log2(max(ratios)))
    padded = tuple(math.ceil(math.ceil(large / power) / edge) * edge for large, edge in zip(size0, tile))
    return float(power) if padded == size and size0 != size else 0.0


def places(size: tuple[int, int], count: int) -> Iterator[tuple[int, int]]:
    """Yield positions for patches all over a level, evenly spread for any number of them and always the same.

    On a large level they start at whole patches, so that they lie in one tile of their level, and often of the finer one.

    >>> next(places((1000, 500), 1)), next(places((4000, 2000), 1))
    ((238, 30), (960, 128))
    """
    whole = PATCH_PX if min(size) >= _MANY * PATCH_PX else 1
    for i in range(1, count + 1):  # the additive recurrence of the plastic number
        x, y = (int((0.5 + i * step) % 1 * max(0, edge - PATCH_PX)) for step, edge in zip(_STEPS, size))
        yield x // whole * whole, y // whole * whole


def tells(patch: NDArray[np.uint8], times: float = 1.0) -> bool:
    """Return whether a patch has enough contrast to locate it, or `times` as much."""
    return float(_grey(_coarse(patch)).std()) >= times * _LEAST_CONTRAST


def agree(patch: NDArray[np.uint8], finer: NDArray[np.uint8]) -> bool:
    """Return whether a patch of a level shows the same as the finer level there, read at the same size.

    The tolerance is 25 dB and half a pixel. Means of 4 x 4 pixels are compared, to ignore JPEG noise, blur and
    subsampling; the shift is fitted along with brightness, contrast and blur.
    """
    one, other = _coarse(patch), _coarse(finer)
    if np.sqrt(np.mean((one - other) ** 2)) > _LARGEST_RMS or np.ptp(other) == 0:
        return False
    if np.corrcoef(_grey(one).ravel(), _grey(other).ravel())[0, 1] < _ALIKE:
        return False
    one, other = (_smooth(_smooth(_grey(image))) for image in (patch, finer))
    down, right = np.gradient(other)
    bend = np.gradient(down, axis=0) + np.gradient(right, axis=1)
    terms = np.stack([right, down, bend, other, np.ones_like(other)], -1).reshape(-1, 5)
    shift = np.linalg.lstsq(terms, (one - other).ravel(), rcond=None)[0][:2]
    return bool(np.hypot(*shift) <= _MOST_SHIFT_PX)


def _grey(image: NDArray[Any]) -> NDArray[np.float64]:
    return (image[..., 0] + image[..., 1].astype(np.float64) + image[..., 2]) / 3.0


def _coarse(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    rows, columns = (edge // 4 for edge in image.shape[:2])
    # whole rows first: means over two axes take six times as long
    sums = (
        image[: 4 * rows, : 4 * columns]
        .reshape(rows, 4, -1)
        .sum(1, dtype=np.uint16)
        .reshape(rows, columns, 4, 3)
    )
    return (sums[:, :, 0] + sums[:, :, 1] + sums[:, :, 2] + sums[:, :, 3]) / 16.0


def _smooth(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    return (grey[1:, 1:] + grey[1:, :-1] + grey[:-1, 1:] + grey[:-1, :-1]) / 4
