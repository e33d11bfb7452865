"""Regions drawn on a slide, as the structure under each tile: GeoJSON polygons or a label picture.

GeoJSON is in level-0 pixels, in a stated frame (:mod:`pathduet.slides.readers.frame`): a feature's structure is its
classification's ``name`` (or ``names``, joined by ``: ``, as QuPath shows derived classes), else its own ``properties.name``;
later features cover earlier ones. A picture is indexed or grey (its numbers are looked up in the legend) or in colour (looked up
as ``#rrggbb``); it covers what its frame shows from the top-left corner, at the legend's ``micrometres_per_pixel`` if given, else
from edge to edge. A legend is JSON: ``{"regions": {"1": {"name": "leading_edge"}, ...}}``. Glass and everything that the legend
does not name is not annotated.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pathduet.core.errors import InputError
from pathduet.core.geojson import Polygon, read_polygons
from pathduet.slides.readers.frame import LEVEL0, Frame, stated_frame

_MAX_PIXELS = 400_000_000
#: Longest edge, in pixels, of the raster that polygons are drawn on.
_RASTER_EDGE = 4096
#: A tile gets the name of its most frequent structure if at least this share of it is annotated.
_LEAST_ANNOTATED = 0.5
_NAMED_COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True)
class Annotation:
    """A raster of structures over a slide.

    Attributes
    ----------
    labels : (h, w) int array
        Index into `names`; -1 = not annotated.
    names : tuple of str
        Structures.
    scale : (float, float)
        Level-0 pixels per raster pixel, along x and y.
    frame : Frame
        Origin of the raster.
    """

    labels: NDArray[np.int32]
    names: tuple[str, ...]
    scale: tuple[float, float]
    frame: Frame = LEVEL0

    def structure_of(self, x: float, y: float, width: float, height: float) -> str:
        """Return the structure under a tile (level-0 pixels), "" if less than half of it is annotated."""
        x, y = x - self.frame.x, y - self.frame.y
        left, top = int(np.floor(x / self.scale[0] + 0.5)), int(np.floor(y / self.scale[1] + 0.5))
        right = max(int(np.floor((x + width) / self.scale[0] + 0.5)), left + 1)
        bottom = max(int(np.floor((y + height) / self.scale[1] + 0.5)), top + 1)
        part = self.labels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        counts = np.bincount(part[part >= 0].ravel(), minlength=len(self.names))
        if counts.sum() < _LEAST_ANNOTATED * (right - left) * (bottom - top) or not counts.sum():
            return ""
        return self.names[int(counts.argmax())]


def read_legend(path: Path | None) -> dict[str, Any]:
    """Return a legend: ``names`` (number or #rrggbb to structure) and ``mpp`` (float or None).

    Raises
    ------
    InputError
        If the file is not a legend.
    """
    if path is None:
        return {"names": {}, "mpp": None}
    advice = 'give JSON such as {"regions": {"1": {"name": "leading_edge"}}}'
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        regions = value["regions"]
        names = {
            str(key).lower(): str(entry["name"] if isinstance(entry, Mapping) else entry)
            for key, entry in regions.items()
        }
        mpp = value.get("micrometres_per_pixel")
        if mpp is not None and not (isinstance(mpp, int | float) and math.isfinite(mpp) and mpp > 0):
            raise ValueError(f"micrometres_per_pixel is {mpp!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError.of(f"legend {path}", f"{type(error).__name__}: {str(error)[:200]}", advice) from None
    for key in names:
        if not key.isdigit() and not _NAMED_COLOUR.fullmatch(key):
            raise InputError.of(f"legend {path}", f"key {key!r}", "use pixel values (1, 2 ...) or #rrggbb")
    return {"names": names, "mpp": mpp}


def read_annotation(
    slide_id: str,
    path: Path,
    size0: tuple[int, int],
    mpp: tuple[float, float],
    legend: Mapping[str, Any],
    stated: str = "",
    bounds: Sequence[int] | None = (),
) -> Annotation:
    """Return a slide's annotation.

    Parameters
    ----------
    slide_id : str
        For messages.
    size0 : (int, int)
        Width and height of level 0, pixels.
    mpp : (float, float)
        Micrometres per level-0 pixel, x and y.
    legend : mapping
        From :func:`read_legend`.
    stated : str
        The annotation's frame, see :func:`pathduet.slides.readers.frame.stated_frame`.
    bounds : sequence of int or None
        The scanned area that the slide declares; None if unknown.

    Raises
    ------
    InputError
        If the file cannot be parsed.
    """
    try:
        if path.suffix.lower() in (".geojson", ".json"):
            polygons, own = read_polygons(path)
            return _draw(polygons, stated_frame(stated, own, bounds, size0), size0)
        return _from_picture(path, stated_frame(stated, "", bounds, size0), size0, mpp, legend)
    except (
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        IndexError,
        RecursionError,
        Image.DecompressionBombError,
    ) as error:
        advice = "give GeoJSON polygons in level-0 pixels, or a label picture with a legend"
        if bounds:
            advice = f"state its frame in explanations.regions.frame, level0 or qupath; {advice}"
        found = f"{type(error).__name__}: {str(error)[:200]}"
        raise InputError.of(f"annotation of slide {slide_id}, {path.name}", found, advice) from None


def _from_picture(
    path: Path, frame: Frame, size0: tuple[int, int], mpp: tuple[float, float], legend: Mapping[str, Any]
) -> Annotation:
    if not legend["names"]:
        raise ValueError("a picture needs a legend (explanations.regions.legend)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=("PNG", "TIFF", "BMP")) as image:
            if image.size[0] * image.size[1] > _MAX_PIXELS:
                raise ValueError(f"{image.size[0]:,} x {image.size[1]:,} pixels, more than {_MAX_PIXELS:,}")
            plain = image if image.mode in ("P", "L") else image.convert("RGB")
            values = np.asarray(plain)
    names = tuple(dict.fromkeys(name for name in legend["names"].values() if name != "glass"))
    labels = np.full(values.shape[:2], -1, np.int32)
    if values.ndim == 3:
        values = (values.astype(np.int32) * (65536, 256, 1)).sum(axis=2)
    for key, name in legend["names"].items():
        if name != "glass":
            labels[values == (int(key[1:], 16) if key.startswith("#") else int(key))] = names.index(name)
    h, w = values.shape[:2]
    if legend["mpp"] is None:
        shown = frame.size or size0
        return Annotation(labels, names, (shown[0] / w, shown[1] / h), frame)
    return Annotation(labels, names, (legend["mpp"] / mpp[0], legend["mpp"] / mpp[1]), frame)


def _draw(polygons: Sequence[Polygon], frame: Frame, size0: tuple[int, int]) -> Annotation:
    moved = (polygon.moved(frame.x, frame.y) for polygon in polygons)
    shapes = [(name, polygon.rings) for polygon in moved if (name := _structure(polygon.properties))]
    if not shapes:
        raise ValueError("holds no named Polygon or MultiPolygon")
    shrink = max(1.0, max(size0) / _RASTER_EDGE)
    width, height = math.ceil(size0[0] / shrink), math.ceil(size0[1] / shrink)
    names = tuple(dict.fromkeys(name for name, _ in shapes))
    total = Image.new("I", (width, height), -1)
    for name, rings in shapes:
        mask = Image.new("1", (width, height))
        draw = ImageDraw.Draw(mask)
        for i, ring in enumerate(rings):
            draw.polygon([(x / shrink, y / shrink) for x, y in ring], fill=0 if i else 1)
        total.paste(names.index(name), mask=mask)
    return Annotation(np.asarray(total, dtype=np.int32), names, (shrink, shrink))


def _structure(properties: Mapping[str, Any]) -> str:
    """Return the structure that a feature's properties name; empty if they name none."""
    given = properties.get("classification") or {}
    joined = ": ".join(map(str, given.get("names") or ()))
    return str(given.get("name") or joined or properties.get("name") or "")
