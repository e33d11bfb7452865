"""features.h5: a slide's tile features at both magnifications, and what they were made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(attributes)
        for name, tiles in magnifications.items():
            group = file.create_group(name)
            group.attrs.update(tiles.attributes)
            n, dim = tiles.features.shape
            chunks = (min(_CHUNK_ROWS, n), dim)
            group.create_dataset("features", data=tiles.features, chunks=chunks, track_times=False)
            group["coords"], group["grid"] = tiles.coords, tiles.grid


class FeatureReader:
    """features.h5 opened for reading."""

    def __init__(self, file: Any) -> None:
        self._file = file

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the whole file, read one by one: slide, pixel size, encoder and its weights, stain matrix."""
        attributes: Mapping[str, Any] = self._file.attrs
        return attributes

    def width(self, magnification: str) -> int:
        """Return how many numbers a tile has."""
        return int(self._file[magnification]["features"].shape[1])

    def features(self, magnification: str) -> NDArray[np.float16]:
        """Return the tiles' features, (n, dim)."""
        return np.asarray(self._file[magnification]["features"][:])

    def grid(self, magnification: str) -> NDArray[np.int32]:
        """Return the tiles' columns and rows on the lattice, (n, 2)."""
        return np.asarray(self._file[magnification]["grid"][:])

    def tile_size(self, magnification: str) -> tuple[float, float]:
        """Return a tile's exact width and height in level-0 pixels."""
        attributes = self._file[magnification].attrs
        return float(attributes["tile_level0_px_x"]), float(attributes["tile_level0_px_y"])

    def step(self, magnification: str) -> tuple[float, float]:
        """Return how far tiles are apart in level-0 pixels, across and down: less than their size where they overlap."""
        attributes = self._file[magnification].attrs
        size = self.tile_size(magnification)
        return tuple(float(attributes.get(f"step_level0_px_{axis}", edge)) for axis, edge in zip("xy", size))  # type: ignore[return-value]


@contextmanager
def open_features(path: Path) -> Iterator[FeatureReader]:
    """Open a slide's features.

    Raises
    ------
    OSError, KeyError
        Here or from the reader, if the file cannot be read or has no such part.
    """
    import h5py

    with h5py.File(path, "r") as file:
        yield FeatureReader(file)
