"""Slides through OpenSlide: the vendors' formats (SVS, NDPI, MRXS, SCN, BIF, VMS, DICOM, tiled TIFF)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openslide
from numpy.typing import NDArray

from pathduet.slides.readers.pixel_source import Absurd, DecodeError, Unsupported
from pathduet.slides.readers.tiff_pages import TiffPixels

# Formats whose levels are plain TIFF pages: their tiles are decoded by tifffile.
_PLAIN_TIFF = ("aperio",)


class OpenSlideSource:
    """A slide opened by OpenSlide; see :class:`pathduet.slides.readers.pixel_source.PixelSource`.

    OpenSlide says what the levels are. Where each is one TIFF page with tiles of a common codec, tifffile decodes them: the
    same pixels, several times faster, and a damaged tile does not end the handle.

    Raises
    ------
    Unsupported
        If OpenSlide does not open the file.
    """

    def __init__(self, path: Path, direct: bool = True) -> None:
        self._path = path
        self._handle = self._open()
        self.level_dimensions: tuple[tuple[int, int], ...] = self._handle.level_dimensions
        self.level_downsamples: tuple[float, ...] = self._handle.level_downsamples
        self.properties: dict[str, str] = dict(self._handle.properties)
        self.vendor = self.properties.get("openslide.vendor", "")
        self._tiff: TiffPixels | None = None
        if direct and self.vendor in _PLAIN_TIFF:
            try:
                self._tiff = TiffPixels.matching(path, self.level_dimensions)
            except Absurd:
                self._handle.close()
                raise
        self.library = "openslide+tifffile" if self._tiff is not None else "openslide"

    def _open(self) -> Any:
        try:
            return openslide.OpenSlide(str(self._path))
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise Unsupported("OpenSlide does not know the format") from error
        except (openslide.OpenSlideError, OSError) as error:
            raise Unsupported(f"OpenSlide: {error}") from error

    def read(
        self, level: int, x: int, y: int, width: int, height: int
    ) -> tuple[NDArray[np.uint8], float, float]:
        """Read a box of a level's pixels; white beyond the edge."""
        if self._tiff is not None:
            return self._tiff.read(level, x, y, width, height), x, y
        # OpenSlide takes level-0 integers; the level pixel that such a place falls on need not be an integer. Places
        # left of the slide or above it are not asked for: there it rounds the distance down to whole level pixels.
        scale = self.level_downsamples[level]
        left, top = min(max(-x, 0), width), min(max(-y, 0), height)
        x0, y0 = round((x + left) * scale), round((y + top) * scale)
        real_x, real_y = x0 / scale - left, y0 / scale - top
        image = np.full((height, width, 3), 255, np.uint8)
        if left == width or top == height:
            return image, real_x, real_y
        try:
            rgba = np.asarray(self._handle.read_region((x0, y0), level, (width - left, height - top)))
        except (openslide.OpenSlideError, OSError) as error:
            # The handle is dead after a failure.
            self._handle.close()
            try:
                self._handle = self._open()
            except Unsupported as gone:
                raise DecodeError(str(gone)) from error
            raise DecodeError(f"level {level} at ({x0}, {y0}): {error}") from error
        alpha = rgba[..., 3:]
        rgb = rgba[..., :3]
        if (alpha < 255).any():  # beyond the edge it is transparent black: put it on white
            share = alpha.astype(np.float32) / np.float32(255.0)
            rgb = (rgb * share + 255.0 * (1.0 - share) + 0.5).astype(np.uint8)
        image[top:, left:] = rgb
        return image, real_x, real_y

    def close(self) -> None:
        """Close the file."""
        self._handle.close()
        if self._tiff is not None:
            self._tiff.close()
