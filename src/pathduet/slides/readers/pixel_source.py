"""What the reader needs of a slide file, whichever library decodes it, and what can go wrong."""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pathduet.core.faults import lacks_memory, machine_fault, raise_machine_fault

#: The most a single tile, strip or undivided picture may take when decoded. Real tiles take 1 MB or less; a
#: file that declares more is damaged, or made to exhaust the memory.
MAX_DECODED_BYTES = 300 * 2**20


class DecodeError(Exception):
    """A region that cannot be decoded; the source can still be read elsewhere."""


class Unsupported(Exception):
    """A file that this library does not read; the message says what was found, without folders."""


class UnknownColours(Unsupported):
    """A sound file in colours or with a codec that this library does not decode; another may."""


class Claimed(Unsupported):
    """A vendor's file that this vendor's reader refuses: what another library sees in it may be its label or preview."""


class SeveralPictures(Unsupported):
    """A file of several pictures of which none, or none that is there, is chosen; the message lists them."""


class Absurd(Unsupported):
    """A file that declares sizes no real one has: no library should try."""


def raise_fault(error: Exception, path: Path) -> None:
    """Raise a fault of the machine that a library met, instead of blaming the file.

    A damaged file may ask for more memory than any machine has: it is the machine's fault only if there is little left.
    """
    cause = machine_fault(error)
    if cause is not None and (not lacks_memory(cause) or _memory_is_short()):
        raise_machine_fault(error, path.name)


def _memory_is_short() -> bool:
    try:
        mmap.mmap(-1, MAX_DECODED_BYTES).close()
    except (OSError, MemoryError):
        return True
    return False


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
    notes : tuple of str
        What the ledger should say of how the file is read.
    """

    library: str
    vendor: str
    level_dimensions: tuple[tuple[int, int], ...]
    level_downsamples: tuple[float, ...]
    properties: dict[str, str]
    notes: tuple[str, ...]

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


def positive(value: Any) -> float | None:
    """Return a number above 0 that a file says, in words or as a fraction (numerator, denominator); None if it says none."""
    try:
        number = float(value[0] / value[1] if isinstance(value, tuple) else value)
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def mirax_folder(path: Path) -> Path | None:
    """Return the folder of a MIRAX slide's files, beside its name or beside what that is a link to; None if there is none."""
    names = [path, path.resolve()] if path.is_symlink() else [path]
    folders = [name.with_suffix("") for name in names if name.suffix.lower() == ".mrxs"]
    return next((folder for folder in folders if folder.is_dir()), None)


def hamamatsu_files(path: Path) -> list[Path]:
    """Return the files beside a Hamamatsu VMS or VMU that it names, sorted; [] for any other file."""
    if path.suffix.lower() not in (".vms", ".vmu") or not path.is_file():
        return []
    with path.open(encoding="latin-1") as handle:
        lines = handle.read(2**20).casefold().splitlines()
    named = {line.partition("=")[2].strip() for line in lines}
    return sorted(file for file in path.parent.iterdir() if file.name.casefold() in named)
