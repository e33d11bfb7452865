"""Layers that can be drawn over a slide: their column, colours and texts.

Shares of a whole depend on the slide's number of tiles, so they are drawn as multiples of an equal share: 1 is what each
tile would have if all had the same, 3 is three times as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pathduet.explain.colours import subspace_colours
from pathduet.explain.words import listed, subspace_word

if TYPE_CHECKING:
    import pandas as pd

    from pathduet.explain.tile_maps import SlideMaps

#: Midway between two subspaces' colours, where folds disagree.
NEUTRAL = "#f2f2f2"
_LEAST_TOP = 2.0
_PERCENTILE = 99


@dataclass(frozen=True)
class Layer:
    """One quantity of a slide's tiles.

    Attributes
    ----------
    column : str
        Of :attr:`pathduet.explain.tile_maps.SlideMaps.tiles`.
    title : str
        For a heading.
    legend : str
        What the colours mean.
    points : str
        Name of the attention whose sampled points belong to the layer; empty if it has none.
    """

    column: str
    title: str
    legend: str
    points: str = ""

    @property
    def is_membership(self) -> bool:
        """Whether the colours are those of the prototypes; otherwise they are multiples of an equal share."""
        return self.column == "prototype"

    @property
    def in_sentence(self) -> str:
        """The title, worded for use inside a sentence."""
        return self.title[:1].lower() + self.title[1:]


def layers_of(maps: SlideMaps) -> list[Layer]:
    """Return the layers of maps; a single prototype divides nothing and is not drawn."""
    times, subspaces = "times an equal share", maps.subspaces
    layers = [
        Layer("prototype", "Prototype", "prototype the tile went into"),
        Layer("merge_weight", "Merge weight", f"{times} in the tile's prototype"),
        Layer("attention_patches", "Attention of the patches", times, "patches"),
        *(
            Layer(f"attention_{name}", f"Attention of the {subspace_word(name)} genes", times, name)
            for name in subspaces
        ),
    ]
    there = [layer for layer in layers if layer.column in maps.tiles.columns]
    return [layer for layer in there if len(subspaces) > 1 or not layer.is_membership]


def layer_values(maps: SlideMaps, layer: Layer) -> NDArray[np.float64]:
    """Return the drawn value of each tile: a position between prototypes, or a multiple of an equal share.

    With two prototypes, the share of folds that assign the first (0 to 1); with more, the index of the tile's own prototype
    in the order of the subspaces.
    """
    tiles, subspaces = maps.tiles, maps.subspaces
    if layer.is_membership and len(subspaces) == 2:
        return np.asarray(tiles[f"p_{subspaces[0]}"], dtype=np.float64)
    if layer.is_membership:
        places = {name: float(place) for place, name in enumerate(subspaces)}
        return np.asarray(tiles["prototype"].map(places), dtype=np.float64)
    groups = ["magnification", "prototype"] if layer.column == "merge_weight" else ["magnification"]
    count = tiles.groupby(groups)[layer.column].transform("size").to_numpy(np.float64)
    return np.asarray(tiles[layer.column].to_numpy(np.float64) * count)


def membership_scale(subspaces: tuple[str, ...]) -> tuple[list[str], list[str], bool]:
    """Return colours and names from the lowest to the highest value of the prototype layer, and whether it is continuous.

    Two prototypes are two ends, with a neutral middle for folds that disagree; more are discrete steps.
    """
    colours = subspace_colours(subspaces)
    if len(subspaces) == 2:
        second, first = subspaces[1], subspaces[0]
        return [colours[second], NEUTRAL, colours[first]], [subspace_word(second), subspace_word(first)], True
    return list(colours.values()), [subspace_word(name) for name in subspaces], False


def top_of(values: NDArray[np.float64]) -> float:
    """Return the value of the last colour: the 99th percentile, at least 2; larger values share its colour."""
    return max(_LEAST_TOP, float(np.percentile(values, _PERCENTILE))) if len(values) else _LEAST_TOP


def strongest_points(maps: SlideMaps, attention: str, magnification: str, most: int) -> pd.DataFrame:
    """Return the `most` sampled points with the greatest mass, in decreasing order; ties keep their order."""
    points = maps.points
    chosen = points[(points["attention"] == attention) & (points["magnification"] == magnification)]
    return chosen.sort_values("mass", ascending=False, kind="stable").head(most)


def naming_note(maps: SlideMaps) -> str:
    """Return the basis of the names of a student's prototypes, if it is not a teacher; else nothing."""
    if len(maps.subspaces) < 2:
        return ""
    words = listed([subspace_word(name) for name in maps.subspaces])
    return {
        "task": f"Without a teacher the names {words} only denote two sides of the classifier.",
        "nothing": "In the released variant the prototypes' order has no meaning: the names are arbitrary.",
    }.get(maps.tiles.attrs.get("named_by", ""), "")
