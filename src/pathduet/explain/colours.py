"""Colours of the subspaces: one choice for heatmaps, viewer and report. It imports nothing, so that everyone may ask it."""

from __future__ import annotations

from collections.abc import Iterable

#: Okabe and Ito's, vermilion and blue first: told apart with every kind of colour blindness, and on haematoxylin and eosin.
_COLOURS = ("#d55e00", "#0a7abf", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#7a4a1e", "#4d4d4d")


def subspace_colours(names: Iterable[str]) -> dict[str, str]:
    """Return a colour (#rrggbb) for each subspace by its place in the configuration.

    >>> subspace_colours(["tumor", "tme"])
    {'tumor': '#d55e00', 'tme': '#0a7abf'}
    """
    return {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(names)}
