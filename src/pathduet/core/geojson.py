"""Read polygons of a user's GeoJSON file: features, collections and geometries, as QuPath exports them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAX_BYTES = 512 * 2**20
_MAX_DEPTH = 4  # collections within collections

Ring = list[tuple[float, float]]


@dataclass(frozen=True)
class Polygon:
    """One polygon.

    Attributes
    ----------
    rings : list of lists of (float, float)
        The outline, then the holes; x to the right, y down.
    properties : mapping
        Properties of the polygon's feature.
    """

    rings: list[Ring]
    properties: Mapping[str, Any]

    def moved(self, dx: float, dy: float) -> Polygon:
        """Return the polygon shifted `dx` to the right and `dy` down."""
        return Polygon([[(x + dx, y + dy) for x, y in ring] for ring in self.rings], self.properties)

    def is_beside(self, size: tuple[int, int]) -> bool:
        """Whether its bounding box lies outside an image of `size` (width, height) pixels."""
        xs, ys = zip(*(point for ring in self.rings for point in ring))
        return max(xs) <= 0 or max(ys) <= 0 or min(xs) >= size[0] or min(ys) >= size[1]


def read_polygons(path: Path) -> tuple[list[Polygon], str]:
    """Return the polygons of a file, in its order, and the coordinate frame that it states; "" if it states none.

    Points and lines, which have no area, are skipped.

    Raises
    ------
    ValueError
        States what is wrong with the file.
    """
    try:
        size = path.stat().st_size
        value = json.loads(path.read_text(encoding="utf-8")) if size <= _MAX_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON ({type(error).__name__})") from error
    if size > _MAX_BYTES:
        raise ValueError(f"has {size:,} bytes, more than {_MAX_BYTES:,}")
    about = value.get("pathduet") if isinstance(value, dict) else None
    frame = about.get("frame") if isinstance(about, dict) else None
    return list(_polygons(value, {})), str(frame or "")


def _polygons(value: Any, properties: Mapping[str, Any], depth: int = 0) -> Iterator[Polygon]:
    if depth > _MAX_DEPTH:
        raise ValueError("collections nested too deeply")
    if isinstance(value, list):
        for item in value:
            yield from _polygons(item, properties, depth + 1)
        return
    if not isinstance(value, dict):
        raise ValueError("is no GeoJSON")
    kind, coordinates = value.get("type"), value.get("coordinates") or []
    if kind == "FeatureCollection":
        yield from _polygons(value.get("features") or [], properties, depth + 1)
    elif kind == "Feature" and value.get("geometry"):
        own = value.get("properties")
        yield from _polygons(value["geometry"], own if isinstance(own, dict) else {}, depth + 1)
    elif kind == "GeometryCollection":
        yield from _polygons(value.get("geometries") or [], properties, depth + 1)
    elif kind == "Polygon":
        yield Polygon([_ring(ring) for ring in coordinates], properties)
    elif kind == "MultiPolygon":
        for rings in coordinates:
            yield Polygon([_ring(ring) for ring in rings], properties)


def _ring(points: Any) -> Ring:
    try:
        ring = [(float(point[0]), float(point[1])) for point in points]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError("has a ring that is not a list of points") from error
    if len(ring) < 3 or not all(math.isfinite(v) for point in ring for v in point):
        raise ValueError("has a ring of fewer than three points, or without numbers")
    return ring
