"""Hilbert curves: an order of grid cells in which neighbours in the list are neighbours in the plane."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def hilbert_order(grid: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the permutation that puts grid cells in the order of a Hilbert curve.

    The curve fills the smallest square with a power-of-two edge that contains all cells, placed at their
    smallest column and row, so the order does not change if all cells are shifted.

    Parameters
    ----------
    grid : (n, 2) integer array
        (column, row) of each cell; equal cells keep their order.

    Returns
    -------
    (n,) int64 array
        ``grid[result]`` follows the curve.
    """
    cells = np.asarray(grid, np.int64).reshape(-1, 2)
    if len(cells) == 0:
        return np.zeros(0, np.int64)
    x, y = (cells - cells.min(0)).T
    edge = 1 << int(max(x.max(), y.max())).bit_length()
    distance = np.zeros(len(cells), np.int64)
    # Hilbert's rule, from the largest quadrant to the smallest: number the quadrant, then turn or mirror
    # the plane so that the next smaller curve has the same shape.
    half = edge // 2
    while half:
        right, below = (x & half) > 0, (y & half) > 0
        distance += half * half * np.where(right, np.where(below, 2, 3), np.where(below, 1, 0))
        mirror = right & ~below
        x, y = np.where(mirror, edge - 1 - x, x), np.where(mirror, edge - 1 - y, y)
        x, y = np.where(below, x, y), np.where(below, y, x)
        half //= 2
    return np.argsort(distance, kind="stable")


def _even_half(size: int) -> int:
    """Return about half of `size`, even where possible: the walk then leaves a part on the side it needs."""
    half = size // 2
    return half + 1 if half % 2 and size > 2 else half


@lru_cache(maxsize=32)
def square_walk(side: int) -> NDArray[np.int64]:
    """Return a walk over a `side` x `side` square that steps only to edge neighbours, for any `side`.

    A generalised Hilbert curve: rectangles are cut into two or three smaller ones, each walked so that it ends
    where the next begins.

    Returns
    -------
    (side * side,) int64 array
        The cell index (row * side + column) of each step; starts at cell 0.
    """
    cells: list[tuple[int, int]] = []

    def walk(x: int, y: int, along: tuple[int, int], across: tuple[int, int]) -> None:
        """Fill the rectangle spanned by two axis-parallel vectors, from (x, y) to the far end of `along`."""
        length, breadth = abs(along[0] + along[1]), abs(across[0] + across[1])
        step = (int(np.sign(along[0])), int(np.sign(along[1])))
        side_step = (int(np.sign(across[0])), int(np.sign(across[1])))
        if breadth == 1 or length == 1:
            move, count = (step, length) if breadth == 1 else (side_step, breadth)
            cells.extend((x + i * move[0], y + i * move[1]) for i in range(count))
            return
        if 2 * length > 3 * breadth:  # long: two pieces, one after the other
            half = _even_half(length)
            first = (step[0] * half, step[1] * half)
            walk(x, y, first, across)
            walk(x + first[0], y + first[1], (along[0] - first[0], along[1] - first[1]), across)
            return
        # Up along the near edge, across the far part, back down along the other edge.
        half = length // 2
        first = (step[0] * half, step[1] * half)
        rest = (along[0] - first[0], along[1] - first[1])
        half = _even_half(breadth)
        up = (side_step[0] * half, side_step[1] * half)
        walk(x, y, up, first)
        walk(x + up[0], y + up[1], along, (across[0] - up[0], across[1] - up[1]))
        walk(
            x + along[0] - step[0] + up[0] - side_step[0],
            y + along[1] - step[1] + up[1] - side_step[1],
            (-up[0], -up[1]),
            (-rest[0], -rest[1]),
        )

    walk(0, 0, (side, 0), (0, side))
    order = np.array([row * side + column for column, row in cells], np.int64)
    order.setflags(write=False)
    return order
