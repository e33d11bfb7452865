"""How much the levels of a pyramid are reduced, by their sizes and by what they show."""

from __future__ import annotations

import math


def reduction(size0: tuple[int, int], size: tuple[int, int], tile: tuple[int, int] | None = None) -> float:
    """Return by how much a level is reduced, as far as sizes tell: 0 if they do not.

    A whole number where its size is one over it, rounded. Libraries divide the sizes: a level of 1499 x 499 pixels made of
    5999 x 1999 by fours is then reduced by 4.004, and at the far edge every pixel lies one and a half pixels beside its
    place. A power of two where its size is one over it, padded to whole tiles, as Philips does.

    Parameters
    ----------
    size0, size : (int, int)
        Width and height of level 0 and of the level.
    tile : (int, int), optional
        Of the level's tiles.

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
