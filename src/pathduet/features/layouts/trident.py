"""TRIDENT's HDF5: `features`, and `coords` in level-0 pixels with the patches' size and magnification as attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pathduet.features.foreign_tiles import (
    UNKNOWN,
    ForeignTiles,
    Runs,
    features_and_coords,
    number,
    pixel_size_at,
    text,
)

#: TRIDENT's folder for the features of an encoder: features_uni_v1.
_FOLDER = "features_"


def recognises(file: Any) -> bool:
    """Return whether an open HDF5 file has this layout."""
    said = ("target_magnification", "patch_size_level0")
    return "features" in file and "coords" in file and any(name in file["coords"].attrs for name in said)


def tiles(file: Any, path: Path, runs: Runs) -> ForeignTiles:
    """Return the tiles of an open file; the folder's name gives the encoder if no attribute does."""
    known = file["coords"].attrs
    features, coords, runs = features_and_coords(file, runs)
    patch, overlap = number(known, "patch_size"), number(known, "overlap") or 0.0
    power, power0 = number(known, "target_magnification"), number(known, "level0_magnification")
    size = number(known, "patch_size_level0")
    if size is None and patch and power and power0:
        size = patch * power0 / power
    width, height = number(known, "level0_width"), number(known, "level0_height")
    encoder = text(file["features"].attrs, "encoder") or text(file.attrs, "encoder")
    if not encoder and path.parent.name.startswith(_FOLDER):
        encoder = path.parent.name.removeprefix(_FOLDER)
    return ForeignTiles(
        "trident",
        features,
        coords,
        size=size,
        # the overlap is in pixels of the patch
        step=size * (1 - overlap / patch) if size and patch else size,
        mpp=pixel_size_at(power),
        mpp0=pixel_size_at(power0),
        size0=(int(width), int(height)) if width and height else None,
        encoder=encoder or UNKNOWN,
        runs=runs,
    )
