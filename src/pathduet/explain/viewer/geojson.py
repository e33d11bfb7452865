"""A slide's maps as GeoJSON that QuPath (0.4 and newer) opens: tiles as detections with measurements.

Coordinates are level-0 pixels from the corner of level 0, or, for a slide that declares bounds, from the corner of QuPath's view;
the collection's member `pathduet` records which. Ids are UUIDs derived from slide, model and tile, so that the same maps give the
same bytes. A class has two parts, like QuPath's derived classes: ``Tumor: 10x``.
"""

from __future__ import annotations

import gzip
import io
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from pathduet.core.files import atomic_path
from pathduet.explain.colours import lighter, subspace_colours
from pathduet.explain.layers import layer_values, layers_of, strongest_points
from pathduet.explain.tile_maps import SlideMaps
from pathduet.explain.words import subspace_title
from pathduet.slides.readers.frame import LEVEL0, Frame, FrameName, frame_of

#: Sampled points written per attention and magnification.
POINTS = 100
_SPACE = uuid.UUID("4b2a6f0e-6f0d-5d0c-9a60-2f4e1c7d9b11")
#: Colours of tiles without a prototype, and of the points that patches sample.
_TILE, _PATCHES = "#6b7177", "#f0e442"
#: How much lighter a subspace's sampled points are than its tiles.
_LIGHTER = 0.55


def maps_frame(name: FrameName | None, maps: SlideMaps) -> Frame:
    """Return the frame `name` for the maps' slide, see :func:`pathduet.slides.readers.frame.frame_of`."""
    return frame_of(name, maps.tiles.attrs["slide_id"], maps.tiles.attrs.get("bounds"))


def feature_collection(maps: SlideMaps, points: int = POINTS, frame: Frame = LEVEL0) -> dict[str, Any]:
    """Return a FeatureCollection: one polygon per tile and magnification, and the strongest sampled points.

    Parameters
    ----------
    maps : SlideMaps
    points : int
        Points per attention and magnification, those with the greatest mass.
    frame : Frame
        The frame of the coordinates.

    Returns
    -------
    dict
        JSON-ready. Measurements of a tile: its row in features.h5, cells on the token map, and the columns of
        :attr:`pathduet.explain.tile_maps.SlideMaps.tiles` under readable names, each share also as a multiple of an
        equal share.
    """
    maps = SlideMaps(*(table.assign(x=table["x"] - frame.x, y=table["y"] - frame.y) for table in maps))
    features = [*_tiles(maps)]
    for m in dict.fromkeys(maps.tiles["magnification"]):
        for attention in dict.fromkeys(maps.points["attention"]):
            features += _points(maps, str(attention), str(m), points)
    about = {"slide_id": maps.tiles.attrs["slide_id"], **frame.about}
    return {"type": "FeatureCollection", "pathduet": about, "features": features}


def write_geojson(path: Path, maps: SlideMaps, points: int = POINTS, frame: Frame = LEVEL0) -> None:
    """Write :func:`feature_collection` atomically; compressed if the name ends in ``.gz``."""
    text = json.dumps(feature_collection(maps, points, frame), separators=(",", ":"), allow_nan=False) + "\n"
    data = text.encode()
    if path.suffix == ".gz":
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, filename="") as packed:
            packed.write(data)
        data = buffer.getvalue()
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def _tiles(maps: SlideMaps) -> list[dict[str, Any]]:
    tiles = maps.tiles
    measured: dict[str, Any] = {
        "Magnification": [float(str(m).rstrip("x")) for m in tiles["magnification"]],
        "Tile": tiles["tile"].tolist(),
    }
    if "cells" in tiles:
        measured["Cells on the token map"] = tiles["cells"].tolist()
    for layer in layers_of(maps):
        if layer.is_membership:
            # with two shares, one determines the other
            shown = maps.subspaces[:1] if len(maps.subspaces) == 2 else maps.subspaces
            measured |= {f"{subspace_title(s)} prototype (share)": tiles[f"p_{s}"].tolist() for s in shown}
            continue
        measured[f"{layer.title} (share)"] = tiles[layer.column].tolist()
        measured[f"{layer.title} (x equal share)"] = layer_values(maps, layer).tolist()
    kinds = tiles["prototype"].tolist() if "prototype" in tiles else ["tile"] * len(tiles)
    colours = {**subspace_colours(maps.subspaces), "tile": _TILE}
    x, y, w, h = (tiles[name].to_numpy(np.float64) for name in ("x", "y", "size", "size_y"))
    features = []
    for i, (m, tile, kind) in enumerate(zip(tiles["magnification"], tiles["tile"], kinds, strict=True)):
        left, top, right, bottom = (round(float(v), 2) for v in (x[i], y[i], x[i] + w[i], y[i] + h[i]))
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        features.append(
            _feature(
                _identity(maps, m, "tile", tile),
                {"type": "Polygon", "coordinates": [ring]},
                f"{m} tile {tile}",
                [subspace_title(kind) if kind in maps.subspaces else "Tile", str(m)],
                colours[kind],
                {name: _plain(values[i]) for name, values in measured.items()},
            )
        )
    return features


def _points(maps: SlideMaps, attention: str, magnification: str, most: int) -> list[dict[str, Any]]:
    chosen = strongest_points(maps, attention, magnification, most)
    colours = subspace_colours(maps.subspaces)
    colour = lighter(colours[attention], _LIGHTER) if attention in colours else _PATCHES
    return [
        _feature(
            _identity(maps, magnification, attention, rank),
            {"type": "Point", "coordinates": [round(row["x"], 2), round(row["y"], 2)]},
            f"{magnification} point {rank}",
            [f"Sampled by {subspace_title(attention)}", magnification],
            colour,
            {"Attention (share)": _plain(row["mass"]), "Rank": rank, "Tile": int(row["tile"])},
        )
        for rank, row in enumerate(chosen.to_dict("records"), 1)
    ]


def _feature(
    identity: str,
    geometry: dict[str, Any],
    name: str,
    classes: list[str],
    colour: str,
    measurements: dict[str, float],
) -> dict[str, Any]:
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    properties = {
        "objectType": "detection",
        "name": name,
        "classification": {"names": classes, "color": rgb},
        "measurements": measurements,
    }
    return {"type": "Feature", "id": identity, "geometry": geometry, "properties": properties}


def _identity(maps: SlideMaps, *parts: object) -> str:
    key = [*(maps.tiles.attrs[name] for name in ("slide_id", "task", "model", "fold")), *parts]
    return str(uuid.uuid5(_SPACE, "/".join(map(str, key))))


def _plain(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.7g}")
