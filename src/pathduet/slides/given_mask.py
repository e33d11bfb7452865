"""A tissue mask supplied by the user: GeoJSON polygons in level-0 pixels, or a picture of level 0 or of what QuPath shows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pathduet.core.errors import SlideError
from pathduet.core.geojson import Polygon, read_polygons
from pathduet.slides.readers.frame import Frame, bounds_in_words, stated_frame

_MAX_PICTURE_PIXELS = 100_000_000
_SMALL_THUMBNAIL = 4_000_000
#: Glass is nearly as bright as the brightest pixels; at least the last share of a mask must be darker.
_GLASS, _LEAST_WHITE, _LEAST_TISSUE = 0.9, 200, 0.05


def given_mask(
    slide_id: str,
    path: Path,
    size0: tuple[int, int],
    shape: tuple[int, int],
    stated: str = "",
    bounds: Sequence[int] = (),
) -> NDArray[np.bool_]:
    """Return a user's mask at thumbnail size.

    Parameters
    ----------
    slide_id : str
        For messages.
    path : Path
        ``.geojson`` or ``.json``: Polygons and MultiPolygons (features, collections, geometries) in level-0 pixels, x
        to the right and y down, as QuPath exports them; holes are kept. Otherwise a picture of its whole frame, at any
        size: pixels that are neither black nor transparent are tissue.
    size0 : (int, int)
        Width and height of level 0.
    shape : (int, int)
        Width and height of the result.
    stated : str
        The frame of the mask's coordinates, see :func:`pathduet.slides.readers.frame.stated_frame`.
    bounds : sequence of int
        The bounds that the slide declares as scanned.

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
            polygons, own = read_polygons(path)
            return _draw(polygons, stated_frame(stated, own, bounds, size0), size0, shape)
        return _from_picture(path, stated_frame(stated, "", bounds, size0), size0, shape)
    except ValueError as error:
        advice = "give GeoJSON polygons in level-0 pixels, or a PNG of the whole slide"
        if bounds:
            advice = f"state its frame in the column `mask_frame`, level0 or qupath; {advice}"
        raise SlideError(slide_id, "failed", f"mask {path.name}: {error}", advice) from error


def check_on_tissue(
    slide_id: str,
    path: Path,
    marked: NDArray[np.bool_],
    image: NDArray[np.uint8],
    bounds: Sequence[int],
) -> None:
    """Refuse a mask that marks glass.

    Parameters
    ----------
    path : Path
        The mask, for messages.
    marked : (h, w) bool array
    image : (h, w, 3) uint8 array
        The slide's thumbnail.
    bounds : sequence of int
        The bounds that the slide declares as scanned.

    Raises
    ------
    SlideError
        ``failed``, naming the bounds if there are any.
    """
    if not marked.any():
        return
    seen = image[(image < 255).any(axis=2)]  # everything outside the scanned part is white
    white = np.percentile(seen, 99, axis=0) if len(seen) else np.full(3, 255.0)
    tissue = float((image[marked] < _GLASS * np.maximum(white, _LEAST_WHITE)).any(axis=1).mean())
    if tissue < _LEAST_TISSUE:
        found = f"mask {path.name}: {100 * (1 - tissue):.0f} % of what it marks is glass"
        advice = "correct the mask; coordinates are level-0 pixels"
        if bounds:
            found += f". The slide declares {bounds_in_words(bounds)}"
            advice = "correct the mask, or the column `mask_frame` (level0 or qupath)"
        raise SlideError(slide_id, "failed", found, advice)


def _from_picture(
    path: Path, frame: Frame, size0: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    shown = frame.size or size0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG", "TIFF", "BMP")) as image:
                problem = _unfit(image.size, shown)
                values = np.zeros((1, 1, 4)) if problem else np.asarray(image.convert("RGBA"))
    except Exception as error:  # Pillow's plugins raise all sorts of things on damaged files
        raise ValueError(f"cannot be read as a picture ({type(error).__name__})") from error
    if problem:
        raise ValueError(problem)
    tissue = (values[..., :3].max(-1) > 0) & (values[..., 3] > 0)
    scale = shape[0] / size0[0], shape[1] / size0[1]
    left, top = round(frame.x * scale[0]), round(frame.y * scale[1])
    part = max(1, round(shown[0] * scale[0])), max(1, round(shown[1] * scale[1]))
    total = Image.new("L", shape)
    total.paste(
        Image.fromarray(tissue.astype(np.uint8) * 255).resize(part, Image.Resampling.BOX), (left, top)
    )
    return np.asarray(total) >= 128


def _unfit(size: tuple[int, int], shown: tuple[int, int]) -> str:
    width, height = size
    if width * height > _MAX_PICTURE_PIXELS:
        return f"{width:,} x {height:,} pixels, more than {_MAX_PICTURE_PIXELS:,}"
    # allow for a pixel of rounding
    if abs(width / height - shown[0] / shown[1]) * height > 0.03 * width + 2:
        return f"{width} x {height} pixels do not have the slide's shape, {shown[0]} x {shown[1]}"
    return ""


def _draw(
    polygons: Sequence[Polygon], frame: Frame, size0: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    if not polygons:
        raise ValueError("holds no Polygon or MultiPolygon")
    if beside := sum(polygon.moved(frame.x, frame.y).is_beside(size0) for polygon in polygons):
        raise ValueError(
            f"{beside} of {len(polygons)} polygons lie beside the slide's {size0[0]} x {size0[1]} pixels"
        )
    # Pillow draws outlines too, half a pixel beyond the polygon; drawn larger and reduced, an eighth
    finer = 4 if shape[0] * shape[1] <= _SMALL_THUMBNAIL else 2
    size = shape[0] * finer, shape[1] * finer
    scale = size[0] / size0[0], size[1] / size0[1]
    total = Image.new("L", size)
    for polygon in (polygon.moved(frame.x, frame.y) for polygon in polygons):
        picture = Image.new("L", size)
        draw = ImageDraw.Draw(picture)
        for i, ring in enumerate(polygon.rings):
            draw.polygon([(x * scale[0] - 0.5, y * scale[1] - 0.5) for x, y in ring], fill=0 if i else 255)
        total.paste(255, mask=picture)
    return np.asarray(total.reduce(finer)) >= 128
