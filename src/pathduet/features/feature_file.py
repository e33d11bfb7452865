"""A slide's tile features: our features.h5, or a features.json that points to files of another tool."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pathduet.cohort.ledger import read_ledger
from pathduet.core.checksums import checked
from pathduet.core.files import atomic_path, stamp
from pathduet.features.foreign_tiles import ForeignTiles
from pathduet.features.layout import open_tiles
from pathduet.features.layouts.pathduet import FeatureReader
from pathduet.results import Results

if TYPE_CHECKING:
    import pandas as pd

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
    patches : mapping
        The same as TRIDENT's attributes of the coordinates.
    """

    features: NDArray[np.float16]
    coords: NDArray[np.int32]
    grid: NDArray[np.int32]
    attributes: Mapping[str, Any]
    patches: Mapping[str, Any] = field(default_factory=dict)


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
            group["coords"].attrs.update(tiles.patches)


class SlideFeatures(Protocol):
    """A slide's features, opened for reading."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Known attributes of the slide, its pixel size and the encoder."""

    @property
    def magnifications(self) -> tuple[str, ...]:
        """Available magnifications, the coarser first."""

    def width(self, magnification: str) -> int:
        """Return the number of features per tile."""

    def features(self, magnification: str, rows: NDArray[np.integer] | None = None) -> NDArray[np.floating]:
        """Return the tiles' features (n, dim), or those of some ascending rows."""

    def grid(self, magnification: str) -> NDArray[np.int32]:
        """Return the tiles' columns and rows on a lattice, (n, 2)."""

    def coords(self, magnification: str) -> NDArray[np.float64] | None:
        """Return the tiles' top-left corners in level-0 pixels, (n, 2); None if unknown."""

    def tile_size(self, magnification: str) -> tuple[float, float]:
        """Return a tile's width and height in level-0 pixels."""

    def step(self, magnification: str) -> tuple[float, float]:
        """Return the distance between tiles in level-0 pixels, across and down: less than their size if they overlap."""


class PointedFeatures:
    """Features that a features.json points to; each file is opened on first access.

    Parameters
    ----------
    pointer : mapping
        `layout`, `files`, `stamps` and `runs` by magnification, `attributes`.
    stack : ExitStack
        Closes the opened files.
    """

    def __init__(self, pointer: Mapping[str, Any], stack: ExitStack) -> None:
        self._pointer, self._stack = pointer, stack
        self._opened = cache(self._open)

    def _open(self, magnification: str) -> ForeignTiles:
        path = Path(self._pointer["files"][magnification])
        # in a changed file they would point to other rows
        same = stamp(path) == self._pointer["stamps"][magnification]
        runs = self._pointer["runs"].get(magnification) if same else None
        return self._stack.enter_context(open_tiles(path, magnification, self._pointer["layout"], runs))

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Slide, encoder, and pixel size, width and height where known."""
        attributes: Mapping[str, Any] = self._pointer["attributes"]
        return attributes

    @property
    def magnifications(self) -> tuple[str, ...]:
        """Magnifications with a file, the coarser first."""
        return tuple(sorted(self._pointer["files"]))

    def width(self, magnification: str) -> int:
        """Return the number of features per tile."""
        return self._opened(magnification).width

    def features(self, magnification: str, rows: NDArray[np.integer] | None = None) -> NDArray[np.floating]:
        """Return the tiles' features (n, dim) as stored, or those of some ascending rows."""
        return self._opened(magnification).read(rows)

    def grid(self, magnification: str) -> NDArray[np.int32]:
        """Return the tiles' columns and rows on the lattice of their coordinates, (n, 2)."""
        return self._opened(magnification).grid()

    def _pixels(self, tiles: ForeignTiles) -> tuple[float, float] | None:
        """Return level-0 pixels per unit of the coordinates, across and down; None if unknown."""
        if tiles.unit == "px":
            return 1.0, 1.0
        sizes = [self.attributes.get(name) for name in ("mpp_x", "mpp_y")]
        return (1 / float(sizes[0]), 1 / float(sizes[1])) if all(sizes) else None  # type: ignore[arg-type]

    def coords(self, magnification: str) -> NDArray[np.float64] | None:
        """Return the tiles' top-left corners in level-0 pixels, (n, 2).

        None without coordinates, or if they are in micrometres and the slide's pixel size is unknown.
        """
        tiles = self._opened(magnification)
        scale = self._pixels(tiles)
        return None if tiles.coords is None or scale is None else tiles.coords * np.array(scale)

    def tile_size(self, magnification: str) -> tuple[float, float]:
        """Return a tile's width and height in level-0 pixels; without coordinates, 1."""
        tiles = self._opened(magnification)
        return self._in_pixels(tiles, tiles.size or tiles.spacing)

    def step(self, magnification: str) -> tuple[float, float]:
        """Return the distance between tiles in level-0 pixels; without coordinates, 1."""
        tiles = self._opened(magnification)
        return self._in_pixels(tiles, tiles.spacing or tiles.size)

    def _in_pixels(self, tiles: ForeignTiles, length: float | None) -> tuple[float, float]:
        across, down = self._pixels(tiles) or (1.0, 1.0)
        return (length or 1.0) * across, (length or 1.0) * down


def read_pointer(path: Path) -> dict[str, Any]:
    """Read a features.json.

    Raises
    ------
    OSError
        If it cannot be read, or is not a pointer.
    """
    try:
        found = json.loads(checked(path).read_text(encoding="utf-8"))
        return {key: found[key] for key in ("layout", "files", "sha256", "stamps", "runs", "attributes")}
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"{path.name} is not a pointer to features ({error})") from None


def features_in(folder: Path) -> Path:
    """Return the path of the features in a slide's folder: features.json if another tool's, else features.h5."""
    pointer = folder / "features.json"
    return pointer if pointer.is_file() else folder / "features.h5"


def features_of(results: Results, slide_id: str) -> Path:
    """Return the path of a slide's features, see :func:`features_in`."""
    return features_in(results.slide(slide_id))


def usable_slides(results: Path) -> pd.DataFrame:
    """Return the ledger's slides that have features, with the path of their feature file."""
    layout = Results(results)
    ledger = read_ledger(layout.ledger)
    slides = ledger.loc[ledger["status"] == "ok", ["slide_id", "patient_id", "cohort"]].copy()
    slides["features"] = [str(features_of(layout, slide)) for slide in slides["slide_id"]]
    return slides


@contextmanager
def open_features(path: Path) -> Iterator[SlideFeatures]:
    """Open a slide's features.

    Parameters
    ----------
    path : Path
        A features.h5, or a features.json that points to files of another tool; those are only read.

    Raises
    ------
    OSError, KeyError, FeatureFileError
        Here or from the reader, if the file cannot be read or lacks a part.
    """
    import h5py

    if path.suffix == ".json":
        with ExitStack() as stack:
            yield PointedFeatures(read_pointer(path), stack)
        return
    with h5py.File(checked(path), "r") as file:
        yield FeatureReader(file)
