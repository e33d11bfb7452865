"""tiles.h5 as read by the stages after it: which tiles there are, and how to read one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pathduet.slides.readers.reader import SlideReader


@dataclass(frozen=True)
class TileTable:
    """The kept tiles of one magnification.

    Attributes
    ----------
    grid : (n, 2) int32 array
        Column and row on the lattice.
    coords : (n, 2) int32 array
        Top-left corner in level-0 pixels, rounded.
    width0, height0 : float
        Exact footprint in level-0 pixels; tile ``i`` starts at ``grid[i] * (width0, height0)``.
    mpp : float
        Target pixel size in micrometres.
    tile_px : int
    """

    grid: NDArray[np.int32]
    coords: NDArray[np.int32]
    width0: float
    height0: float
    mpp: float
    tile_px: int

    def read(self, reader: SlideReader, row: int) -> NDArray[np.uint8]:
        """Read one tile, (tile_px, tile_px, 3) uint8 RGB.

        Raises
        ------
        pathduet.slides.readers.reader.RegionError
            If it cannot be decoded.
        """
        column, line = self.grid[row].tolist()
        return reader.read_region_at(
            column * self.width0, line * self.height0, self.width0, self.height0, (self.tile_px, self.tile_px)
        )


def read_tiles(path: Path) -> dict[str, TileTable]:
    """Return the tile tables of a slide by magnification ("10x", "20x")."""
    with h5py.File(path, "r") as file:
        tile_px = int(file.attrs["tile_px"])
        return {
            name: TileTable(
                file[name]["grid"][:],
                file[name]["coords"][:],
                float(file[name].attrs["tile_level0_px_x"]),
                float(file[name].attrs["tile_level0_px_y"]),
                float(file[name].attrs["mpp"]),
                tile_px,
            )
            for name in ("10x", "20x")
        }
