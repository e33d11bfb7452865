"""The interface of an opened slide file, independent of the library that decodes it, and its errors."""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pathduet.core.faults import lacks_memory, machine_fault, raise_machine_fault

#: Maximum decoded size of a single tile, strip or undivided picture. Real tiles take 1 MB or less; a
#: file that declares more is damaged, or intended to exhaust the memory.
MAX_DECODED_BYTES = 300 * 2**20


class DecodeError(Exception):
    """A region that cannot be decoded; the source can still be read elsewhere."""


class Unsupported(Exception):
    """A file that this library does not read; the message states what was found, without folders."""


class UnknownColours(Unsupported):
    """An intact file in colours or with a codec that this library does not decode; another library may."""


class Claimed(Unsupported):
    """A vendor's file that its vendor's reader refuses: another library might read its label or preview."""


class SeveralPictures(Unsupported):
    """A file of several pictures without a valid choice of one; the message lists them."""


class Absurd(Unsupported):
    """A file that declares sizes that no real file has: no library should open it."""


def raise_fault(error: Exception, path: Path) -> None:
    """Raise a machine fault that a library hit, instead of blaming the file.

    A damaged file may request more memory than any machine has: that is a machine fault only if little memory is left.
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
        Pixel size and so on, under OpenSlide's names where they exist.
    notes : tuple of str
        Remarks for the ledger on how the file is read.
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
            Actual position of its top-left corner, in pixels of the level.

        Raises
        ------
        DecodeError
        """

    def close(self) -> None:
        """Close the file."""


def positive(value: Any) -> float | None:
    """Return a file's value, text or fraction (numerator, denominator), as a number above 0; None if it is not one."""
    try:
        number = float(value[0] / value[1] if isinstance(value, tuple) else value)
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def mirax_folder(path: Path) -> Path | None:
    """Return the folder of a MIRAX slide's files, beside the path or beside the target of a link; None if there is none."""
    if path.suffix.lower() != ".mrxs":
        return None
    names = [path, path.resolve()] if path.is_symlink() else [path]
    folders = [name.with_suffix("") for name in names if name.suffix.lower() == ".mrxs"]
    return next((folder for folder in folders if folder.is_dir()), None)


def hamamatsu_files(path: Path) -> list[Path]:
    """Return the files that a Hamamatsu VMS or VMU file names, sorted; [] for any other file."""
    if path.suffix.lower() not in (".vms", ".vmu") or not path.is_file():
        return []
    with path.open(encoding="latin-1") as handle:
        lines = handle.read(2**20).casefold().splitlines()
    named = {line.partition("=")[2].strip() for line in lines}
    return sorted(file for file in path.parent.iterdir() if file.name.casefold() in named)
