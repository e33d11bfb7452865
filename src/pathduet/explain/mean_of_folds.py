"""One map of several folds' models: the mean, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence

from pathduet.core.errors import InputError
from pathduet.explain.tile_maps import SlideMaps


def mean_of_folds(maps: Sequence[SlideMaps]) -> SlideMaps:
    """Return the mean of the folds' maps of one slide.

    A tile's `p_tumor` is then the share of folds that put it into the tumor prototype, and `prototype` what at least
    half of them say. Means of shares still add up to 1. The points are those of all folds, each with its part
    of the mass.

    Raises
    ------
    InputError
        If the models do not read the same tiles, or are not of one kind.
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
    averaged = [c for c in tiles if str(c).startswith(("attention_", "merge_weight_", "p_tumor", "margin"))]
    for column in averaged:
        tiles[column] = sum(one.tiles[column] for one in maps) / len(maps)
    if "prototype" in tiles:
        tumor = tiles["p_tumor"] >= 0.5
        tiles["prototype"] = tumor.map({True: "tumor", False: "tme"})
        tiles["merge_weight"] = tiles["merge_weight_tumor"].where(tumor, tiles["merge_weight_tme"])
    tiles.attrs = dict(first.attrs)
    if len(maps) > 1:
        tiles.attrs["fold"] = "ensemble"
    points = [one.points.assign(mass=one.points["mass"] / len(maps)) for one in maps]
    return SlideMaps(tiles, pd.concat(points, ignore_index=True))
