"""The deep-zoom viewer of one slide's maps: one page with its script, styles and data inside, and the pyramid.

The page requests only the pyramid's pictures beside it, so it works from ``file://``. Its policy refuses all
scripts except its own two (by their hashes) and all addresses except those pictures. User input is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pathduet.core.errors import InputError
from pathduet.core.files import write_text
from pathduet.core.html_page import content_hash, fill, script_data, shipped
from pathduet.explain.colours import COLOUR_MAP
from pathduet.explain.layers import (
    Layer,
    layer_values,
    layers_of,
    membership_scale,
    naming_note,
    strongest_points,
    top_of,
)
from pathduet.explain.tile_maps import SlideMaps
from pathduet.explain.viewer import vendor
from pathduet.explain.viewer.heatmap import maps_title, slide_size
from pathduet.explain.viewer.pyramid import TILE_PX, Pyramid, write_pyramid
from pathduet.explain.words import subspace_word
from pathduet.slides.readers.reader import SlideReader

#: File name of the pyramid, and sampled points drawn per layer.
PYRAMID, POINTS = "slide", 200
_HERE = "pathduet.explain.viewer"


def write_viewer(
    folder: Path, pages: Mapping[str, SlideMaps], slide: Path, *, scene: str = "", finest_mpp: float = 2.0
) -> None:
    """Write one page per map of a slide, and next to them ``slide.dzi`` and ``slide_files/``, into `folder`.

    Parameters
    ----------
    folder : Path
        Created if missing.
    pages : mapping
        File name to the page's maps, e.g. ``index.html``.
    slide : Path
        The raw slide; only read.
    scene : str
        Which of its pictures, if it contains several.
    finest_mpp : float
        Micrometres per pixel of the finest zoom level.

    Raises
    ------
    SlideError
        If the slide cannot be opened.
    InputError
        If its size differs from that of the slide the features came from.
    """
    maps = next(iter(pages.values()))
    about = maps.tiles.attrs
    with SlideReader(about["slide_id"], slide, scene) as reader:
        if tuple(reader.dimensions) != slide_size(maps):
            found = f"{slide.name} has {reader.dimensions} pixels, the features' slide {slide_size(maps)}"
            raise InputError.of(f"slide {about['slide_id']}", found, "extract its features again")
        pyramid = write_pyramid(folder, PYRAMID, reader, about["mpp"][0], finest_mpp)
    for name, one in pages.items():
        write_text(folder / name, viewer_html(one, pyramid))


def viewer_html(maps: SlideMaps, pyramid: Pyramid) -> str:
    """Return the page for the maps of a slide whose pyramid has been written."""
    from markupsafe import Markup

    library, script, css = vendor.openseadragon(), shipped(_HERE, "viewer.js"), shipped(_HERE, "viewer.css")
    about = maps.tiles.attrs
    notes = [
        "1 = an equal share of all tiles; colours end at the 99th percentile. Tiles without colour are not tokens of the model.",
        naming_note(maps),
        f"{pyramid.unreadable} parts of the slide cannot be decoded and are white."
        if pyramid.unreadable
        else "",
    ]
    return fill(
        _HERE,
        "viewer.html",
        title=maps_title(maps),
        subtitle=f"{len(maps.tiles)} tiles that are tokens of the model, over the slide at up to "
        f"{about['mpp'][0] * pyramid.scale:.3g} µm per pixel",
        slide_id=about["slide_id"],
        notes=[note for note in notes if note],
        data=script_data(viewer_data(maps, pyramid)),
        library=Markup(library),
        library_hash=content_hash(library),
        library_style_hash=vendor.STYLE_HASH,
        library_version=vendor.VERSION,
        script=Markup(script),
        script_hash=content_hash(script),
        css=Markup(css),
        style_hash=content_hash(css),
    )


def viewer_data(maps: SlideMaps, pyramid: Pyramid) -> dict[str, Any]:
    """Return the data for the page's script; JSON-ready, lengths in level-0 pixels."""
    tiles = maps.tiles
    magnifications = [str(m) for m in dict.fromkeys(tiles["magnification"])]
    return {
        "mpp": tiles.attrs["mpp"][0],
        "pyramid": {
            "width": pyramid.width, "height": pyramid.height, "levels": pyramid.levels, "scale": pyramid.scale,
            "tile": TILE_PX, "folder": f"{PYRAMID}_files",
        },
        "tiles": {m: _tiles(maps, m) for m in magnifications},
        "layers": [_layer(maps, layer, m) for m in magnifications for layer in layers_of(maps)],
    }  # fmt: skip


def _tiles(maps: SlideMaps, magnification: str) -> dict[str, Any]:
    chosen = maps.tiles["magnification"] == magnification
    tiles = maps.tiles[chosen]
    width, height = float(tiles["size"].iloc[0]), float(tiles["size_y"].iloc[0])
    shown: list[dict[str, Any]] = []
    averaged = maps.tiles.attrs["fold"] == "ensemble"
    for layer in layers_of(maps):
        if layer.is_membership:
            places = {name: place for place, name in enumerate(maps.subspaces)}
            words = [subspace_word(name) for name in maps.subspaces]
            named = tiles["prototype"].map(places)
            shown.append({"name": "prototype", "values": named.tolist(), "words": words})
            # with two shares, one determines the other
            for name in (maps.subspaces[:1] if len(places) == 2 else maps.subspaces) if averaged else ():
                share = _rounded(tiles[f"p_{name}"].to_numpy())
                shown.append({"name": f"share of folds: {subspace_word(name)}", "values": share})
            continue
        times = _rounded(layer_values(maps, layer)[chosen.to_numpy()])
        shown += [
            {"name": f"{layer.in_sentence}, share", "values": _rounded(tiles[layer.column].to_numpy())},
            {"name": f"{layer.in_sentence}, × equal", "values": times},
        ]
    shown.append({"name": "cells on the token map", "values": tiles["cells"].tolist()})
    return {
        "width": width,
        "height": height,
        "columns": np.rint(tiles["x"] / width).astype(int).tolist(),
        "rows": np.rint(tiles["y"] / height).astype(int).tolist(),
        "ids": tiles["tile"].tolist(),
        "shown": shown,
    }


def _layer(maps: SlideMaps, layer: Layer, magnification: str) -> dict[str, Any]:
    values = layer_values(maps, layer)[(maps.tiles["magnification"] == magnification).to_numpy()]
    top, steps = top_of(values), False
    ends, colours = ["0", f"{top:.3g} and more"], _colour_map()
    if layer.is_membership:
        names, ends, between = membership_scale(maps.subspaces)
        colours, top, steps = [_rgb(name) for name in names], float(len(ends) - 1), not between
    points = strongest_points(maps, layer.points, magnification, POINTS) if layer.points else None
    return {
        "column": layer.column,
        "title": layer.title,
        "magnification": magnification,
        "legend": layer.legend,
        "top": top,
        "ends": ends,
        "colours": colours,
        "steps": steps,
        "values": _rounded(values),
        "points": [] if points is None else points[["x", "y"]].round(1).to_numpy().tolist(),
    }


def _colour_map() -> list[list[int]]:
    """Return colours between which the script interpolates."""
    import matplotlib as mpl

    return [_rgb(row) for row in mpl.colormaps[COLOUR_MAP](np.linspace(0, 1, 17)).tolist()]


def _rgb(colour: Any) -> list[int]:
    from matplotlib.colors import to_rgb

    return [round(255 * part) for part in to_rgb(colour)]


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
