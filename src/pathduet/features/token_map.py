"""A slide's patch tokens: a fixed number from any number of tiles, placed on a square map.

The rule is deterministic. Fewer tiles than tokens are repeated; from more tiles, evenly spaced ones are selected. In Hilbert order
the tiles follow a curve over the tissue, which is placed along a curve over the map, copies beside their original. If two
magnifications are read, the finer map is nested in the coarser: each cell shows a tile inside the tile that the coarser map
shows there. In raster order, that of the authors' public code, tiles are taken as listed, separately for each magnification.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pathduet.features.hilbert import hilbert_order, square_walk

Order = Literal["hilbert", "raster"]

__all__ = [
    "Order",
    "hilbert_order",
    "map_order",
    "nested_token_rows",
    "parents",
    "token_indices",
    "token_rows",
]


def token_indices(n: int, n_tokens: int) -> NDArray[np.int64]:
    """Return for each of `n_tokens` tokens which of `n` list items it takes.

    ``n < n_tokens``: the whole list repeated, then its beginning; ``n > n_tokens``: item ``round(i n / n_tokens)``.

    >>> token_indices(3, 8).tolist(), token_indices(8, 3).tolist()
    ([0, 1, 2, 0, 1, 2, 0, 1], [0, 3, 5])
    """
    if n < 1 or n_tokens < 1:
        raise ValueError(f"{n_tokens} tokens from {n} tiles: both must be at least 1")
    i = np.arange(n_tokens, dtype=np.int64)
    if n <= n_tokens:
        return i % n
    return np.rint(i * n / n_tokens).astype(np.int64)


def map_order(side: int, order: Order = "hilbert") -> NDArray[np.int64]:
    """Return the map cell (row * side + column) of each position of the token sequence.

    ``hilbert``: a generalised Hilbert curve, for any `side`; ``raster``: row by row.
    """
    if order == "raster":
        return np.arange(side * side, dtype=np.int64)
    return square_walk(side)


def token_rows(grid: NDArray[np.integer], n_tokens: int, order: Order = "hilbert") -> NDArray[np.int64]:
    """Return for each cell of the token map, row by row, the row of its tile.

    ``features[token_rows(grid, 2500)].reshape(50, 50, -1)`` is the slide's token map.

    Parameters
    ----------
    grid : (n, 2) integer array
        (column, row) of each tile on the slide's lattice.
    n_tokens : int
        A square number.
    order : {"hilbert", "raster"}
        The order of the tiles in a sequence, and of the sequence on the map.

    Returns
    -------
    (n_tokens,) int64 array
    """
    tiles = np.asarray(grid).reshape(-1, 2)
    if order == "raster":
        listed = np.lexsort((tiles[:, 0], tiles[:, 1]))
        return _on_map(listed[token_indices(len(tiles), n_tokens)], order)
    return _on_map(hilbert_order(tiles)[_along_the_curve(len(tiles), n_tokens)])


def nested_token_rows(
    coarse: NDArray[np.integer],
    fine: NDArray[np.integer],
    parent: NDArray[np.integer],
    n_tokens: int,
) -> NDArray[np.int64]:
    """Return for each cell of the finer map the row of its tile: a child of the tile that ``token_rows(coarse, n_tokens)`` has there.

    Copies of a coarse tile show its children in order along the curve, evenly spaced if there are more children than copies. A coarse
    tile without children shows those of the nearest tile with children before it on the curve (or, at the beginning, after it).

    Parameters
    ----------
    coarse, fine : (n, 2), (m, 2) integer array
        (column, row) of the tiles of each magnification on its lattice.
    parent : (m,) integer array
        Row of `coarse` that each row of `fine` belongs to, see :func:`parents`.
    n_tokens : int
        A square number.

    Returns
    -------
    (n_tokens,) int64 array
    """
    sequence = hilbert_order(coarse)
    place = np.empty(len(sequence), np.int64)  # position of each coarse tile on the curve
    place[sequence] = np.arange(len(sequence))
    along = hilbert_order(fine)
    children = along[np.argsort(place[parent[along]], kind="stable")]  # parent by parent
    counts = np.bincount(place[parent], minlength=len(sequence))
    first = np.cumsum(counts) - counts
    filled = np.flatnonzero(counts)
    stand_in = filled[np.maximum(np.searchsorted(filled, np.arange(len(sequence)), side="right") - 1, 0)]
    shown = _along_the_curve(len(sequence), n_tokens)  # position of each token on the curve
    copies = np.bincount(shown, minlength=len(sequence))[shown]
    copy = np.arange(n_tokens) - np.searchsorted(shown, shown)
    tile = stand_in[shown]
    within = (2 * copy + 1) * counts[tile] // (2 * copies)
    return _on_map(children[first[tile] + within])


def parents(coarse: NDArray[np.floating], fine: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return for each fine tile the coarse tile whose centre is nearest.

    Parameters
    ----------
    coarse, fine : (n, 2), (m, 2) array
        Centres of tiles in the same unit.

    Returns
    -------
    (m,) int64 array
        Rows of `coarse`.
    """
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(coarse).query(fine)[1], np.int64)


def _along_the_curve(n: int, n_tokens: int) -> NDArray[np.int64]:
    """Return :func:`token_indices` with copies beside their original."""
    return np.sort(token_indices(n, n_tokens))


def _on_map(sequence: NDArray[np.int64], order: Order = "hilbert") -> NDArray[np.int64]:
    """Place a sequence of tokens on the map; return it row by row."""
    side = math.isqrt(len(sequence))
    if side * side != len(sequence):
        raise ValueError(f"{len(sequence)} tokens do not fill a square map")
    rows = np.empty(len(sequence), np.int64)
    rows[map_order(side, order)] = sequence
    return rows
