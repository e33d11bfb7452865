"""Slides read by OpenSlide: the vendors' formats (SVS, NDPI, MRXS, SCN, BIF, VMS, DICOM, tiled TIFF)."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import openslide
from numpy.typing import NDArray

from pathduet.slides.readers.pixel_source import (
    Absurd,
    Claimed,
    DecodeError,
    Unsupported,
    mirax_folder,
    raise_fault,
)
from pathduet.slides.readers.pyramid_levels import reduction
from pathduet.slides.readers.tiff_pages import TiffPixels

# Formats whose levels are plain TIFF pages: tifffile decodes their tiles.
_PLAIN_TIFF = ("aperio",)
_COMPARED_PX = 32


class OpenSlideSource:
    """A slide opened by OpenSlide; see :class:`pathduet.slides.readers.pixel_source.PixelSource`.

    OpenSlide determines the levels. If each is one TIFF page with tiles of a common codec, tifffile decodes them: the
    same pixels, several times faster, and a damaged tile does not invalidate the handle.

    Raises
    ------
    Unsupported
        If OpenSlide does not recognise the format; :class:`Claimed` if it does, but refuses the file.
    """

    def __init__(self, path: Path, direct: bool = True) -> None:
        self._path = path
        self._links: TemporaryDirectory[str] | None = None
        self._handle = self._open()
        self.level_dimensions: tuple[tuple[int, int], ...] = self._handle.level_dimensions
        self.properties: dict[str, str] = dict(self._handle.properties)
        self._steps: tuple[float, ...] = self._handle.level_downsamples  # OpenSlide scales positions by these
        self.level_downsamples: tuple[float, ...] = tuple(
            reduction(self.level_dimensions[0], size, self._tile_size(level)) or step
            for level, (size, step) in enumerate(zip(self.level_dimensions, self._steps))
        )
        self.vendor = self.properties.get("openslide.vendor", "")
        paths = self.properties.get("dicom.NumberOfOpticalPaths", "1")
        self.notes: tuple[str, ...] = (f"one of {paths} optical paths is read",) if paths != "1" else ()
        self._tiff: TiffPixels | None = None
        if direct and self.vendor in _PLAIN_TIFF:
            try:
                self._tiff = TiffPixels.matching(path, self.level_dimensions)
            except Absurd:
                self._handle.close()
                raise
        if self._tiff is not None and not self._decodes_alike(self._tiff):
            self._tiff.close()
            self._tiff = None
            self.notes += ("its tiles contradict the colours that its tags declare: pixels are OpenSlide's",)
        self.library = "openslide+tifffile" if self._tiff is not None else "openslide"

    def _open(self) -> Any:
        refusal: Unsupported = Unsupported("OpenSlide does not know the format")
        # a link is opened by its own name first: other files of the slide may be beside it, or beside its target
        for name in dict.fromkeys((self._mirax_name() or self._path, self._path.resolve())):
            try:
                return openslide.OpenSlide(str(name))
            except openslide.OpenSlideUnsupportedFormatError:
                continue
            except (openslide.OpenSlideError, OSError) as error:
                raise_fault(error, self._path)
                vendor = openslide.OpenSlide.detect_format(str(name))
                kind = Unsupported if vendor in (None, "generic-tiff") else Claimed
                refusal = kind(
                    f"OpenSlide: {error}" if kind is Unsupported else f"OpenSlide ({vendor}): {error}"
                )
        raise refusal

    def _mirax_name(self) -> Path | None:
        """Return a path by which OpenSlide finds the folder of a MIRAX slide: it requires ``.mrxs`` in lower case."""
        if self._path.suffix.lower() != ".mrxs":
            return None
        folder, index = mirax_folder(self._path), "Slidedat.ini"
        if folder is None or not (folder / index).is_file():
            lacking = f"folder {self._path.stem}" if folder is None else f"file {folder.name}/{index}"
            raise Claimed(
                f"the {lacking} of this MIRAX slide is missing; the .mrxs file itself is only its preview"
            )
        if folder == self._path.with_suffix("") and self._path.suffix == ".mrxs":
            return None
        if self._links is None:
            self._links = TemporaryDirectory(prefix="pathduet-mirax-")
            for name, target in (("slide", folder), ("slide.mrxs", self._path)):
                (Path(self._links.name) / name).symlink_to(target.absolute())
        return Path(self._links.name) / "slide.mrxs"

    def _tile_size(self, level: int) -> tuple[int, int] | None:
        names = (f"openslide.level[{level}].tile-{edge}" for edge in ("width", "height"))
        width, height = (int(self.properties.get(name, 0)) for name in names)
        return (width, height) if width and height else None

    def _decodes_alike(self, tiff: TiffPixels) -> bool:
        """Return whether a tile of each level decodes to OpenSlide's pixels: in some files tags and JPEG markers disagree."""
        for level, (width, height) in enumerate(self.level_dimensions):
            # only at the corner is a level pixel certain to lie on a level-0 pixel
            for x, y in ((width // 2, height // 2), (0, 0)) if level == 0 else ((0, 0),):
                box = (level, x, y, min(_COMPARED_PX, width - x), min(_COMPARED_PX, height - y))
                try:
                    same = np.array_equal(tiff.read(*box), self._read(*box)[0])
                except DecodeError:
                    continue
                if not same:
                    return False
                break
        return True

    def read(
        self, level: int, x: int, y: int, width: int, height: int
    ) -> tuple[NDArray[np.uint8], float, float]:
        """Read a box of a level's pixels; white beyond the edge."""
        if self._tiff is not None:
            return self._tiff.read(level, x, y, width, height), x, y
        return self._read(level, x, y, width, height)

    def _read(
        self, level: int, x: int, y: int, width: int, height: int
    ) -> tuple[NDArray[np.uint8], float, float]:
        # OpenSlide takes level-0 integers; the matching position in the level need not be an integer. Positions left
        # of or above the slide are not read: there it rounds the distance down to whole level pixels.
        scale = self._steps[level]
        left, top = min(max(-x, 0), width), min(max(-y, 0), height)
        x0, y0 = round((x + left) * scale), round((y + top) * scale)
        real_x, real_y = x0 / scale - left, y0 / scale - top
        image = np.full((height, width, 3), 255, np.uint8)
        if left == width or top == height:
            return image, real_x, real_y
        try:
            rgba = np.asarray(self._handle.read_region((x0, y0), level, (width - left, height - top)))
        except (openslide.OpenSlideError, OSError) as error:
            raise_fault(error, self._path)
            # The handle cannot be used after a failure.
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
        if self._links is not None:
            self._links.cleanup()
