"""Small pictures of a slide's processing, for the report: PNGs of at most 512 pixels and 256 colours."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pathduet.core.files import atomic_path
from pathduet.slides.tissue_mask import eroded

MAX_EDGE = 512
_OUTLINE, _PEN, _TILE_20X, _TILE_10X = (0, 120, 60), (230, 60, 0), (20, 90, 200), (255, 140, 0)
_MIN_CELL = 5.0  # preview pixels: a finer lattice would be a grey smear
_TILE_EDGE, _GAP = 112, 4


def preview_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of a slide's preview: the long edge 512 pixels, or the slide's own if it is smaller."""
    scale = min(1.0, MAX_EDGE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def save_png(path: Path, image: NDArray[np.uint8] | Image.Image) -> None:
    """Save an RGB picture as a small palette PNG, atomically."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    with atomic_path(path) as temporary:
        # 39 dB in 1 ms; median cut gives 40 dB, but takes 200 ms and twice the bytes
        small = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        # runs of equal pixels alone: the size of level 1, in half its time
        small.save(temporary, compress_level=1, compress_type=zlib.Z_RLE)


def _resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    picture = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture) >= 128


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask & ~eroded(np.pad(mask, 1))


def mask_preview(
    thumbnail: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    pen: NDArray[np.bool_],
    size0: tuple[int, int],
    tiles: Mapping[str, tuple[NDArray[np.float64], float, float]],
) -> Image.Image:
    """Draw the tissue's outline (green), pen (orange outline), kept 20x tiles (blue tint) and 10x tiles (frames).

    Parameters
    ----------
    thumbnail : (h, w, 3) uint8 array
        The slide at preview size.
    tissue, pen : (H, W) bool arrays
        Of the same slide, at any size.
    size0 : (int, int)
        Width and height of level 0.
    tiles : mapping of "10x" and "20x", or of one of them
        Kept tiles: corners (n, 2), width and height, all in level-0 pixels.
    """
    height, width = thumbnail.shape[:2]
    scale_x, scale_y = width / size0[0], height / size0[1]
    tinted = np.zeros((height, width, 4), np.uint8)
    pixels = tinted.view(np.uint32)[..., 0]
    for name, colour, fill in (("20x", _TILE_20X, True), ("10x", _TILE_10X, False)):
        if name not in tiles:
            continue
        corners, tile_w, tile_h = tiles[name]
        framed = tile_w * scale_x >= _MIN_CELL
        if not framed and not fill:
            continue
        inside, edge = (
            np.array([*colour, a], np.uint8).view(np.uint32)[0] for a in (45, 150 if fill else 200)
        )
        first = corners * (scale_x, scale_y)
        across = np.array([tile_w * scale_x - 1, tile_h * scale_y - 1])
        last = np.maximum(first + across, first)
        # not Pillow's rectangles: they take several times as long, and refuse a tile narrower than a pixel
        for left, top, right, bottom in np.concatenate([first, last], axis=1).astype(int).tolist():
            box = pixels[top : bottom + 1, left : right + 1]
            if fill:
                box[:] = inside
            if framed:
                box[0] = box[-1] = edge
                box[:, 0] = box[:, -1] = edge
    picture = np.array(
        Image.alpha_composite(Image.fromarray(thumbnail).convert("RGBA"), Image.fromarray(tinted)).convert(
            "RGB"
        )
    )
    for mask, colour in ((tissue, _OUTLINE), (pen, _PEN)):
        if mask.any():
            picture[_outline(_resize_mask(mask, (width, height)))] = colour
    return Image.fromarray(picture)


def stain_preview(before: Sequence[NDArray[np.uint8]], after: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """Show tiles in the upper row and their normalised versions in the lower."""
    step = _TILE_EDGE + _GAP
    picture = Image.new("RGB", (step * len(before) - _GAP, 2 * step - _GAP), "white")
    for row, tiles in enumerate((before, after)):
        for column, tile in enumerate(tiles):
            small = Image.fromarray(tile).resize((_TILE_EDGE, _TILE_EDGE), Image.Resampling.BOX)
            picture.paste(small, (column * step, row * step))
    return picture
