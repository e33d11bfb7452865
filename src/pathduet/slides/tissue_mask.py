"""Where on a slide there is tissue, from a thumbnail.

Tissue absorbs light and has a colour; paper, glass and dust are bright or grey; pen has a hue that haematoxylin and
eosin do not. Thresholds follow the slide (Otsu) within absolute bounds, so that neither a slide full of tissue nor an
empty one sets its own rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Bounds of the colour threshold: difference of the most and the least absorbed channel, in natural optical density.
# Glass and JPEG noise stay below 0.03; pale eosin such as (230, 210, 222) reaches 0.09.
MIN_COLOUR, MAX_COLOUR = 0.04, 0.09
MIN_DENSITY = 0.03  # mean optical density relative to the glass
MIN_SATURATION = 0.03  # (max - min) / 255: black dust has a large ratio of its channels but hardly a colour
_STRIP_ROWS = 256
MIN_AREA_UM2 = 6_000.0  # specks and holes below about half a 20x tile are noise
PEN_HALO_UM = 64.0  # how far thinned ink reaches beyond what its hue betrays: about 80 um around red pen


@dataclass(frozen=True)
class TissueMask:
    """Tissue and pen on a thumbnail.

    Attributes
    ----------
    tissue, pen : (H, W) bool arrays
        Disjoint.
    glass : (3,) float array
        Colour of the empty slide, RGB, at most 255.
    threshold : float
        The colour threshold used, in optical density.
    """

    tissue: NDArray[np.bool_]
    pen: NDArray[np.bool_]
    glass: NDArray[np.float64]
    threshold: float


def otsu(values: NDArray[np.floating], bins: int = 256) -> float:
    """Return Otsu's threshold: the cut that maximises the variance between the two classes (Otsu 1979)."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return low
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts), counts.sum()
    sums = np.cumsum(counts * centres)
    above = total - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    best = np.nanmax(between[:-1])
    # Between two well-separated classes every empty bin is as good: take the middle of that plateau.
    return float(edges[1:-1][np.isclose(between[:-1], best, rtol=1e-9)].mean())


def glass_colour(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the colour of empty glass: the median of bright, nearly grey pixels; white if there are few."""
    pixels = image.reshape(-1, 3)
    lowest = pixels.min(1)
    bright = (lowest > 205) & (pixels.max(1) - lowest < 16)
    if bright.sum() < 0.01 * len(pixels):
        return np.full(3, 255.0)
    return np.median(pixels[bright], axis=0).astype(np.float64)


def pen_pixels(image: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where felt pen is for certain, and where it may be: green, blue and red inks by hue.

    Haematoxylin and eosin absorb green most. Green and blue ink absorb red most; red ink absorbs green and
    blue alike and nearly all of them.
    """
    red, green, blue = np.moveaxis(image.astype(np.float32) + 1.0, -1, 0)
    spread = image.max(-1).astype(np.int16) - image.min(-1)
    green_ink = (spread > 15) & (green > red * 1.15) & (green > blue * 0.85)
    blue_ink = (spread > 40) & (blue > red * 1.6) & (green > red * 1.1)
    red_ink = (spread > 40) & (red > green * 2.2) & (red > blue * 2.2) & (blue < green * 1.35)
    certain = green_ink | blue_ink | red_ink
    faint = (spread > 12) & ((green > red * 1.03) | ((red > blue * 1.8) & (blue < green * 1.35)))
    return certain, certain | faint


def _without_small(mask: NDArray[np.bool_], min_pixels: float) -> NDArray[np.bool_]:
    from scipy import ndimage

    labels, _ = ndimage.label(mask)
    keep = np.bincount(labels.ravel()) >= min_pixels
    keep[0] = False
    return keep[labels]


def tissue_mask(
    image: NDArray[np.uint8], mpp: float, readable: NDArray[np.bool_] | None = None
) -> TissueMask:
    """Find tissue on a thumbnail.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB thumbnail of the whole slide.
    mpp : float
        Its pixel size in micrometres.
    readable : (H, W) bool array, optional
        False where the slide could not be decoded; never tissue.

    Returns
    -------
    TissueMask
    """
    from scipy import ndimage

    glass = glass_colour(image)
    colour = np.empty(image.shape[:2], np.float32)
    dense, certain, possible = (np.empty(image.shape[:2], bool) for _ in range(3))
    for top in range(
        0, len(image), _STRIP_ROWS
    ):  # in strips: the intermediate numbers of a large slide are gigabytes
        above, below = max(top - 1, 0), min(top + _STRIP_ROWS + 1, len(image))
        part = ndimage.uniform_filter(image[above:below].astype(np.float32), size=(3, 3, 1), mode="nearest")
        smooth = part[top - above : top - above + _STRIP_ROWS]
        rows = slice(top, top + len(smooth))
        density = -np.log(np.minimum((smooth + 1.0) / (glass.astype(np.float32) + 1.0), 1.0))
        colour[rows] = density.max(-1) - density.min(-1)
        saturation = (smooth.max(-1) - smooth.min(-1)) / 255.0
        dense[rows] = (density.mean(-1) > MIN_DENSITY) & (saturation > MIN_SATURATION)
        certain[rows], possible[rows] = pen_pixels(smooth.astype(np.uint8))
    usable = np.ones(colour.shape, bool) if readable is None else readable
    threshold = float(np.clip(otsu(colour[usable]), MIN_COLOUR, MAX_COLOUR)) if usable.any() else MAX_COLOUR
    stained = usable & (colour > threshold) & dense
    pen = _without_small(certain, max(4.0, 0.25 * MIN_AREA_UM2 / mpp**2))
    if pen.any():
        # ink thins out at its edges: follow it, and do not trust what borders it or lies in its gaps
        reach = max(2, round(PEN_HALO_UM / mpp))
        pen = ndimage.binary_dilation(ndimage.binary_propagation(pen, mask=possible | pen), iterations=reach)
    small = max(2.0, MIN_AREA_UM2 / mpp**2)
    tissue = ndimage.binary_closing(np.pad(stained, 2), iterations=1)[2:-2, 2:-2] | stained
    tissue = ~_without_small(~tissue, small)
    tissue = _without_small(tissue, small) & ~pen & usable
    return TissueMask(tissue, pen, glass, threshold)
