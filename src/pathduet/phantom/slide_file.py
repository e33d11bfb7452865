"""Phantom slides as pyramidal Aperio files (JPEG tiles in a TIFF) that OpenSlide opens."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from pathduet.core.files import atomic_path

_TILE = 256
_QUALITY = 85


def write_svs(path: str | os.PathLike[str], rgb: np.ndarray, mpp: float) -> None:
    """Write a slide, atomically: level 0, a thumbnail, then levels at 1/4, 1/16 ... of its size.

    Parameters
    ----------
    path : path-like
        Ends in ``.svs``.
    rgb : (H, W, 3) uint8
        Level 0.
    mpp : float
        Micrometres per pixel of level 0; the magnification in the file is 10 / mpp.
    """
    import tifffile
    from PIL import Image

    levels = [rgb]
    while min(levels[-1].shape[:2]) >= 4 * _TILE // 2:
        levels.append(_quarter(levels[-1]))
    thumbnail = Image.fromarray(levels[-1])
    thumbnail.thumbnail((512, 512))
    height, width, _ = rgb.shape
    head = f"Aperio Image Library v12.0.0\r\n{width}x{height} "
    properties = (
        f"AppMag = {round(10.0 / mpp)}|MPP = {mpp:.4f}|Originalwidth = {width}|Originalheight = {height}"
    )
    jpeg: dict[str, Any] = {
        "photometric": "rgb",  # of the input; the tiles hold YCbCr
        "compression": "jpeg",
        "compressionargs": {"level": _QUALITY},
        "subsampling": (2, 2),
        "metadata": None,
        "software": False,
        "datetime": False,
    }
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary, byteorder="<") as tiff:
        for i, level in enumerate(levels):
            h, w, _ = level.shape
            size = f"-> {w}x{h} " if i else ""
            text = f"[0,0 {width}x{height}] ({_TILE}x{_TILE}) {size}JPEG/RGB Q={_QUALITY}|{properties}"
            tiff.write(level, tile=(_TILE, _TILE), description=head + text, **jpeg)
            if i == 0:
                small = np.asarray(thumbnail)
                text = f"-> {small.shape[1]}x{small.shape[0]} - |{properties}"
                tiff.write(small, rowsperstrip=16, description=head + text, **jpeg)


def _quarter(rgb: np.ndarray) -> np.ndarray:
    """Average blocks of 4 x 4 pixels, in strips: PIL copies what it reduces."""
    from PIL import Image

    strips = [rgb[y : y + _TILE] for y in range(0, len(rgb), _TILE)]
    return np.concatenate([np.asarray(Image.fromarray(strip).reduce(4)) for strip in strips])
