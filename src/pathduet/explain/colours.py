"""Colours of subspaces and of values: the same for heatmaps, viewer and report. Imports no other module of the package."""

from __future__ import annotations

from collections.abc import Iterable

#: For values: equal lightness steps, no red against green (Nuñez, Anderton and Renslow, PLOS ONE 2018).
COLOUR_MAP = "cividis"
#: Okabe and Ito's, vermilion and blue first: safe for all kinds of colour blindness, and visible on haematoxylin and eosin.
_COLOURS = ("#d55e00", "#0a7abf", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#7a4a1e", "#4d4d4d")


def subspace_colours(names: Iterable[str]) -> dict[str, str]:
    """Return a colour (#rrggbb) for each subspace by its position in the configuration.

    >>> subspace_colours(["tumor", "tme"])
    {'tumor': '#d55e00', 'tme': '#0a7abf'}
    """
    return {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(names)}


def lighter(colour: str, part: float) -> str:
    """Return a colour (#rrggbb) lightened by the fraction `part`.

    >>> lighter("#000000", 0.2)
    '#333333'
    """
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(one + (255 - one) * part):02x}" for one in parts)
