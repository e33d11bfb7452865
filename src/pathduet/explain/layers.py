"""What can be drawn over a slide: which column, in which colours, in which words.

Shares of a whole depend on how many tiles a slide has, so they are drawn as multiples of an equal share: 1 is what every
tile would have if all had the same, 3 is three times that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pathduet.explain.tile_maps import SlideMaps

if TYPE_CHECKING:
    import pandas as pd

#: Okabe and Ito's vermilion and blue: told apart with every kind of colour blindness, and on haematoxylin and eosin.
TUMOR_COLOUR, TME_COLOUR = "#d55e00", "#0a7abf"
NAMES = {"tumor": "Tumor", "tme": "TME", "patches": "Patches"}
#: Equal lightness steps, no red against green (Nuñez, Anderton and Renslow, PLOS ONE 2018).
COLOUR_MAP = "cividis"
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
        """Whether the colours run from TME to tumor; otherwise they are multiples of an equal share."""
        return self.column == "p_tumor"


_TIMES = "times an equal share"
LAYERS = (
    Layer("p_tumor", "Prototype", "prototype the tile went into"),
    Layer("merge_weight", "Merge weight", f"{_TIMES} in the tile's prototype"),
    Layer("attention_patches", "Attention of the patches", _TIMES, "patches"),
    Layer("attention_tumor", "Attention of the tumor genes", _TIMES, "tumor"),
    Layer("attention_tme", "Attention of the TME genes", _TIMES, "tme"),
)


def layers_of(tiles: pd.DataFrame) -> list[Layer]:
    """Return the layers that a table of tiles has."""
    return [layer for layer in LAYERS if layer.column in tiles.columns]


def layer_values(tiles: pd.DataFrame, layer: Layer) -> NDArray[np.float64]:
    """Return what is drawn of each tile: 0 (TME) to 1 (tumor), or multiples of an equal share."""
    values = tiles[layer.column].to_numpy(np.float64)
    if layer.is_membership:
        return values
    groups = ["magnification", "prototype"] if layer.column == "merge_weight" else ["magnification"]
    count = tiles.groupby(groups)[layer.column].transform("size").to_numpy(np.float64)
    return values * count


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
    return {
        "task": "Without a teacher the names tumor and TME are only two stable sides of the classifier.",
        "nothing": "In the released variant the prototypes' order has no meaning: the names are arbitrary.",
    }.get(maps.tiles.attrs.get("named_by", ""), "")
