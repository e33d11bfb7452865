"""tiles.h5: a slide's tiles, written by the tile stage and read by later stages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pathduet import __version__
from pathduet.cohort.sheets import SlideRow
from pathduet.core.checksums import checked
from pathduet.core.files import atomic_path
from pathduet.slides.readers.frame import declared_bounds
from pathduet.slides.readers.pixel_size import PixelSize
from pathduet.slides.readers.reader import SlideReader
from pathduet.slides.settings import TileSettings
from pathduet.slides.tile_grid import Lattice
from pathduet.slides.tissue_mask import TissueMask


@dataclass(frozen=True)
class KeptTiles:
    """The kept tiles of one magnification, row by row.

    Attributes
    ----------
    lattice : Lattice
    grid : (n, 2) int32 array
        Column and row on the lattice.
    tissue_fraction : (n,) float32 array
    counts : dict
        lattice, rejected_background, rejected_pen.
    """

    lattice: Lattice
    grid: NDArray[np.int32]
    tissue_fraction: NDArray[np.float32]
    counts: dict[str, int]


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
        Exact footprint in level-0 pixels.
    step_x0, step_y0 : float
        Distance between neighbours in level-0 pixels; tile ``i`` starts at ``grid[i] * (step_x0, step_y0)``.
    mpp : float
        Target pixel size in micrometres.
    tile_px : int
    """

    grid: NDArray[np.int32]
    coords: NDArray[np.int32]
    width0: float
    height0: float
    step_x0: float
    step_y0: float
    mpp: float
    tile_px: int

    @property
    def overlaps(self) -> bool:
        """Whether neighbours share pixels."""
        return (self.step_x0, self.step_y0) != (self.width0, self.height0)

    def read(self, reader: SlideReader, row: int) -> NDArray[np.uint8]:
        """Read one tile, (tile_px, tile_px, 3) uint8 RGB.

        Raises
        ------
        pathduet.slides.readers.reader.RegionError
            If it cannot be decoded.
        """
        column, line = self.grid[row].tolist()
        return reader.read_region_at(
            column * self.step_x0,
            line * self.step_y0,
            self.width0,
            self.height0,
            (self.tile_px, self.tile_px),
        )


def read_tiles(path: Path) -> dict[str, TileTable]:
    """Return the tile tables of a slide by magnification, the coarser first."""
    with h5py.File(checked(path), "r") as file:
        tile_px = int(file.attrs["tile_px"])
        return {
            name: TileTable(
                file[name]["grid"][:],
                file[name]["coords"][:],
                float(file[name].attrs["tile_level0_px_x"]),
                float(file[name].attrs["tile_level0_px_y"]),
                float(file[name].attrs["step_level0_px_x"]),
                float(file[name].attrs["step_level0_px_y"]),
                float(file[name].attrs["mpp"]),
                tile_px,
            )
            for name in ("10x", "20x")
            if name in file
        }


def read_glass(path: Path) -> tuple[float, float, float]:
    """Return the colour of a slide's empty glass, RGB."""
    with h5py.File(path, "r") as file:
        red, green, blue = file["mask"].attrs["glass"].tolist()
    return red, green, blue


def write_tiles(
    path: Path,
    slide: SlideRow,
    settings: TileSettings,
    reader: SlideReader,
    size: PixelSize,
    kept: Mapping[str, KeptTiles],
    tissue: TissueMask,
    thumbnail_mpp: float,
    key: str,
) -> None:
    """Write a slide's kept tiles of each magnification, and their common tissue mask."""
    width, height = reader.dimensions
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(
            {
                "slide_id": slide.slide_id,
                "mpp_x": size.x,
                "mpp_y": size.y,
                "mpp_source": size.source,
                "objective_power": reader.objective_power,
                "width": width,
                "height": height,
                "bounds": np.array(declared_bounds(reader.properties), np.int64),
                "vendor": reader.vendor,
                "reader": reader.library,
                "tile_px": settings.tile_px,
                "package_version": __version__,
                "settings": json.dumps(asdict(settings), sort_keys=True),
                "key": key,
            }
        )
        for name, tiles in kept.items():
            group = file.create_group(name)
            grid = tiles.lattice
            ratio = min(grid.width0, grid.height0) / settings.tile_px
            level = reader.best_level(ratio)
            group.attrs.update(
                {
                    "mpp": settings.pixel_sizes[name],
                    "tile_level0_px_x": grid.width0,
                    "tile_level0_px_y": grid.height0,
                    "step_level0_px_x": grid.step_x0,
                    "step_level0_px_y": grid.step_y0,
                    "level": level,
                    "level_downsample": reader.level_downsamples[level],
                }
            )
            group["coords"] = np.rint(grid.origin0(tiles.grid)).astype(np.int32)
            group["grid"] = tiles.grid
            group["tissue_fraction"] = tiles.tissue_fraction
        mask = file.create_dataset(
            "mask", data=tissue.tissue.astype(np.uint8), compression="gzip", track_times=False
        )
        mask.attrs["mask_mpp"] = thumbnail_mpp
        mask.attrs["glass"] = tissue.glass
        mask.attrs["source"] = f"given:{slide.mask.name}" if slide.mask else "automatic"
        mask.attrs["pixel_level0_px_x"] = width / tissue.tissue.shape[1]
        mask.attrs["pixel_level0_px_y"] = height / tissue.tissue.shape[0]
