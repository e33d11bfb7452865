"""STAMP's HDF5: `feats`, and `coords` in micrometres with the tiles' size and the extractor as attributes of the file."""

from __future__ import annotations

from typing import Any

import numpy as np

from pathduet.features.foreign_tiles import UNKNOWN, FeatureFileError, ForeignTiles, number, text

#: Version 1 wrote coordinates in pixels of tiles that are 224 pixels or 256 um wide.
_V1_PX, _V1_UM = 224.0, 256.0


def recognises(file: Any) -> bool:
    """Return whether an open HDF5 file has this layout."""
    return "feats" in file


def tiles(file: Any) -> ForeignTiles:
    """Return the tiles of an open file in micrometres, including those of version 1, which states no unit.

    Raises
    ------
    FeatureFileError
        If the file contains features of a whole slide or patient.
    """
    known = file.attrs
    if (kind := text(known, "feat_type")) not in ("", "tile"):
        raise FeatureFileError(f"features of a {kind}, not of tiles")
    encoder = text(known, "extractor") or UNKNOWN
    if "coords" not in file:
        return ForeignTiles("stamp", file["feats"], encoder=encoder)
    coords = np.asarray(file["coords"][:], np.float64)
    notes: tuple[str, ...] = ()
    size = number(known, "tile_size_um") or (
        number(known, "tile_size") if text(known, "unit") == "um" else None
    )
    pixels = number(known, "tile_size_px") or _V1_PX
    if size is None:
        size, coords = _V1_UM, coords * _V1_UM / _V1_PX
        notes = ("no unit: read as STAMP 1, 256 um in 224 pixels",)
    return ForeignTiles(
        "stamp", file["feats"], coords, "um", size, size, mpp=size / pixels, encoder=encoder, notes=notes
    )
