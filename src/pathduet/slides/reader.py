"""Reading regions of a slide at any pixel size, through OpenSlide.

Coordinates are level-0 pixels (floats are fine); images are (height, width, 3) uint8 RGB.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from pathduet.errors import SlideError

# Bicubic with antialiasing. Against exact area integrals of a band-limited scene, for 0.25-0.5 um read at 0.5 and
# 1.0 um with odd offsets, it gives 43-51 dB; LANCZOS 34-51, HAMMING 32-49, BILINEAR 32-43 and BOX 24-35, because Pillow's
# BOX counts pixels whole and so moves edges by up to half a pixel when the ratio is not an integer.
_RESAMPLE = Image.Resampling.BICUBIC
_SUPPORT = 2.0  # of the bicubic kernel, in output pixels
_LEVEL_TOLERANCE = 1.01  # a level 1 % coarser than asked for still counts as fine enough
_MAX_BLOCK = 4096  # longest edge in level pixels that is read at once
_MIN_BLOCK = 16  # thumbnail pixels below which an unreadable block is not split further
_MAX_SPLITS = 200  # each failure reopens the file: a mostly unreadable slide must not take minutes


class RegionError(Exception):
    """A region that cannot be decoded; the slide has been reopened and can be read elsewhere."""


class SlideReader:
    """A slide opened for reading; threads take one reader each, because a failed read replaces the handle.

    Parameters
    ----------
    slide_id : str
        For messages.
    path : path
        The raw slide; never written.

    Raises
    ------
    SlideError
        ``unreadable`` if OpenSlide cannot open the file; the message names the file, not its folder.
    """

    def __init__(self, slide_id: str, path: Path) -> None:
        self.slide_id, self.path = slide_id, Path(path)
        self.reopened = 0
        self._handle = self._open()
        self.level_dimensions: tuple[tuple[int, int], ...] = self._handle.level_dimensions
        self.level_downsamples: tuple[float, ...] = self._handle.level_downsamples
        self.properties: dict[str, str] = dict(self._handle.properties)

    def _open(self) -> Any:
        if not self.path.is_file():
            raise SlideError(
                self.slide_id, "unreadable", f"no file {self.path.name}", "check the path in slides.tsv"
            )
        try:
            return openslide.OpenSlide(str(self.path))
        except (openslide.OpenSlideError, OSError) as error:
            found = str(error).replace(str(self.path), self.path.name)
            raise SlideError(
                self.slide_id,
                "unreadable",
                f"OpenSlide cannot open {self.path.name} ({self.path.stat().st_size:,} bytes): {found}",
                "compare size and checksum with the source; copy it again or convert it",
            ) from error

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of level 0 in pixels."""
        return self.level_dimensions[0]

    @property
    def vendor(self) -> str:
        """OpenSlide's name of the format."""
        return self.properties.get("openslide.vendor", "")

    @property
    def objective_power(self) -> float:
        """Nominal objective power, NaN if the file does not say."""
        try:
            return float(self.properties["openslide.objective-power"])
        except (KeyError, ValueError):
            return float("nan")

    def best_level(self, downsample: float) -> int:
        """Return the coarsest level that is at least as fine as `downsample` (level-0 pixels per output pixel)."""
        fine = [
            i for i, d in enumerate(self.level_downsamples) if d <= max(1.0, downsample) * _LEVEL_TOLERANCE
        ]
        return max(fine, key=lambda i: self.level_downsamples[i]) if fine else 0

    def read_region_at(
        self, x0: float, y0: float, width0: float, height0: float, out_size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read the footprint ``[x0, x0 + width0) x [y0, y0 + height0)`` resampled to `out_size` pixels.

        Read from the nearest finer level, with enough pixels around the footprint for the resampling
        kernel, so neighbouring tiles join without seams. What lies beyond the slide is white.

        Parameters
        ----------
        x0, y0, width0, height0 : float
            Footprint in level-0 pixels.
        out_size : (int, int)
            Output width and height.

        Returns
        -------
        (height, width, 3) uint8 array

        Raises
        ------
        RegionError
            If the region cannot be decoded. OpenSlide's handle is dead after that; it has been replaced.
        """
        out_w, out_h = out_size
        level = self.best_level(min(width0 / out_w, height0 / out_h))
        scale = self.level_downsamples[level]
        left, top, width, height = x0 / scale, y0 / scale, width0 / scale, height0 / scale
        margin_x, margin_y = (
            int(np.ceil(_SUPPORT * max(1.0, width / out_w))),
            int(np.ceil(_SUPPORT * max(1.0, height / out_h))),
        )
        # OpenSlide takes level-0 integers; the level pixel that such a place falls on need not be an integer.
        ask_x, ask_y = (
            round((np.floor(left) - margin_x) * scale),
            round((np.floor(top) - margin_y) * scale),
        )
        box_x, box_y = left - ask_x / scale, top - ask_y / scale
        read_w, read_h = (
            int(np.ceil(box_x + width)) + margin_x + 1,
            int(np.ceil(box_y + height)) + margin_y + 1,
        )
        image = self._read(ask_x, ask_y, level, read_w, read_h)
        box = (box_x, box_y, box_x + width, box_y + height)
        return np.asarray(image.resize(out_size, _RESAMPLE, box=box))

    def _read(self, x: int, y: int, level: int, width: int, height: int) -> Image.Image:
        try:
            rgba = self._handle.read_region((x, y), level, (width, height))
        except (openslide.OpenSlideError, OSError) as error:
            self._handle.close()
            self._handle = self._open()
            self.reopened += 1
            raise RegionError(f"{self.path.name}: level {level} at ({x}, {y}): {error}") from error
        # Beyond the edge OpenSlide returns transparent black: put it on white.
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white

    def thumbnail(self, out_size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the whole slide resampled to `out_size`, and where it could be read.

        Read block by block, so memory does not grow with the slide; a block that fails is split into quarters, and
        what remains unreadable is white and False in the second result.

        Returns
        -------
        image : (height, width, 3) uint8 array
        readable : (height, width) bool array
        """
        out_w, out_h = out_size
        image = np.full((out_h, out_w, 3), 255, np.uint8)
        readable = np.ones((out_h, out_w), bool)
        ratio_x, ratio_y = self.dimensions[0] / out_w, self.dimensions[1] / out_h
        ratio = min(ratio_x, ratio_y)
        level_ratio = ratio / self.level_downsamples[self.best_level(ratio)]
        block = max(1, int(_MAX_BLOCK / max(1.0, level_ratio)))

        def fill(x: int, y: int, width: int, height: int) -> None:
            try:
                image[y : y + height, x : x + width] = self.read_region_at(
                    x * ratio_x, y * ratio_y, width * ratio_x, height * ratio_y, (width, height)
                )
            except RegionError:
                if max(width, height) <= _MIN_BLOCK or self.reopened > _MAX_SPLITS:
                    readable[y : y + height, x : x + width] = False
                    return
                half_w, half_h = max(1, width // 2), max(1, height // 2)
                for dx, w in ((0, half_w), (half_w, width - half_w)):
                    for dy, h in ((0, half_h), (half_h, height - half_h)):
                        if w and h:
                            fill(x + dx, y + dy, w, h)

        for y in range(0, out_h, block):
            for x in range(0, out_w, block):
                fill(x, y, min(block, out_w - x), min(block, out_h - y))
        return image, readable

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def __enter__(self) -> SlideReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
