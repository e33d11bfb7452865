"""Our own features.h5: a group for each magnification with `features`, `coords` and `grid`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathduet.features.foreign_tiles import UNKNOWN, FeatureFileError, ForeignTiles, number, text

MAGNIFICATIONS = ("10x", "20x")


class FeatureReader:
    """features.h5 opened for reading."""

    def __init__(self, file: Any) -> None:
        self._file = file

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the whole file, read one by one: slide, pixel size, encoder and its weights, stain matrix."""
        attributes: Mapping[str, Any] = self._file.attrs
        return attributes

    @property
    def magnifications(self) -> tuple[str, ...]:
        """Magnifications that the file holds, the coarser first."""
        return tuple(name for name in MAGNIFICATIONS if name in self._file)

    def width(self, magnification: str) -> int:
        """Return the number of features per tile."""
        return int(self._file[magnification]["features"].shape[1])

    def features(self, magnification: str, rows: NDArray[np.integer] | None = None) -> NDArray[np.floating]:
        """Return the tiles' features (n, dim), or those of some ascending rows."""
        values = np.asarray(self._file[magnification]["features"][:])
        return values if rows is None or len(rows) == len(values) else values[rows]

    def grid(self, magnification: str) -> NDArray[np.int32]:
        """Return the tiles' columns and rows on the lattice, (n, 2)."""
        return np.asarray(self._file[magnification]["grid"][:])

    def coords(self, magnification: str) -> NDArray[np.float64]:
        """Return the tiles' exact top-left corners in level-0 pixels, (n, 2)."""
        return self.grid(magnification).astype(np.float64) * np.array(self.step(magnification))

    def tile_size(self, magnification: str) -> tuple[float, float]:
        """Return a tile's exact width and height in level-0 pixels."""
        attributes = self._file[magnification].attrs
        return float(attributes["tile_level0_px_x"]), float(attributes["tile_level0_px_y"])

    def step(self, magnification: str) -> tuple[float, float]:
        """Return the distance between tiles in level-0 pixels, across and down: less than their size if they overlap."""
        attributes, (width, height) = self._file[magnification].attrs, self.tile_size(magnification)
        return (
            float(attributes.get("step_level0_px_x", width)),
            float(attributes.get("step_level0_px_y", height)),
        )


def recognises(file: Any) -> bool:
    """Return whether an open HDF5 file has this layout."""
    return any(name in file and "features" in file[name] for name in MAGNIFICATIONS)


def tiles(file: Any, path: Path, magnification: str | None) -> ForeignTiles:
    """Return the tiles of one magnification of an open file; by default of the only one.

    Raises
    ------
    FeatureFileError
        If it has both and none is requested, or lacks the requested one.
    """
    reader = FeatureReader(file)
    there = reader.magnifications
    if magnification is None and len(there) > 1:
        raise FeatureFileError(
            f"features at {' and '.join(there)}: say which, as features_10x and features_20x"
        )
    if (magnification or there[0]) not in there:
        raise FeatureFileError(f"features at {' and '.join(there)}, none at {magnification}")
    name = magnification or there[0]
    known = file[name].attrs
    size = number(known, "tile_level0_px_x")
    mpp0 = number(file.attrs, "mpp_x")
    # from the name: a run's 10x and 20x may have other pixel sizes
    return ForeignTiles(
        "pathduet",
        file[name]["features"],
        reader.coords(name) if size else None,
        size=size,
        step=number(known, "step_level0_px_x") or size,
        mpp={"10x": 1.0, "20x": 0.5}[name],
        mpp0=mpp0,
        encoder=text(file.attrs, "encoder") or UNKNOWN,
    )
