"""Attributes of tiles' coordinates, with TRIDENT's names: our own features.h5 has them, too."""

from __future__ import annotations

from typing import Any

#: Micrometres per pixel at 1x: 0.5 um are 20x, 1.0 um 10x.
_UM_AT_1X = 10.0


def patch_attributes(
    slide_id: str,
    tile_px: int,
    size: float,
    step: float,
    mpp: float,
    size0: tuple[int, int] | None,
) -> dict[str, Any]:
    """Return the attributes that TRIDENT writes with coordinates and that its encoders and viewers read.

    Its magnifications are integers, ours are derived from pixel sizes: 10 / um. `patch_size_level0` is truncated to whole
    pixels, so that dividing the corners by it never puts two tiles into one cell.

    Parameters
    ----------
    tile_px : int
        Edge of the encoded picture in pixels.
    size, step : float
        A tile's width and the distance to the next tile, in level-0 pixels.
    mpp : float
        Level-0 pixel size in micrometres, across.
    size0 : (int, int) or None
        Width and height of level 0, if known.
    """
    extent = {"level0_width": size0[0], "level0_height": size0[1]} if size0 else {}
    return {
        "patch_size": tile_px,
        "patch_size_level0": int(size + 1e-6),
        "level0_magnification": round(_UM_AT_1X / mpp),
        "target_magnification": round(_UM_AT_1X * tile_px / (size * mpp)),
        "overlap": round(tile_px * (1 - step / size)),
        "name": slide_id,
        **extent,
    }
