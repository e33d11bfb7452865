"""What can be drawn over a slide: which column, in which colours, in which words.

Shares of a whole depend on how many tiles a slide has, so they are drawn as multiples of an equal share: 1 is what every
tile would have if all had the same, 3 is three times that.
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

#: Between two subspaces' colours, where folds disagree.
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
        Name of the attention whose sampled points belong to it; empty if none do.
    """

    column: str
    title: str
    legend: str
    points: str = ""

    @property
    def is_membership(self) -> bool:
        """Whether the colours are the prototypes'; otherwise they are multiples of an equal share."""
        return self.column == "prototype"

    @property
    def in_sentence(self) -> str:
        """The title inside a sentence."""
        return self.title[:1].lower() + self.title[1:]


def layers_of(maps: SlideMaps) -> list[Layer]:
    """Return the layers that maps have; one prototype is no division and is not drawn."""
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
    """Return what is drawn of each tile: a place between prototypes, or a multiple of an equal share.

    Of two prototypes the share of folds that say the first (0 to 1), of more the place of the tile's own in the order of the
    subspaces.
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
    """Return colours and names from the lowest value of the prototype layer to the highest, and whether values lie between.

    Two prototypes are two ends, with a neutral middle for folds that disagree; more are steps without anything between.
    """
    colours = subspace_colours(subspaces)
    if len(subspaces) == 2:
        second, first = subspaces[1], subspaces[0]
        return [colours[second], NEUTRAL, colours[first]], [subspace_word(second), subspace_word(first)], True
    return list(colours.values()), [subspace_word(name) for name in subspaces], False


def top_of(values: NDArray[np.float64]) -> float:
    """Return the value of the last colour: the 99th percentile, at least 2; higher ones get the same colour."""
    return max(_LEAST_TOP, float(np.percentile(values, _PERCENTILE))) if len(values) else _LEAST_TOP


def strongest_points(maps: SlideMaps, attention: str, magnification: str, most: int) -> pd.DataFrame:
    """Return the `most` sampled points with the greatest mass, greatest first; of equal ones the first."""
    points = maps.points
    chosen = points[(points["attention"] == attention) & (points["magnification"] == magnification)]
    return chosen.sort_values("mass", ascending=False, kind="stable").head(most)


def naming_note(maps: SlideMaps) -> str:
    """Return what the names of a student's prototypes rest on, where it is not a teacher; else nothing."""
    if len(maps.subspaces) < 2:
        return ""
    words = listed([subspace_word(name) for name in maps.subspaces])
    return {
        "task": f"Without a teacher the names {words} only denote two sides of the classifier.",
        "nothing": "In the released variant the prototypes' order has no meaning: the names are arbitrary.",
    }.get(maps.tiles.attrs.get("named_by", ""), "")
