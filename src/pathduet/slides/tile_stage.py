"""Stage ``tile``: finds pixel size, tissue mask and the tiles to keep; writes tiles.h5 and previews."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import SlideError
from pathduet.slides import previews
from pathduet.slides.given_mask import check_on_tissue, given_mask
from pathduet.slides.readers.frame import declared_bounds
from pathduet.slides.readers.pixel_size import PixelSize, pixel_size
from pathduet.slides.readers.reader import SlideReader
from pathduet.slides.settings import TileSettings
from pathduet.slides.status import TOO_LITTLE_TISSUE, StageResult
from pathduet.slides.tile_grid import Lattice, box_means, lattice
from pathduet.slides.tiles_file import KeptTiles, write_tiles
from pathduet.slides.tissue_mask import TissueMask, tissue_mask

MAX_UPSAMPLING = 1.25
MAX_PEN = 0.1  # share of a tile
MAX_LATTICE = 2_000_000  # 20x tiles: 158 x 158 mm
# pixels: 40 x 25 mm at 8 um; a larger slide gets a coarser thumbnail, so that memory is bounded
MAX_THUMBNAIL = 16_000_000


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
        Minimum share of tissue in a tile.
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
    """Return the thumbnail's width, height and pixel size: `thumbnail_mpp`, or coarser on huge slides."""
    area = size0[0] * size.x * size0[1] * size.y
    mpp = max(thumbnail_mpp, (area / MAX_THUMBNAIL) ** 0.5)
    return (max(1, round(size0[0] * size.x / mpp)), max(1, round(size0[1] * size.y / mpp))), mpp


@dataclass(frozen=True)
class Thumbnail:
    """A slide at low resolution.

    Attributes
    ----------
    image : (h, w, 3) uint8 array
    readable : (h, w) bool array
        False where the slide cannot be decoded.
    mpp : float
        Pixel size in micrometres.
    """

    image: NDArray[np.uint8]
    readable: NDArray[np.bool_]
    mpp: float

    @property
    def shape(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]


def tile_slide(slide: SlideRow, settings: TileSettings, folder: Path, key: str) -> StageResult:
    """Find a slide's tissue and tiles; write tiles.h5, mask.png and thumbnail.png into `folder`, or refused.png.

    The latter shows a slide with too little tissue.

    Returns
    -------
    StageResult
        Counts of each magnification: n_10x, rejected and lattice tiles; unreadable thumbnail pixels.

    Raises
    ------
    SlideError
        ``unreadable``, ``no_mpp``, ``no_tissue``, ``too_few_tiles``; ``failed`` for a slide scanned too coarsely.
    """
    with SlideReader(slide.slide_id, slide.path, slide.scene) as reader:
        size = pixel_size(slide.slide_id, reader.properties, slide.mpp, settings.default_mpp)
        _check_size(slide, reader.dimensions, size, settings)
        thumbnail = _read_thumbnail(slide, reader, size, settings)
        mask = _find_tissue(slide, thumbnail, reader)
        kept = _keep_tiles(mask, thumbnail.shape, reader.dimensions, size, settings)
        picture = _preview(reader, thumbnail.image)
        overlay = _overlay(picture, mask, kept, reader.dimensions)
        try:
            _check_tissue(slide, mask, kept, settings.min_tiles)
        except SlideError:
            previews.save_png(folder / TOO_LITTLE_TISSUE, overlay)
            raise
        write_tiles(folder / "tiles.h5", slide, settings, reader, size, kept, mask, thumbnail.mpp, key)
        seen = tuple(reader.notes)
    previews.save_png(folder / "thumbnail.png", picture)
    previews.save_png(folder / "mask.png", overlay)
    counts = {f"n_{name}": len(tiles.grid) for name, tiles in kept.items()}
    for name, tiles in kept.items():
        counts |= {f"{what}_{name}": n for what, n in tiles.counts.items()}
    counts["unreadable_thumbnail_pixels"] = int((~thumbnail.readable).sum())
    notes = (
        "pixel size inferred from the objective's nominal power" if "inferred" in size.source else "",
        size.note,
        *seen,
        _mostly_pen(list(kept.values())[-1]),
        f"tissue as marked in {slide.mask.name}" if slide.mask is not None else "",
    )
    return StageResult(counts, notes, (size.x + size.y) / 2, size.source)


def _mostly_pen(tiles: KeptTiles) -> str:
    pen, kept = tiles.counts["rejected_pen"], len(tiles.grid)
    return (
        f"{pen} tiles rejected as pen, {kept} kept: look at mask.png, it may be another stain"
        if pen > kept
        else ""
    )


def _check_size(slide: SlideRow, size0: tuple[int, int], size: PixelSize, settings: TileSettings) -> None:
    """Refuse a slide that is scanned too coarsely or is larger than a glass slide."""
    finest = min(settings.pixel_sizes.values())
    if max(size.x, size.y) > finest * MAX_UPSAMPLING:
        raise SlideError(
            slide.slide_id,
            "failed",
            f"level 0 has {max(size.x, size.y):.4g} um per pixel ({size.source}), too coarse for tiles of {finest:g} um",
            "use a scan at 20x or more; if the pixel size is wrong, give `mpp` in slides.tsv",
        )
    width, height = size0
    # without overlap: this measures the glass
    tiles = lattice(size0, (size.x, size.y), finest, settings.tile_px)
    if tiles.columns * tiles.rows > MAX_LATTICE:
        raise SlideError(
            slide.slide_id,
            "unreadable",
            f"{slide.path.name} declares {width:,} x {height:,} pixels of {size.x:.4g} um ({size.source}): "
            f"{width * size.x / 1000:,.0f} x {height * size.y / 1000:,.0f} mm, more than fits on a slide",
            "copy the file again; if the pixel size is wrong, give `mpp` in slides.tsv",
        )


def _read_thumbnail(
    slide: SlideRow, reader: SlideReader, size: PixelSize, settings: TileSettings
) -> Thumbnail:
    shape, mpp = thumbnail_shape(reader.dimensions, size, settings.thumbnail_mpp)
    image, readable = reader.thumbnail(shape)
    if (~readable).mean() > settings.max_failed_tiles:
        raise SlideError(
            slide.slide_id,
            "unreadable",
            f"{100 * (~readable).mean():.0f} % of {slide.path.name} cannot be decoded",
            "copy the file again, or raise slides.max_failed_tiles",
        )
    return Thumbnail(image, readable, mpp)


def _find_tissue(slide: SlideRow, thumbnail: Thumbnail, reader: SlideReader) -> TissueMask:
    """Return the tissue found on the thumbnail, or marked by the user."""
    mask = tissue_mask(thumbnail.image, thumbnail.mpp, thumbnail.readable)
    if slide.mask is None:
        return mask
    bounds = declared_bounds(reader.properties)
    given = given_mask(
        slide.slide_id, slide.mask, reader.dimensions, thumbnail.shape, slide.mask_frame, bounds
    )
    given &= thumbnail.readable
    check_on_tissue(slide.slide_id, slide.mask, given, thumbnail.image, bounds)
    return replace(mask, tissue=given, pen=np.zeros_like(given))


def _keep_tiles(
    mask: TissueMask, shape: tuple[int, int], size0: tuple[int, int], size: PixelSize, settings: TileSettings
) -> dict[str, KeptTiles]:
    """Return the kept tiles of each magnification; they share one mask."""
    pixel0 = (size0[0] / shape[0], size0[1] / shape[1])
    grids = {
        name: lattice(size0, (size.x, size.y), mpp, settings.tile_px, settings.overlap_px)
        for name, mpp in settings.pixel_sizes.items()
    }
    return {
        name: keep_tiles(grid, mask.tissue, mask.pen, pixel0, settings.min_tissue)
        for name, grid in grids.items()
    }


def _preview(reader: SlideReader, thumbnail: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the slide at preview size: from the thumbnail if that is larger, else read again."""
    size = previews.preview_size(*reader.dimensions)
    if (thumbnail.shape[1], thumbnail.shape[0]) == size:
        return thumbnail
    if thumbnail.shape[1] >= size[0]:
        return np.asarray(Image.fromarray(thumbnail).resize(size, Image.Resampling.BICUBIC))
    return reader.thumbnail(size)[0]


def _overlay(
    picture: NDArray[np.uint8], mask: TissueMask, kept: dict[str, KeptTiles], size0: tuple[int, int]
) -> Image.Image:
    corners = {
        name: (tiles.lattice.origin0(tiles.grid), tiles.lattice.width0, tiles.lattice.height0)
        for name, tiles in kept.items()
    }
    return previews.mask_preview(picture, mask.tissue, mask.pen, size0, corners)


def _check_tissue(slide: SlideRow, mask: TissueMask, kept: dict[str, KeptTiles], min_tiles: int) -> None:
    """Refuse a slide without tissue, or with too few tiles."""
    look = f"look at {TOO_LITTLE_TISSUE} in its folder"
    if not mask.tissue.any():
        found = "no stained tissue on the thumbnail"
        advice = f"{look}; give your own mask, or exclude it"
        if slide.mask is not None:
            found, advice = f"nothing marked in {slide.mask.name}", "correct the mask"
        raise SlideError(slide.slide_id, "no_tissue", found, advice)
    if min(len(tiles.grid) for tiles in kept.values()) < min_tiles:
        found = ", ".join(
            f"{len(tiles.grid)} of {tiles.counts['lattice']} tiles kept at {name}"
            + (
                f" ({tiles.counts['rejected_pen']} rejected as pen, or of another stain)"
                if tiles.counts["rejected_pen"]
                else ""
            )
            for name, tiles in kept.items()
        )
        raise SlideError(
            slide.slide_id,
            "too_few_tiles",
            f"{found}; at least {min_tiles} are needed",
            f"{look}; lower slides.min_tiles or slides.min_tissue, or exclude the slide",
        )
