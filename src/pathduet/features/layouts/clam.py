"""CLAM's HDF5 (`h5_files/`): `features`, and `coords` in level-0 pixels, usually without attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pathduet.features.foreign_tiles import UNKNOWN, ForeignTiles, Runs, features_and_coords, number, text


def recognises(file: Any) -> bool:
    """Return whether an open HDF5 file has this layout."""
    return "features" in file and "coords" in file


def tiles(file: Any, path: Path, runs: Runs) -> ForeignTiles:
    """Return the tiles of an open file.

    A patch's size is in pixels of its level, and `downsample` converts it to level 0; if the file has neither, the spacing
    of the coordinates gives the size. The magnification is unknown.
    """
    known = file["coords"].attrs
    features, coords, runs = features_and_coords(file, runs)
    patch, downsample = number(known, "patch_size"), number(known, "downsample") or 1.0
    size = patch * downsample if patch else None
    return ForeignTiles(
        "clam",
        features,
        coords,
        size=size,
        encoder=text(file["features"].attrs, "encoder") or text(file.attrs, "encoder") or UNKNOWN,
        runs=runs,
        notes=() if size else ("tile size taken from the spacing of the coordinates",),
    )
