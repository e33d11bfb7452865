"""A tissue mask handed in by the user: GeoJSON polygons in level-0 pixels, or a picture of the whole slide."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pathduet.core.errors import SlideError

_MAX_JSON_BYTES = 512 * 2**20
_MAX_PICTURE_PIXELS = 100_000_000
_SMALL_THUMBNAIL = 4_000_000
_MAX_DEPTH = 4  # collections within collections


class _BadMask(Exception):
    pass


def given_mask(
    slide_id: str, path: Path, size0: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return a user's mask at thumbnail size.

    Parameters
    ----------
    slide_id : str
        For messages.
    path : Path
        ``.geojson`` or ``.json``: Polygons and MultiPolygons (features, collections, geometries) in level-0 pixels, x
        to the right and y down, as QuPath exports them; holes are kept. Else a picture of the whole slide at any
        size: what is not black (and not transparent) is tissue.
    size0 : (int, int)
        Width and height of level 0.
    shape : (int, int)
        Width and height of the result.

    Returns
    -------
    (height, width) bool array

    Raises
    ------
    SlideError
        ``failed`` if the mask cannot be understood.
    """
    try:
        if path.suffix.lower() in (".geojson", ".json"):
            return _from_geojson(path, size0, shape)
        return _from_picture(path, shape, size0)
    except _BadMask as error:
        raise SlideError(
            slide_id,
            "failed",
            f"mask {path.name}: {error}",
            "give GeoJSON polygons in level-0 pixels, or a PNG of the whole slide",
        ) from error


def _from_picture(path: Path, shape: tuple[int, int], size0: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG", "TIFF", "BMP")) as image:
                width, height = image.size
                if width * height > _MAX_PICTURE_PIXELS:
                    raise _BadMask(f"{width:,} x {height:,} pixels, more than {_MAX_PICTURE_PIXELS:,}")
                # a pixel of rounding is no other aspect
                if abs(width / height - size0[0] / size0[1]) * height > 0.03 * width + 2:
                    raise _BadMask(
                        f"{width} x {height} pixels do not have the slide's shape, {size0[0]} x {size0[1]}"
                    )
                values = np.asarray(image.convert("RGBA"))
    except _BadMask:
        raise
    except Exception as error:
        raise _BadMask(f"cannot be read as a picture ({type(error).__name__})") from error
    tissue = (values[..., :3].max(-1) > 0) & (values[..., 3] > 0)
    picture = Image.fromarray(tissue.astype(np.uint8) * 255).resize(shape, Image.Resampling.BOX)
    return np.asarray(picture) >= 128


def _from_geojson(path: Path, size0: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise _BadMask(f"{path.stat().st_size:,} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _BadMask(f"is no JSON ({type(error).__name__})") from error
    polygons = _polygons(value)
    if not polygons:
        raise _BadMask("holds no Polygon or MultiPolygon")
    # Pillow draws outlines too, half a pixel beyond the polygon: drawn larger and reduced, that is an eighth
    finer = 4 if shape[0] * shape[1] <= _SMALL_THUMBNAIL else 2
    size = shape[0] * finer, shape[1] * finer
    scale = size[0] / size0[0], size[1] / size0[1]
    total = Image.new("L", size)
    for rings in polygons:
        picture = Image.new("L", size)
        draw = ImageDraw.Draw(picture)
        for i, ring in enumerate(rings):
            points = [(x * scale[0] - 0.5, y * scale[1] - 0.5) for x, y in _points(ring)]
            draw.polygon(points, fill=0 if i else 255)
        total.paste(255, mask=picture)
    return np.asarray(total.reduce(finer)) >= 128


def _polygons(value: Any, depth: int = 0) -> list[list[Any]]:
    if depth > _MAX_DEPTH:
        raise _BadMask("collections nested too deeply")
    if isinstance(value, list):
        return [polygon for item in value for polygon in _polygons(item, depth + 1)]
    if not isinstance(value, dict):
        raise _BadMask("is no GeoJSON")
    kind = value.get("type")
    if kind == "FeatureCollection":
        return _polygons(value.get("features") or [], depth + 1)
    if kind == "Feature":
        return _polygons(value["geometry"], depth + 1) if value.get("geometry") else []
    if kind == "GeometryCollection":
        return _polygons(value.get("geometries") or [], depth + 1)
    if kind == "Polygon":
        return [value.get("coordinates") or []]
    if kind == "MultiPolygon":
        return list(value.get("coordinates") or [])
    return []  # points and lines have no area


def _points(ring: Any) -> list[tuple[float, float]]:
    try:
        points = [(float(point[0]), float(point[1])) for point in ring]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise _BadMask("has a ring that is no list of points") from error
    if len(points) < 3 or not all(math.isfinite(v) for point in points for v in point):
        raise _BadMask("has a ring of fewer than three points, or of no numbers")
    return points
