"""Reading regions of a slide at any pixel size, with any decoding library.

Coordinates are level-0 pixels (floats are fine); images are (height, width, 3) uint8 RGB.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pathduet.slides.readers.pixel_source import DecodeError, PixelSource
from pathduet.slides.readers.pyramid_levels import PATCH_PX, agree, places, tells
from pathduet.slides.readers.source_choice import open_source

# Bicubic with antialiasing. Compared with exact area integrals of a band-limited scene, for 0.25-0.5 um read at 0.5
# and 1.0 um with odd offsets, it gives 43-51 dB; LANCZOS 34-51, HAMMING 32-49, BILINEAR 32-43 and BOX 24-35: Pillow's
# BOX counts whole pixels and so shifts edges by up to half a pixel if the ratio is not an integer. If it is, and the
# footprint lies on whole pixels, their plain mean is better still: 51-56 dB.
_RESAMPLE = Image.Resampling.BICUBIC
_SUPPORT = 2.0  # of the bicubic kernel, in output pixels
_LEVEL_TOLERANCE = 1.01  # a level 1 % coarser than requested still counts as fine enough
_WHOLE = 1e-6  # level pixels: a footprint this close to whole pixels lies on them
_MAX_BLOCK = 4096  # longest edge in level pixels of a single read
_MIN_BLOCK = 16  # thumbnail pixels below which an unreadable block is not split further
_PLACES, _JUDGED = 400, 8  # places of a level to examine, and to compare with a finer level
_BLANK, _MISSING = (
    48,
    2,
)  # among so many first places blank ones are compared too; the level fails if so many have tissue
_MAX_SPLITS = 200  # a failure may reopen the file: a mostly unreadable slide must not take minutes


class RegionError(Exception):
    """A region that cannot be decoded; the slide can still be read elsewhere."""


class SlideReader:
    """A slide opened for reading; each thread needs its own, because a failed read may replace the handle.

    Parameters
    ----------
    slide_id : str
        For messages.
    path : path
        The raw slide; never written.
    scene : str
        Which picture of a file with several, by name or number.

    Attributes
    ----------
    notes : list of str
        Remarks for the ledger on how the file is read.

    Raises
    ------
    SlideError
        ``unreadable`` if no library can open the file; the message gives the file's name without its folder.
    """

    def __init__(self, slide_id: str, path: Path, scene: str = "") -> None:
        self.slide_id, self.path = slide_id, Path(path)
        self.failed_reads = 0
        self._source: PixelSource = open_source(slide_id, self.path, scene)
        self.level_dimensions = tuple(self._source.level_dimensions)
        self.properties: dict[str, str] = dict(self._source.properties)
        self.level_downsamples = tuple(self._source.level_downsamples)
        self.notes = list(self._source.notes)
        stamp = self.path.stat()
        self._agrees = _judgements(self.path, scene, stamp.st_size, stamp.st_mtime_ns)

    @property
    def library(self) -> str:
        """The library that decodes the pixels."""
        return self._source.library

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of level 0 in pixels."""
        return self.level_dimensions[0]

    @property
    def vendor(self) -> str:
        """The format, as OpenSlide names it, or ``ome-tiff``, ``tiff``, ``png``, ``jpeg``."""
        return self._source.vendor

    @property
    def objective_power(self) -> float:
        """Nominal objective power; NaN if the file does not state it."""
        try:
            return float(self.properties["openslide.objective-power"])
        except (KeyError, ValueError):
            return float("nan")

    def best_level(self, downsample: float) -> int:
        """Return the coarsest level that is at least as fine as `downsample` (level-0 pixels per output pixel).

        A level whose content differs from level 0 is not used, and is noted.
        """
        fine = (
            i for i, d in enumerate(self.level_downsamples) if d <= max(1.0, downsample) * _LEVEL_TOLERANCE
        )
        ordered = sorted(fine, key=lambda i: -self.level_downsamples[i])
        return next((level for level in ordered if self._usable(level)), 0)

    def _usable(self, level: int) -> bool:
        """Return whether a level agrees with the next finer usable level; tested once, at a few places with tissue."""
        if level == 0:
            return True
        if level not in self._agrees:
            finer = next(i for i in range(level - 1, -1, -1) if self._usable(i))
            self._agrees[level] = self._levels_agree(level, finer)
        if not self._agrees[level]:
            width, height = self.level_dimensions[level]
            note = f"level {level} ({width} x {height} px) differs from level 0: a finer one is read"
            self.notes += [note] if note not in self.notes else []
        return self._agrees[level]

    def _levels_agree(self, level: int, finer: int) -> bool:
        width, height = self.level_dimensions[level]
        box, scale = (min(PATCH_PX, width), min(PATCH_PX, height)), self.level_downsamples[level]
        if min(box) < PATCH_PX // 4:
            return True
        agreed: list[bool] = []
        missing = (
            0  # blank places with tissue on the finer level: parts of a level may be missing in the file
        )
        for i, (x, y) in enumerate(places((width, height), _PLACES)):
            if i >= _BLANK and len(agreed) == _JUDGED:
                break
            try:
                patch, real_x, real_y = self._source.read(level, x, y, *box)
                told = tells(patch)
                if len(agreed) == _JUDGED if told else i >= _BLANK:
                    continue
                footprint = (real_x * scale, real_y * scale, box[0] * scale, box[1] * scale)
                there = self._read_at(finer, *footprint, box)
            except (DecodeError, RegionError):
                continue
            if told:
                agreed.append(agree(patch, there))
            else:
                missing += tells(there, times=2)
        few = len(agreed) < 2 or agreed.count(False) <= len(agreed) / 4
        return few and missing < _MISSING

    def read_region_at(
        self, x0: float, y0: float, width0: float, height0: float, out_size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Read the footprint ``[x0, x0 + width0) x [y0, y0 + height0)`` resampled to `out_size` pixels.

        Reads from the nearest finer level, with enough pixels around the footprint for the resampling
        kernel, so neighbouring tiles join without seams. The area beyond the slide is white.

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
            If the region cannot be decoded.
        """
        level = self.best_level(min(width0 / out_size[0], height0 / out_size[1]))
        return self._read_at(level, x0, y0, width0, height0, out_size)

    def _read_at(
        self, level: int, x0: float, y0: float, width0: float, height0: float, out_size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        out_w, out_h = out_size
        scale = self.level_downsamples[level]
        left, top, width, height = x0 / scale, y0 / scale, width0 / scale, height0 / scale
        times = round(width / out_w)
        if (
            _is_whole(left, top)
            and abs(width - times * out_w) < _WHOLE * out_w
            and abs(height - times * out_h) < _WHOLE * out_h
        ):
            # Aligned with the level's pixels: a mean of times x times of them is exact, and ten times faster.
            image, real_x, real_y = self._read(level, round(left), round(top), times * out_w, times * out_h)
            if _is_whole(real_x - left, real_y - top):
                return image if times == 1 else np.asarray(Image.fromarray(image).reduce(times))
        margin_x = int(np.ceil(_SUPPORT * max(1.0, width / out_w)))
        margin_y = int(np.ceil(_SUPPORT * max(1.0, height / out_h)))
        ask_x, ask_y = int(np.floor(left)) - margin_x, int(np.floor(top)) - margin_y
        read_w = int(np.ceil(left + width)) + margin_x + 1 - ask_x
        read_h = int(np.ceil(top + height)) + margin_y + 1 - ask_y
        image, real_x, real_y = self._read(level, ask_x, ask_y, read_w, read_h)
        box_x, box_y = left - real_x, top - real_y
        box = (box_x, box_y, box_x + width, box_y + height)
        return np.asarray(Image.fromarray(image).resize(out_size, _RESAMPLE, box=box))

    def _read(
        self, level: int, x: int, y: int, width: int, height: int
    ) -> tuple[NDArray[np.uint8], float, float]:
        try:
            return self._source.read(level, x, y, width, height)
        except DecodeError as error:
            self.failed_reads += 1
            text = str(error).replace(str(self.path), self.path.name)
            raise RegionError(f"{self.path.name}: {text}") from error

    def thumbnail(self, out_size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the whole slide resampled to `out_size`, and where it could be read.

        Reads block by block, so memory does not grow with the slide; a failing block is split into quarters, and
        unreadable parts are white, and False in the second result.

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
                if max(width, height) <= _MIN_BLOCK or self.failed_reads > _MAX_SPLITS:
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
        self._source.close()

    def __enter__(self) -> SlideReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@lru_cache(maxsize=64)
def _judgements(path: Path, scene: str, size: int, time: int) -> dict[int, bool]:
    """Return which levels of a slide agree, as far as readers in this process have tested them."""
    return {}


def _is_whole(*values: float) -> bool:
    return all(abs(value - round(value)) < _WHOLE for value in values)
