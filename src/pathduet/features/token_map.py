"""A slide's patch tokens: a fixed number from any number of tiles, laid on a square map.

The token rule is deterministic and the same at both magnifications: fewer tiles than tokens are repeated whole, then
from the beginning; of more tiles, evenly spaced ones are picked.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pathduet.features.hilbert import hilbert_order, square_walk

Order = Literal["hilbert", "raster"]

__all__ = ["Order", "hilbert_order", "map_order", "token_indices", "token_rows"]


def token_indices(n: int, n_tokens: int) -> NDArray[np.int64]:
    """Return which of `n` list items becomes each of `n_tokens` tokens.

    ``n < n_tokens``: the list repeated whole, then its beginning; ``n > n_tokens``: item ``round(i n / n_tokens)``.

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
    """Return for each cell of the token map, row by row, the row of the tile that lies there.

    ``features[token_rows(grid, 2500)].reshape(50, 50, -1)`` is the slide's token map.

    Parameters
    ----------
    grid : (n, 2) integer array
        (column, row) of each tile on the slide's lattice.
    n_tokens : int
        A square number.
    order : {"hilbert", "raster"}
        How tiles are put in a sequence, and the sequence on the map.

    Returns
    -------
    (n_tokens,) int64 array
    """
    side = math.isqrt(n_tokens)
    if side * side != n_tokens:
        raise ValueError(f"{n_tokens} tokens do not fill a square map")
    tiles = np.asarray(grid).reshape(-1, 2)
    sequence = hilbert_order(tiles) if order == "hilbert" else np.lexsort((tiles[:, 0], tiles[:, 1]))
    rows = np.empty(n_tokens, np.int64)
    rows[map_order(side, order)] = sequence[token_indices(len(tiles), n_tokens)]
    return rows
