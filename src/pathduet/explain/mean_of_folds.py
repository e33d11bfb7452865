"""The mean, tile by tile, of several folds' maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pathduet.core.errors import InputError
from pathduet.explain.tile_maps import SlideMaps


def mean_of_folds(maps: Sequence[SlideMaps]) -> SlideMaps:
    """Return the mean of the folds' maps of one slide.

    A tile's `p_<subspace>` is then the share of folds that assign it to that prototype, and `prototype` the most frequent
    one (the first on ties). Means of shares still add up to 1. The points are those of all folds, each with its share of the
    mass.

    Raises
    ------
    InputError
        If the models do not read the same tiles, or are of different kinds.
    """
    import pandas as pd

    first = maps[0].tiles
    for other in maps[1:]:
        same = list(other.tiles.columns) == list(first.columns) and len(other.tiles) == len(first)
        if not same or not first[["magnification", "tile"]].equals(other.tiles[["magnification", "tile"]]):
            where = f"slide {first.attrs['slide_id']}, folds {first.attrs['fold']} and {other.tiles.attrs['fold']}"
            advice = "average folds of one model only"
            raise InputError.of(where, "their models do not read the same tiles", advice)
    tiles = first.copy()
    averaged = [c for c in tiles if str(c).startswith(("attention_", "merge_weight_", "p_"))]
    for column in averaged:
        tiles[column] = sum(one.tiles[column] for one in maps) / len(maps)
    if "prototype" in tiles:
        subspaces = maps[0].subspaces
        named = tiles[[f"p_{name}" for name in subspaces]].to_numpy().argmax(axis=1)
        weights = tiles[[f"merge_weight_{name}" for name in subspaces]].to_numpy()
        tiles["prototype"] = np.array(subspaces)[named]
        tiles["merge_weight"] = weights[np.arange(len(tiles)), named]
    tiles.attrs = dict(first.attrs)
    if len(maps) > 1:
        tiles.attrs["fold"] = "ensemble"
    points = [one.points.assign(mass=one.points["mass"] / len(maps)) for one in maps]
    return SlideMaps(tiles, pd.concat(points, ignore_index=True))
