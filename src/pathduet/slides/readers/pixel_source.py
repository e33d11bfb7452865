"""What the reader needs of a slide file, whichever library decodes it, and what can go wrong."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: The most a single tile, strip or undivided picture may take when decoded. Real tiles take 1 MB or less; a
#: file that declares more is damaged, or made to exhaust the memory.
MAX_DECODED_BYTES = 300 * 2**20


class DecodeError(Exception):
    """A region that cannot be decoded; the source can still be read elsewhere."""


class Unsupported(Exception):
    """A file that this library does not read; the message says what was found, without folders."""


class UnknownColours(Unsupported):
    """A sound file in colours or with a codec that this library does not decode; another may."""


class Absurd(Unsupported):
    """A file that declares sizes no real one has: no library should try."""


class PixelSource(Protocol):
    """A slide file opened for reading by one thread.

    Attributes
    ----------
    library : str
        ``openslide``, ``openslide+tifffile``, ``tifffile`` or ``pillow``.
    vendor : str
        The format, as OpenSlide names it, or ``ome-tiff``, ``tiff``, ``png``, ``jpeg``.
    level_dimensions : tuple of (int, int)
        Width and height of each level, finest first.
    level_downsamples : tuple of float
        Level-0 pixels per pixel of each level.
    properties : dict of str to str
        Pixel size and the like, under OpenSlide's names where it has one.
    """

    library: str
    vendor: str
    level_dimensions: tuple[tuple[int, int], ...]
    level_downsamples: tuple[float, ...]
    properties: dict[str, str]

    def read(
        self, level: int, x: int, y: int, width: int, height: int
    ) -> tuple[NDArray[np.uint8], float, float]:
        """Read a box of a level's pixels; white beyond the edge.

        Returns
        -------
        image : (height, width, 3) uint8 array
        x, y : float
            Where its top-left corner really lies, in pixels of the level.

        Raises
        ------
        DecodeError
        """

    def close(self) -> None:
        """Close the file."""
