"""Regions saved as PNG or JPEG (and TIFF in colours that tifffile does not decode), decoded whole by Pillow."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pathduet.slides.readers.pixel_source import (
    MAX_DECODED_BYTES,
    Absurd,
    DecodeError,
    Unsupported,
    raise_fault,
)

_FORMATS = ("PNG", "JPEG", "BMP")


class PictureSource:
    """A picture with one level; see :class:`pathduet.slides.readers.pixel_source.PixelSource`.

    Raises
    ------
    Unsupported
        If Pillow does not open it, or if it is too large to be decoded whole (over about 100 million pixels).
    """

    library = "pillow"

    def __init__(self, path: Path, tiff: bool = False) -> None:
        self._path = path
        self._formats = (*_FORMATS, "TIFF") if tiff else _FORMATS
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path, formats=self._formats) as image:
                    self._size, self.vendor = image.size, str(image.format).lower()
                    frames, dpi = getattr(image, "n_frames", 1), image.info.get("dpi")
        except Image.DecompressionBombError as error:
            raise Absurd(f"Pillow: {error}") from error
        except Exception as error:  # Pillow's plugins raise all sorts of things on damaged files
            raise_fault(error, path)
            raise Unsupported("") from error
        if frames != 1:
            raise Unsupported(f"a {self.vendor.upper()} of {frames} pictures")
        width, height = self._size
        if width * height * 3 > MAX_DECODED_BYTES:
            raise Absurd(
                f"a {self.vendor.upper()} of {width:,} x {height:,} pixels would have to be decoded whole; "
                "convert it to a tiled TIFF"
            )
        self.level_dimensions: tuple[tuple[int, int], ...] = (self._size,)
        self.level_downsamples: tuple[float, ...] = (1.0,)
        self.properties: dict[str, str] = {}
        self.notes: tuple[str, ...] = ()
        with contextlib.suppress(TypeError, ValueError, IndexError, ZeroDivisionError):
            self.properties |= {"image.dpi-x": str(float(dpi[0])), "image.dpi-y": str(float(dpi[1]))}  # type: ignore[index]
        self._pixels: NDArray[np.uint8] | None = None

    def _decode(self) -> NDArray[np.uint8]:
        if self._pixels is None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    with Image.open(self._path, formats=self._formats) as image:
                        if image.size != self._size:
                            raise DecodeError("the file changed while it was read")
                        self._pixels = np.asarray(_on_white(image))
            except DecodeError:
                raise
            except Exception as error:
                raise_fault(error, self._path)
                raise DecodeError(f"{type(error).__name__}: {error}") from error
        return self._pixels

    def read(
        self, level: int, x: int, y: int, width: int, height: int
    ) -> tuple[NDArray[np.uint8], float, float]:
        """Read a box of pixels; white beyond the edge."""
        pixels = self._decode()
        image = np.full((height, width, 3), 255, np.uint8)
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, self._size[0]), min(y + height, self._size[1])
        if right > left and bottom > top:
            image[top - y : bottom - y, left - x : right - x] = pixels[top:bottom, left:right]
        return image, x, y

    def close(self) -> None:
        """Release the pixels."""
        self._pixels = None


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
