"""A tissue mask handed in by the user: GeoJSON polygons in level-0 pixels, or a picture of the whole slide."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pathduet.core.errors import SlideError
from pathduet.core.geojson import read_polygons

_MAX_PICTURE_PIXELS = 100_000_000
_SMALL_THUMBNAIL = 4_000_000


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
    except ValueError as error:
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
                problem = _unfit(image.size, size0)
                values = np.zeros((1, 1, 4)) if problem else np.asarray(image.convert("RGBA"))
    except Exception as error:  # Pillow's plugins raise all sorts of things on damaged files
        raise ValueError(f"cannot be read as a picture ({type(error).__name__})") from error
    if problem:
        raise ValueError(problem)
    tissue = (values[..., :3].max(-1) > 0) & (values[..., 3] > 0)
    picture = Image.fromarray(tissue.astype(np.uint8) * 255).resize(shape, Image.Resampling.BOX)
    return np.asarray(picture) >= 128


def _unfit(size: tuple[int, int], size0: tuple[int, int]) -> str:
    width, height = size
    if width * height > _MAX_PICTURE_PIXELS:
        return f"{width:,} x {height:,} pixels, more than {_MAX_PICTURE_PIXELS:,}"
    # a pixel of rounding is no other aspect
    if abs(width / height - size0[0] / size0[1]) * height > 0.03 * width + 2:
        return f"{width} x {height} pixels do not have the slide's shape, {size0[0]} x {size0[1]}"
    return ""


def _from_geojson(path: Path, size0: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    polygons = read_polygons(path)
    if not polygons:
        raise ValueError("holds no Polygon or MultiPolygon")
    # Pillow draws outlines too, half a pixel beyond the polygon: drawn larger and reduced, that is an eighth
    finer = 4 if shape[0] * shape[1] <= _SMALL_THUMBNAIL else 2
    size = shape[0] * finer, shape[1] * finer
    scale = size[0] / size0[0], size[1] / size0[1]
    total = Image.new("L", size)
    for polygon in polygons:
        picture = Image.new("L", size)
        draw = ImageDraw.Draw(picture)
        for i, ring in enumerate(polygon.rings):
            draw.polygon([(x * scale[0] - 0.5, y * scale[1] - 0.5) for x, y in ring], fill=0 if i else 255)
        total.paste(255, mask=picture)
    return np.asarray(total.reduce(finer)) >= 128
