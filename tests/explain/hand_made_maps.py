"""Maps of a student that one can check by hand."""

from __future__ import annotations

import pandas as pd

from pathduet.explain.tile_maps import SlideMaps

WIDTH, HEIGHT = 4000, 3000


def student_maps(fold: object = 0, tumor: tuple[bool, ...] = (True, False, False)) -> SlideMaps:
    """Three tiles of 1,000 pixels at 10x in a row, one of 500 at 20x, and two points."""
    named = ["tumor" if t else "tme" for t in tumor]
    weight = [1 / named.count(n) for n in named]
    tiles = pd.DataFrame(
        {
            "magnification": ["10x"] * 3 + ["20x"],
            "tile": [0, 1, 4, 7],
            "x": [0.0, 1000, 2000, 500],
            "y": [1000.0, 1000, 1000, 1500],
            "size": [1000.0] * 3 + [500.0],
            "size_y": [1000.0] * 3 + [500.0],
            "cells": [2, 1, 1, 4],
            "prototype": [*named, "tumor"],
            "p_tumor": [*(1.0 if t else 0.0 for t in tumor), 1.0],
            "p_tme": [*(0.0 if t else 1.0 for t in tumor), 0.0],
            "merge_weight": [*weight, 1.0],
            "merge_weight_tumor": [*(w if t else 0.0 for w, t in zip(weight, tumor)), 1.0],
            "merge_weight_tme": [*(0.0 if t else w for w, t in zip(weight, tumor)), 0.0],
            "attention_patches": [0.6, 0.3, 0.1, 1.0],
        }
    )
    tiles.attrs = {
        "slide_id": "S1", "width": WIDTH, "height": HEIGHT, "mpp": (0.5, 0.5), "task": "survival",
        "model": "distilled", "fold": fold, "subspaces": ("tumor", "tme"), "named_by": "teacher",
    }  # fmt: skip
    points = pd.DataFrame(
        {
            "magnification": ["10x", "10x", "20x"], "attention": "patches", "group": 0, "key": [0, 1, 0],
            "tile": [0, 1, 7], "x": [10.0, 1500, 600], "y": [1010.0, 1500, 1600], "mass": [0.25, 0.75, 1.0],
        }
    )  # fmt: skip
    return SlideMaps(tiles, points)


def three_prototypes(fold: object = 0, own: tuple[str, ...] = ("tumor", "immune", "stroma")) -> SlideMaps:
    """The same slide divided into three prototypes: of the tiles at 10x those named, at 20x the first."""
    maps, subspaces = student_maps(fold), ("tumor", "immune", "stroma")
    named = [*own, subspaces[0]]
    dropped = ["p_tumor", "p_tme", "merge_weight_tumor", "merge_weight_tme"]
    tiles = maps.tiles.drop(columns=dropped).assign(prototype=named, merge_weight=1.0)
    for name in subspaces:
        inside = [float(one == name) for one in named]
        tiles = tiles.assign(**{f"p_{name}": inside, f"merge_weight_{name}": inside})
    tiles.attrs = {**maps.tiles.attrs, "subspaces": subspaces}
    return SlideMaps(tiles, maps.points)
