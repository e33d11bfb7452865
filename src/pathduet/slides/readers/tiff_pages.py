"""Pixels of TIFF pages, tile by tile or strip by strip, decoded by tifffile and imagecodecs.

Only the tiles that a region touches are decoded, and the most recent are cached, so memory does not grow with the slide.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagecodecs  # noqa: F401  (without it tifffile reads on with fewer codecs, and says nothing)
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from pathduet.slides.readers.pixel_source import (
    MAX_DECODED_BYTES,
    Absurd,
    DecodeError,
    UnknownColours,
    Unsupported,
    raise_fault,
)

_CACHE_BYTES = 24 * 2**20
_STRIP_BYTES = 2**20  # an undivided, uncompressed page is read in pieces of about this size
# Codecs that tifffile and OpenSlide decode to the same pixels. JPEG 2000 is not among them: its colour space depends
# on the tag, which OpenSlide interprets.
_DIRECT = {1, 5, 7, 8, 32773, 32946}


def open_tiff(path: Path) -> tifffile.TiffFile:
    """Open a TIFF.

    Raises
    ------
    Unsupported
        If it is not a TIFF, or is damaged.
    """
    try:
        return tifffile.TiffFile(path)
    except Exception as error:  # damaged headers raise almost anything
        raise_fault(error, path)
        raise Unsupported("" if "not a TIFF" in str(error) else f"tifffile: {short(error)}") from error


def short(error: Exception) -> str:
    """Return an error as one line of at most 200 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


class TiffPage:
    """One page: the positions of its tiles or strips, and their conversion to RGB.

    Raises
    ------
    Unsupported
        If it is not an 8- or 16-bit grey, palette or RGB picture, or declares absurd sizes.
    """

    def __init__(self, page: tifffile.TiffPage) -> None:
        self.page = page
        self.width, self.height = int(page.imagewidth), int(page.imagelength)
        self.samples = int(page.samplesperpixel)
        self.photometric, self.compression = int(page.photometric), int(page.compression)
        self._check_colours()
        self.planes = self.samples if int(page.planarconfig) == 2 and self.samples > 1 else 1
        self.tiled = bool(page.is_tiled)
        self.offsets, self.counts = page.dataoffsets, page.databytecounts
        self._dtype: Any = page.dtype  # not None: checked with the colours
        self._virtual_rows = 0
        self._measure_tiles()
        colormap = page.colormap if self.photometric == 3 else None
        if self.photometric == 3 and colormap is None:
            raise Unsupported("a palette TIFF without a palette")
        self._palette = None if colormap is None else (np.asarray(colormap) >> 8).astype(np.uint8).T
        self._jpegtables, self._jpegheader = page.jpegtables, getattr(page, "jpegheader", None)
        self._white = self.photometric == 0
        # Aperio's first JPEG 2000 tag means YCbCr, whatever the photometric tag states; 33005 and 34712 follow that tag.
        self._ycbcr = self.compression == 33003 and self.samples == 3

    def _check_colours(self) -> None:
        """Refuse anything but 8- or 16-bit grey, palette and RGB pictures."""
        page = self.page
        if self.width < 1 or self.height < 1 or int(page.imagedepth) > 1:
            raise Unsupported(f"a TIFF page of {self.width} x {self.height} x {page.imagedepth} pixels")
        if page.dtype is None or page.dtype not in (np.uint8, np.uint16, np.bool_):
            raise UnknownColours(
                f"a TIFF of {page.bitspersample} bits a sample ({page.dtype}); 8 or 16 are read"
            )
        if self.photometric not in (0, 1, 2, 3, 6):
            raise UnknownColours(f"a TIFF in {page.photometric!r} colours; grey, palette and RGB are read")
        if self.photometric in (2, 6) and self.samples < 3:
            raise Unsupported(f"an RGB TIFF of {self.samples} samples a pixel")
        if self.samples not in (1, 2, 3, 4):
            raise Unsupported(f"a TIFF of {self.samples} channels; grey and RGB are read")
        if self.photometric == 6 and self.compression != 7:
            raise UnknownColours("a TIFF in YCbCr colours without JPEG")

    def _measure_tiles(self) -> None:
        """Determine the size of the tiles or strips, and refuse sizes that no real file has."""
        page = self.page
        if self.tiled:
            self.tile_w, self.tile_h = int(page.tilewidth), int(page.tilelength)
        else:
            self.tile_w, self.tile_h = self.width, min(int(page.rowsperstrip), self.height)
        if self.tile_w < 1 or self.tile_h < 1:
            raise Unsupported(f"tiles of {self.tile_w} x {self.tile_h} pixels")
        pixel_bytes = self._dtype.itemsize * self.samples // self.planes
        if not self.tiled and self.compression == 1 and self.planes == 1 and self._dtype != np.bool_:
            self._cut_strips(pixel_bytes)
        # JPEG and deflate compress at most about 1,000 times, but the declared size is allocated.
        if self.tile_w * self.tile_h * pixel_bytes * self.planes > MAX_DECODED_BYTES:
            kind = "tiles" if self.tiled else "strips"
            raise Absurd(
                f"{kind} of {self.tile_w:,} x {self.tile_h:,} pixels, too large to be decoded at once; "
                "convert it to a tiled TIFF"
            )
        self.columns, self.rows = -(-self.width // self.tile_w), -(-self.height // self.tile_h)
        needed = self.columns * self.rows * self.planes
        if not self._virtual_rows and (len(self.offsets) < needed or len(self.counts) < needed):
            raise Unsupported(f"{len(self.offsets):,} of the {needed:,} tiles that its size requires")

    def _cut_strips(self, pixel_bytes: int) -> None:
        """Read uncompressed strips in small pieces if the page is contiguous in the file."""
        row = self.width * pixel_bytes
        offsets, counts = np.asarray(self.offsets, np.int64), np.asarray(self.counts, np.int64)
        if not len(offsets) or not len(counts) or len(offsets) != len(counts):
            return
        if (offsets[1:] == offsets[:-1] + counts[:-1]).all() and counts.sum() >= row * self.height:
            self._virtual_rows = self.tile_h = max(1, min(self.height, _STRIP_BYTES // row))

    @property
    def sparse(self) -> bool:
        """Whether some tiles are missing in the file."""
        return bool((np.asarray(self.counts) == 0).any())

    def tile(self, handle: Any, column: int, row: int) -> NDArray[np.uint8] | None:
        """Decode one tile to (h, w, 3) uint8, cropped at the page's edge; None if the file lacks it."""
        page = self.page
        height = min(self.tile_h, self.height - row * self.tile_h)
        if self._virtual_rows:
            size = self.width * self.samples * self._dtype.itemsize
            handle.seek(int(self.offsets[0]) + row * self.tile_h * size)
            data = handle.read(size * height)
            if len(data) < size * height:
                raise DecodeError("the file ends before the pixels do")
            kind = self._dtype.newbyteorder(page.parent.byteorder)
            raw = np.frombuffer(data, kind).reshape(height, self.width, self.samples)
            return self._rgb(raw)
        index, planes = row * self.columns + column, []
        for plane in range(self.planes):
            i = index + plane * self.columns * self.rows
            count = int(self.counts[i])
            if count == 0:
                return None
            if count > MAX_DECODED_BYTES:
                raise DecodeError(f"a tile of {count:,} bytes")
            handle.seek(int(self.offsets[i]))
            data = handle.read(count)
            if len(data) < count:
                raise DecodeError("the file ends before the tile does")
            tables = {"jpegtables": self._jpegtables, "jpegheader": self._jpegheader}
            segment, _, _ = page.decode(data, i, **(tables if self.compression in (6, 7) else {}))
            if segment is None:
                return None
            planes.append(np.asarray(segment).reshape(segment.shape[-3:]))
        raw = np.concatenate(planes, axis=-1) if self.planes > 1 else planes[0]
        width = min(self.tile_w, self.width - column * self.tile_w)
        if raw.shape[0] < height or raw.shape[1] < width or raw.shape[2] < self.samples:
            raise DecodeError(f"a tile of {raw.shape} pixels instead of {height} x {width}")
        return self._rgb(raw[:height, :width])

    def _rgb(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        if self._palette is not None:
            return self._palette[np.minimum(raw[..., 0], len(self._palette) - 1)]
        if raw.dtype == np.bool_:
            raw = raw.astype(np.uint8) * np.uint8(255)
        if raw.dtype.itemsize == 2:
            raw = raw >> 8
        values = raw.astype(np.uint8, copy=False)
        if self._white:
            values = 255 - values
        if self.samples in (2, 4) and self.page.extrasamples and int(self.page.extrasamples[0]) in (1, 2):
            alpha = values[..., -1:].astype(np.float32) / np.float32(255.0)
            colour = values[..., :-1] * (alpha if int(self.page.extrasamples[0]) == 2 else 1.0)
            values = np.clip(colour + 255.0 * (1.0 - alpha) + 0.5, 0, 255).astype(np.uint8)
        if self._ycbcr:
            values = np.asarray(Image.fromarray(np.ascontiguousarray(values), "YCbCr").convert("RGB"))
        return np.ascontiguousarray(
            values[..., :3] if self.samples >= 3 else np.repeat(values[..., :1], 3, -1)
        )


class TiffPixels:
    """The levels of a slide, each one TIFF page, with a cache of decoded tiles."""

    def __init__(self, file: tifffile.TiffFile, pages: Sequence[TiffPage]) -> None:
        self._file, self._pages = file, pages
        self._cache: OrderedDict[tuple[int, int, int], NDArray[np.uint8] | None] = OrderedDict()
        self._cached = 0

    @classmethod
    def matching(cls, path: Path, dimensions: Sequence[tuple[int, int]]) -> TiffPixels | None:
        """Return the pixels of a TIFF with exactly one plain tiled page of each of these sizes; None otherwise.

        A file that lacks some tiles is left to OpenSlide: what they show depends on the vendor.

        Parameters
        ----------
        path : Path
        dimensions : sequence of (int, int)
            Width and height of the wanted levels.

        Raises
        ------
        Absurd
            If its tiles are larger than any real tiles.
        """
        try:
            file = open_tiff(path)
        except Unsupported:
            return None
        try:
            found: dict[tuple[int, int], list[tifffile.TiffPage]] = {}
            for each in file.pages:
                if isinstance(each, tifffile.TiffPage) and each.is_tiled:
                    found.setdefault((int(each.imagewidth), int(each.imagelength)), []).append(each)
            pages = []
            for size in dimensions:
                if len(found.get(size, [])) != 1:
                    raise Unsupported("")
                page = TiffPage(found[size][0])
                plain = page.compression in _DIRECT and page.photometric in (2, 6) and page.planes == 1
                if not plain or page.samples != 3 or page.page.dtype != np.uint8:
                    raise Unsupported("")
                if page.sparse:
                    raise Unsupported("")
                pages.append(page)
        except Absurd:
            file.close()
            raise
        except Exception as error:  # not that simple, or a damaged directory: OpenSlide reads the file
            file.close()
            raise_fault(error, path)
            return None
        return cls(file, pages)

    def _tile(self, level: int, column: int, row: int) -> NDArray[np.uint8] | None:
        key = (level, column, row)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        try:
            tile = self._pages[level].tile(self._file.filehandle, column, row)
        except DecodeError as error:
            raise DecodeError(f"level {level}, tile ({column}, {row}): {error}") from error
        except Exception as error:  # codecs raise their own types
            raise_fault(error, Path(self._file.filename))
            raise DecodeError(f"level {level}, tile ({column}, {row}): {short(error)}") from error
        self._cache[key] = tile
        self._cached += 0 if tile is None else tile.nbytes
        while self._cached > _CACHE_BYTES and len(self._cache) > 1:
            _, old = self._cache.popitem(last=False)
            self._cached -= 0 if old is None else old.nbytes
        return tile

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a box of a level's pixels, (height, width, 3) uint8; white beyond the edge.

        Raises
        ------
        DecodeError
        """
        page = self._pages[level]
        image = np.full((height, width, 3), 255, np.uint8)
        right, bottom = min(x + width, page.width), min(y + height, page.height)
        if right <= max(x, 0) or bottom <= max(y, 0):
            return image
        for row in range(max(y, 0) // page.tile_h, -(-bottom // page.tile_h)):
            for column in range(max(x, 0) // page.tile_w, -(-right // page.tile_w)):
                tile = self._tile(level, column, row)
                if tile is None:
                    continue
                left0, top0 = column * page.tile_w, row * page.tile_h
                left, top = max(x, left0), max(y, top0)
                end_x, end_y = min(right, left0 + tile.shape[1]), min(bottom, top0 + tile.shape[0])
                image[top - y : end_y - y, left - x : end_x - x] = tile[
                    top - top0 : end_y - top0, left - left0 : end_x - left0
                ]
        return image

    def close(self) -> None:
        """Close the file."""
        self._cache.clear()
        self._file.close()
