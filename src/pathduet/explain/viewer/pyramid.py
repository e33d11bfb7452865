"""A slide as a Deep Zoom pyramid of JPEG tiles, written strip by strip.

Format: Deep Zoom Image, ``<name>_files/<level>/<column>_<row>.jpeg``, tiles of 256 pixels without overlap; level 0 is one
pixel, each next level is twice as large, the last is the picture itself. A strip of the finest level is read,
cut into tiles, halved, and passed to the next coarser level, so that memory grows only with the slide's width.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pathduet.core.checksums import record
from pathduet.core.files import write_text
from pathduet.core.progress import track
from pathduet.slides.readers.reader import RegionError, SlideReader

TILE_PX, QUALITY = 256, 78
_BLOCK_PX = 1024  # output pixels read at once
_DZI = """<?xml version="1.0" encoding="UTF-8"?>
<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="jpeg" Overlap="0" TileSize="{tile}">
  <Size Width="{width}" Height="{height}"/>
</Image>
"""


@dataclass(frozen=True)
class Pyramid:
    """The written pyramid.

    Attributes
    ----------
    width, height : int
        Pixels of the finest level.
    levels : int
        Number of levels.
    scale : float
        Level-0 pixels of the slide per pixel of the finest level.
    unreadable : int
        Blocks that could not be decoded; they are white.
    """

    width: int
    height: int
    levels: int
    scale: float
    unreadable: int


def pyramid_size(dimensions: tuple[int, int], mpp: float, finest_mpp: float) -> tuple[int, int, float]:
    """Return width, height and level-0 pixels per pixel of a picture of at least `finest_mpp` um per pixel.

    >>> pyramid_size((8000, 4000), 0.5, 2.0), pyramid_size((8000, 4000), 4.0, 2.0)
    ((2000, 1000, 4.0), (8000, 4000, 1.0))
    """
    scale = max(1.0, finest_mpp / mpp)
    return max(1, math.ceil(dimensions[0] / scale)), max(1, math.ceil(dimensions[1] / scale)), scale


def write_pyramid(folder: Path, name: str, reader: SlideReader, mpp: float, finest_mpp: float) -> Pyramid:
    """Write ``<name>.dzi`` and ``<name>_files/`` into `folder`.

    Parameters
    ----------
    folder : Path
        Created if missing.
    name : str
        File name without ending.
    reader : SlideReader
        The slide.
    mpp : float
        Its level-0 pixel size in micrometres.
    finest_mpp : float
        Pixel size of the finest level, micrometres; never finer than the slide.
    """
    width, height, scale = pyramid_size(reader.dimensions, mpp, finest_mpp)
    levels = math.ceil(math.log2(max(width, height))) + 1
    failed = 0

    def block(x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        nonlocal failed
        try:
            return reader.read_region_at(x * scale, y * scale, w * scale, h * scale, (w, h))
        except RegionError:
            failed += 1
            return np.full((h, w, 3), 255, np.uint8)

    rows = math.ceil(height / TILE_PX)
    strips = _strips(width, height, block)
    final, unfinished = folder / f"{name}_files", folder / f".{name}_files.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    level = _Level(unfinished, levels - 1, width, height)
    for strip in track(strips, rows, f"pyramid of {reader.slide_id}", "rows of tiles"):
        level.add(strip)
    level.finish()
    if final.is_dir():
        shutil.rmtree(final)
    unfinished.replace(final)
    # last: its existence marks the pyramid as complete
    write_text(folder / f"{name}.dzi", _DZI.format(tile=TILE_PX, width=width, height=height))
    record([folder / f"{name}.dzi", final])
    return Pyramid(width, height, levels, scale, failed)


def _strips(
    width: int, height: int, block: Callable[[int, int, int, int], NDArray[np.uint8]]
) -> Iterator[NDArray[np.uint8]]:
    for y in range(0, height, TILE_PX):
        h = min(TILE_PX, height - y)
        yield np.concatenate(
            [block(x, y, min(_BLOCK_PX, width - x), h) for x in range(0, width, _BLOCK_PX)], axis=1
        )


class _Level:
    """One level of a pyramid: receives rows, writes tiles, passes halved rows to the next coarser level."""

    def __init__(self, folder: Path, number: int, width: int, height: int) -> None:
        self.folder, self.width = folder / str(number), width
        self.folder.mkdir(parents=True, exist_ok=True)
        self.row = 0
        self.waiting = np.zeros((0, width, 3), np.uint8)
        self.coarser = (
            _Level(folder, number - 1, math.ceil(width / 2), math.ceil(height / 2)) if number else None
        )

    def add(self, rows: NDArray[np.uint8]) -> None:
        """Add the next rows, (n, width, 3)."""
        self.waiting = np.concatenate([self.waiting, rows])
        while len(self.waiting) >= TILE_PX:
            self._write(self.waiting[:TILE_PX])
            self.waiting = self.waiting[TILE_PX:]

    def finish(self) -> None:
        """Write the remaining rows, in this and all coarser levels."""
        if len(self.waiting):
            self._write(self.waiting)
        if self.coarser is not None:
            self.coarser.finish()

    def _write(self, strip: NDArray[np.uint8]) -> None:
        for column in range(math.ceil(self.width / TILE_PX)):
            tile = Image.fromarray(strip[:, column * TILE_PX : (column + 1) * TILE_PX])
            tile.save(self.folder / f"{column}_{self.row}.jpeg", "JPEG", quality=QUALITY)
        self.row += 1
        if self.coarser is not None:
            self.coarser.add(_halved(strip))


def _halved(strip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return means of 2 x 2 pixels; an odd edge is counted twice."""
    height, width, _ = strip.shape
    even = np.pad(strip, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.uint16)
    total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)
