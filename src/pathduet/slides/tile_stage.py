"""Stage ``tile``: pixel size, tissue mask and the tiles that are kept, written as tiles.h5 with previews."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pathduet import __version__
from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import SlideError
from pathduet.core.files import atomic_path
from pathduet.slides import previews
from pathduet.slides.given_mask import given_mask
from pathduet.slides.readers.pixel_size import PixelSize, pixel_size
from pathduet.slides.readers.reader import SlideReader
from pathduet.slides.settings import TileSettings
from pathduet.slides.status import REFUSED
from pathduet.slides.tiling import Lattice, box_means, lattice
from pathduet.slides.tissue import tissue_mask

MAX_UPSAMPLING = 1.25
MAX_PEN = 0.1  # share of a tile
MAX_LATTICE = 2_000_000  # 20x tiles: 158 x 158 mm
MAX_THUMBNAIL = (
    16_000_000  # pixels: 40 x 25 mm at 8 um; a larger slide gets a coarser one, so that memory is bounded
)


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


def keep_tiles(
    tiles: Lattice,
    tissue: NDArray[np.bool_],
    pen: NDArray[np.bool_],
    pixel0: tuple[float, float],
    min_tissue: float,
) -> KeptTiles:
    """Return the tiles with enough tissue and hardly any pen.

    Parameters
    ----------
    tiles : Lattice
    tissue, pen : (H, W) bool arrays
        On the thumbnail.
    pixel0 : (float, float)
        Width and height of a thumbnail pixel in level-0 pixels.
    min_tissue : float
        Least share of a tile that must be tissue.
    """
    grid = tiles.all_tiles()
    corner = tiles.origin0(grid) / pixel0
    boxes = np.concatenate([corner, corner + np.array([tiles.width0, tiles.height0]) / pixel0], axis=1)
    fraction, inked = box_means(tissue, boxes), box_means(pen, boxes)
    enough = fraction >= min_tissue
    by_pen = (inked > MAX_PEN) & (fraction + inked >= min_tissue)
    keep = enough & ~by_pen & (fraction > 0)
    counts = {
        "lattice": len(grid),
        "rejected_pen": int(by_pen.sum()),
        "rejected_background": int((~keep & ~by_pen).sum()),
    }
    return KeptTiles(tiles, grid[keep], fraction[keep].astype(np.float32), counts)


def thumbnail_shape(
    size0: tuple[int, int], size: PixelSize, thumbnail_mpp: float
) -> tuple[tuple[int, int], float]:
    """Return the thumbnail's width and height and its pixel size: the one asked for, coarser on huge slides."""
    area = size0[0] * size.x * size0[1] * size.y
    mpp = max(thumbnail_mpp, (area / MAX_THUMBNAIL) ** 0.5)
    return (max(1, round(size0[0] * size.x / mpp)), max(1, round(size0[1] * size.y / mpp))), mpp


def tile_slide(
    slide: SlideRow, settings: TileSettings, folder: Path, key: str
) -> tuple[dict[str, int], PixelSize]:
    """Find a slide's tissue and tiles and write tiles.h5, mask.png and thumbnail.png into `folder`; for a slide of too
    little tissue, refused.png.

    Returns
    -------
    counts : dict
        n_10x, n_20x, rejected and lattice tiles, unreadable thumbnail pixels.
    size : PixelSize

    Raises
    ------
    SlideError
        ``unreadable``, ``no_mpp``, ``no_tissue``, ``too_few_tiles``; ``failed`` for a slide scanned too coarsely.
    """
    with SlideReader(slide.slide_id, slide.path) as reader:
        size = pixel_size(slide.slide_id, reader.properties, slide.mpp, settings.default_mpp)
        finest = min(settings.magnifications.values())
        if max(size.x, size.y) > finest * MAX_UPSAMPLING:
            raise SlideError(
                slide.slide_id,
                "failed",
                f"level 0 has {max(size.x, size.y):.4g} um per pixel ({size.source}), too coarse for tiles of {finest:g} um",
                "use a scan at 20x or more; if the pixel size is wrong, give `mpp` in slides.tsv",
            )
        width, height = reader.dimensions
        tiles_20x = lattice((width, height), (size.x, size.y), finest, settings.tile_px)
        if tiles_20x.columns * tiles_20x.rows > MAX_LATTICE:
            raise SlideError(
                slide.slide_id,
                "unreadable",
                f"{slide.path.name} declares {width:,} x {height:,} pixels of {size.x:.4g} um ({size.source}): "
                f"{width * size.x / 1000:,.0f} x {height * size.y / 1000:,.0f} mm, more than a slide holds",
                "copy the file again; if the pixel size is wrong, give `mpp` in slides.tsv",
            )
        shape, thumbnail_mpp = thumbnail_shape((width, height), size, settings.thumbnail_mpp)
        thumbnail, readable = reader.thumbnail(shape)
        if (~readable).mean() > settings.max_failed_tiles:
            raise SlideError(
                slide.slide_id,
                "unreadable",
                f"{100 * (~readable).mean():.0f} % of {slide.path.name} cannot be decoded",
                "copy the file again, or raise slides.max_failed_tiles",
            )
        mask = tissue_mask(thumbnail, thumbnail_mpp, readable)
        if slide.mask is not None:
            given = given_mask(slide.slide_id, slide.mask, (width, height), shape)
            mask = replace(mask, tissue=given & readable, pen=np.zeros_like(given))
        small = previews.preview_size(width, height)
        pixel0 = (width / shape[0], height / shape[1])
        kept = {
            name: keep_tiles(
                lattice((width, height), (size.x, size.y), mpp, settings.tile_px),
                mask.tissue,
                mask.pen,
                pixel0,
                settings.min_tissue,
            )
            for name, mpp in settings.magnifications.items()
        }
        counts = {f"n_{name}": len(tiles.grid) for name, tiles in kept.items()}
        picture = thumbnail if shape == small else _preview(reader, thumbnail, small)
        corners = {
            name: (tiles.lattice.origin0(tiles.grid), tiles.lattice.width0, tiles.lattice.height0)
            for name, tiles in kept.items()
        }
        overlay = previews.mask_preview(picture, mask.tissue, mask.pen, (width, height), corners)
        if not mask.tissue.any() or min(counts.values()) < settings.min_tiles:
            previews.save_png(folder / REFUSED, overlay)
        if not mask.tissue.any():
            raise SlideError(
                slide.slide_id,
                "no_tissue",
                f"nothing marked in {slide.mask.name}"
                if slide.mask
                else "no stained tissue on the thumbnail",
                "correct the mask"
                if slide.mask
                else f"look at {REFUSED} in its folder; give a mask of your own, or exclude it",
            )
        if min(counts.values()) < settings.min_tiles:
            raise SlideError(
                slide.slide_id,
                "too_few_tiles",
                ", ".join(
                    f"{len(tiles.grid)} of {tiles.counts['lattice']} tiles kept at {name}"
                    for name, tiles in kept.items()
                )
                + f"; at least {settings.min_tiles} are needed",
                f"look at {REFUSED} in its folder; lower slides.min_tiles or slides.min_tissue, or exclude the slide",
            )
        for name, tiles in kept.items():
            counts |= {f"{what}_{name}": n for what, n in tiles.counts.items()}
        counts["unreadable_thumbnail_pixels"] = int((~readable).sum())
        _write_tiles(
            folder / "tiles.h5", slide, settings, reader, size, kept, mask.tissue, thumbnail_mpp, key
        )
    previews.save_png(folder / "thumbnail.png", picture)
    previews.save_png(folder / "mask.png", overlay)
    return counts, size


def _preview(reader: SlideReader, thumbnail: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the slide at preview size: from the thumbnail where that is larger, else read anew."""
    if thumbnail.shape[1] >= size[0]:
        from PIL import Image

        return np.asarray(Image.fromarray(thumbnail).resize(size, Image.Resampling.BICUBIC))
    return reader.thumbnail(size)[0]


def _write_tiles(
    path: Path,
    slide: SlideRow,
    settings: TileSettings,
    reader: SlideReader,
    size: PixelSize,
    kept: dict[str, KeptTiles],
    tissue: NDArray[np.bool_],
    thumbnail_mpp: float,
    key: str,
) -> None:
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
                    "mpp": settings.magnifications[name],
                    "tile_level0_px_x": grid.width0,
                    "tile_level0_px_y": grid.height0,
                    "level": level,
                    "level_downsample": reader.level_downsamples[level],
                }
            )
            group["coords"] = np.rint(grid.origin0(tiles.grid)).astype(np.int32)
            group["grid"] = tiles.grid
            group["tissue_fraction"] = tiles.tissue_fraction
        mask = file.create_dataset(
            "mask", data=tissue.astype(np.uint8), compression="gzip", track_times=False
        )
        mask.attrs["mask_mpp"] = thumbnail_mpp
        mask.attrs["source"] = f"given:{slide.mask.name}" if slide.mask else "automatic"
        mask.attrs["pixel_level0_px_x"] = width / tissue.shape[1]
        mask.attrs["pixel_level0_px_y"] = height / tissue.shape[0]
