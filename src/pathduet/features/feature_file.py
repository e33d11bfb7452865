"""features.h5: a slide's tile features at both magnifications, and what they were made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pathduet.core.files import atomic_path

_CHUNK_ROWS = 256


@dataclass(frozen=True)
class TileFeatures:
    """The features of one magnification.

    Attributes
    ----------
    features : (n, dim) float16 array
    coords : (n, 2) int32 array
        Top-left corners in level-0 pixels, rounded.
    grid : (n, 2) int32 array
        Column and row on the lattice.
    attributes : mapping
        Pixel size and footprint of the tiles.
    """

    features: NDArray[np.float16]
    coords: NDArray[np.int32]
    grid: NDArray[np.int32]
    attributes: Mapping[str, Any]


def write_features(
    path: Path, attributes: Mapping[str, Any], magnifications: Mapping[str, TileFeatures]
) -> None:
    """Write a slide's features: `attributes` for the whole file, a group for each magnification."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(attributes)
        for name, tiles in magnifications.items():
            group = file.create_group(name)
            group.attrs.update(tiles.attributes)
            n, dim = tiles.features.shape
            chunks = (min(_CHUNK_ROWS, n), dim)
            group.create_dataset("features", data=tiles.features, chunks=chunks, track_times=False)
            group["coords"], group["grid"] = tiles.coords, tiles.grid
