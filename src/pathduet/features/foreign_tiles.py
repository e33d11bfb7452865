"""One slide's tiles at one magnification from another tool's file, and the lattice derived from their coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

UNKNOWN = "unknown"
Runs = Mapping[str, Sequence[Sequence[int]]]
#: Largest value of half precision, in which tokens are stored.
_LARGEST = 65504.0
_BLOCK_ROWS = 4096
#: Below this share of the rows, they are read one by one; else the whole array is read.
_PICKED_SHARE = 1 / 8
#: Micrometres per pixel of a scan at 1x: 0.25 um at 40x, 0.5 um at 20x.
_UM_AT_1X = 10.0
#: Between 0.5 um (20x) and 1.0 um (10x), on a scale of ratios.
_BETWEEN = 0.707


class FeatureFileError(ValueError):
    """A file of features that cannot be used; the message states what was found."""


@dataclass(frozen=True)
class ForeignTiles:
    """Features of one magnification, read on demand, and what the file states about its tiles.

    Attributes
    ----------
    layout : str
        The file's layout, a key of :data:`pathduet.features.layout.LAYOUTS`.
    array : array-like
        (n, d), or (1, n, d); floating point. An HDF5 dataset is valid only while the file is open.
    coords : (n, 2) float64 array or None
        Top-left corners in `unit`; None if the file has none.
    unit : {"px", "um"}
        Level-0 pixels or micrometres.
    size, step : float or None
        A tile's edge, and the distance from one tile to the next, in `unit`; None if the file states none.
    mpp : float or None
        Pixel size in micrometres at which the tiles were read.
    mpp0 : float or None
        Level-0 pixel size in micrometres; from the scan's nominal power if the file has nothing better.
    size0 : (int, int) or None
        The slide's width and height in level-0 pixels.
    encoder : str
        As named in the file, else ``unknown``.
    notes : tuple of str
        Unusual interpretations of the file.
    runs : mapping
        :func:`row_runs` of the datasets ``features`` and ``coords``, if they are stored that way.
    n, width : int
        Number of tiles, and of features per tile.
    """

    layout: str
    array: Any
    coords: NDArray[np.float64] | None = None
    unit: Literal["px", "um"] = "px"
    size: float | None = None
    step: float | None = None
    mpp: float | None = None
    mpp0: float | None = None
    size0: tuple[int, int] | None = None
    encoder: str = UNKNOWN
    notes: tuple[str, ...] = ()
    runs: Runs = field(default_factory=dict)
    n: int = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        shape = tuple(self.array.shape)
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != 1):
            raise FeatureFileError(f"features of shape {shape}, not (tiles, numbers)")
        if 0 in shape:
            raise FeatureFileError("no tile")
        if self.array.dtype.kind != "f":
            raise FeatureFileError(f"features of type {self.array.dtype}, not floating point")
        if len(shape) == 3:
            object.__setattr__(self, "notes", (*self.notes, "features with a leading batch axis"))
        object.__setattr__(self, "n", shape[-2])
        object.__setattr__(self, "width", shape[-1])
        if self.coords is not None:
            object.__setattr__(self, "coords", _checked(self.coords, self.n))

    @property
    def magnification(self) -> str:
        """``10x`` or ``20x``, whichever is nearer to the file's pixel size; empty if it states none."""
        return "" if self.mpp is None else "20x" if self.mpp <= _BETWEEN else "10x"

    @property
    def spacing(self) -> float | None:
        """Distance from one tile to the next in `unit`: from the file, else the most common between neighbours."""
        if self.step is not None or self.coords is None:
            return self.step
        return commonest_gap(self.coords)

    def read(self, rows: NDArray[np.integer] | None = None) -> NDArray[np.floating]:
        """Return the features (n, d) as stored, or those of some ascending rows."""
        flat = self.array.ndim == 2
        if rows is not None and len(rows) < _PICKED_SHARE * self.n:
            return np.asarray(self.array[rows] if flat else self.array[0, rows])
        values = self._whole()
        if values is None:
            values = np.asarray(self.array[:] if flat else self.array[0])
        return values if rows is None or len(rows) == self.n else values[rows]

    def _whole(self) -> NDArray[np.floating] | None:
        runs = self.runs.get("features")
        return read_runs(self.array, runs) if runs else None

    def grid(self) -> NDArray[np.int32]:
        """Return the tiles' columns and rows on their lattice, (n, 2); without coordinates, one row in file order."""
        if self.coords is None:
            place = np.arange(self.n, dtype=np.int32)
            return np.stack([place, np.zeros_like(place)], axis=1)
        step = self.spacing or self.size or 1.0
        # round all halves up: with an overlap of a third, columns lie halfway between two cells
        cells = np.floor((self.coords - self.coords.min(axis=0)) / step + 0.5 + 1e-6)
        return cells.astype(np.int32)

    def check(self) -> None:
        """Read everything once.

        Raises
        ------
        FeatureFileError
            If a value is not finite, or too large for half precision; names the first such tile.
        """
        whole = self._whole()
        for start in range(0, self.n, _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            if whole is not None:
                block = whole[rows]
            else:
                block = np.asarray(self.array[rows] if self.array.ndim == 2 else self.array[0, rows])
            largest = np.abs(block).max(axis=1)  # NaN if any value is NaN
            bad = np.flatnonzero(~(largest <= _LARGEST))
            if len(bad):
                value = largest[bad[0]]
                found = (
                    f"a value of {value:g}, beyond half precision"
                    if np.isfinite(value)
                    else "NaN or infinity"
                )
                raise FeatureFileError(f"{found} in tile {start + bad[0]} (from 0)")


def row_runs(dataset: Any) -> list[list[int]]:
    """Return where an HDF5 dataset's rows are in its file, if stored uncompressed with one chunk per row, as by TRIDENT and CLAM.

    HDF5 looks up every chunk before reading it, which takes four times as long as reading.

    Returns
    -------
    list of [int, int]
        In row order: offset of the first byte, and number of contiguous rows from there. Empty if stored otherwise.
    """
    shape, chunks = dataset.shape, getattr(dataset, "chunks", None)
    if chunks is None or chunks[-1] != shape[-1] or set(chunks[:-1]) != {1} or dataset.file.userblock_size:
        return []
    n, row = shape[-2], shape[-1] * dataset.dtype.itemsize
    if dataset.id.get_create_plist().get_nfilters() or dataset.id.get_storage_size() != n * row:
        return []
    places = np.empty(n, np.int64)

    def note(chunk: Any) -> None:
        places[chunk.chunk_offset[-2]] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    starts = np.flatnonzero(np.diff(places, prepend=places[0] - 2 * row) != row)
    return np.stack([places[starts], np.diff(starts, append=n)], axis=1).tolist()  # type: ignore[no-any-return]


def read_runs(dataset: Any, runs: Sequence[Sequence[int]]) -> NDArray[Any]:
    """Return all rows (n, d) of an HDF5 dataset from their offsets in the file, see :func:`row_runs`."""
    values = np.empty(dataset.shape[-2:], dataset.dtype)
    into, filled = values.view(np.uint8).reshape(-1).data, 0
    # buffered: a single system read is limited to 2 GiB, a buffered one is not
    with Path(dataset.file.filename).open("rb") as file:
        for place, rows in runs:
            size = rows * values.strides[0]
            file.seek(place)
            if file.readinto(into[filled : filled + size]) != size:
                raise FeatureFileError("it ends before its last tile")
            filled += size
    return values


def features_and_coords(file: Any, runs: Runs) -> tuple[Any, NDArray[Any], Runs]:
    """Return the dataset `features`, all of `coords`, and their :func:`row_runs`: `runs` if known, else determined."""
    runs = runs or {name: found for name in ("features", "coords") if (found := row_runs(file[name]))}
    coords = file["coords"]
    return file["features"], read_runs(coords, runs["coords"]) if "coords" in runs else coords[:], runs


def commonest_gap(coords: NDArray[np.float64]) -> float | None:
    """Return the most common distance between neighbours in a row or a column; None if there are none.

    Tools that place tiles per piece of tissue have no lattice over the whole slide, but a single step.
    """
    gaps = []
    for along, across in ((0, 1), (1, 0)):
        ordered = coords[np.lexsort((coords[:, along], coords[:, across]))]
        same = ordered[1:, across] == ordered[:-1, across]
        gaps.append((ordered[1:, along] - ordered[:-1, along])[same])
    found, counts = np.unique(np.round(np.concatenate(gaps), 3), return_counts=True)
    return float(found[counts.argmax()]) if len(found) else None


def pixel_size_at(power: float | None) -> float | None:
    """Return the nominal pixel size in micrometres at a magnification."""
    return _UM_AT_1X / power if power else None


def number(attributes: Any, name: str) -> float | None:
    """Return a positive number among attributes; None if there is none with that name."""
    try:
        value = float(np.ravel(attributes[name])[0])
    except (KeyError, ValueError, TypeError, IndexError):
        return None
    return value if np.isfinite(value) and value > 0 else None


def text(attributes: Any, name: str) -> str:
    """Return a text among attributes; empty if there is none with that name."""
    value = attributes.get(name, "")
    return value.decode() if isinstance(value, bytes) else str(value)


def _checked(coords: NDArray[Any], n: int) -> NDArray[np.float64]:
    """Return coordinates as (n, 2); refuse duplicates."""
    found = np.asarray(coords, np.float64)
    found = found[0] if found.ndim == 3 and len(found) == 1 else found
    if found.shape != (n, 2):
        raise FeatureFileError(f"coordinates of shape {found.shape} for {n} tiles")
    if not np.isfinite(found).all():
        raise FeatureFileError("coordinates that are not finite")
    ordered = found[np.lexsort(found.T)]
    same = (ordered[1:] == ordered[:-1]).all(axis=1)
    if same.any():
        x, y = ordered[1:][same][0]
        raise FeatureFileError(f"{same.sum()} tiles at the place of another one, such as ({x:g}, {y:g})")
    return found
