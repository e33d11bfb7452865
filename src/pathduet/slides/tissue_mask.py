"""Tissue detection on a slide's thumbnail.

Tissue absorbs light and has a colour; paper, glass and dust are bright or grey; pen has a hue that haematoxylin and
eosin lack. Thresholds adapt to the slide (Otsu) within absolute bounds, so that neither a slide full of tissue nor an
empty slide gets an extreme threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Bounds of the colour threshold: difference of the most and the least absorbed channel, in natural optical density.
# Glass and JPEG noise stay below 0.03; pale eosin such as (230, 210, 222) reaches 0.09.
MIN_COLOUR, MAX_COLOUR = 0.04, 0.09
MIN_DENSITY = 0.03  # mean optical density relative to the glass
MIN_SATURATION = 0.03  # (max - min) / 255: black dust has a large ratio of its channels but hardly any colour
PIGMENT_DENSITY = 0.7  # mean optical density of carbon
_STRIP_PIXELS = 65_536  # their intermediate arrays stay in a processor's cache
MIN_AREA_UM2 = 6_000.0  # specks and holes below about half a 20x tile are noise
# for ink by hue, red ink, black ink: a vessel full of blood or a patch of pigment is smaller than a stroke
_SMALLEST_INK_UM2 = (0.25 * MIN_AREA_UM2, 50_000.0, 50_000.0)
_STROKE_UM = 120.0  # minimum width of black ink
_EVEN = 6  # largest difference in grey levels among a pixel's neighbours
_MIN_GLASS = 0.01  # share of the slide
# lowest channel of tinted glass, the same on a slide that also has white, and its saturation in grey levels
_DARKEST_GLASS, _DARKEST_BESIDE_WHITE, _MAX_TINT = 100, 180, 100
PEN_HALO_UM = 64.0  # how far thin ink extends beyond the part detected by hue: about 80 um around red pen
Planes = Sequence[NDArray[np.float32]]


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
    # Between two well-separated classes every empty bin is equally good: take the middle of that plateau.
    return float(edges[1:-1][np.isclose(between[:-1], best, rtol=1e-9)].mean())


def glass_colour(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the colour of empty glass: the median of bright, nearly grey pixels; white if there are few.

    If tinted glass exceeds grey glass, its colour is returned: it is bright and even, as tissue never is (of 20 regions and
    slides the most even has 0.2 % of such pixels). White that was never scanned is not glass.
    """
    red, green, blue = planes = np.ascontiguousarray(np.moveaxis(image, -1, 0))
    lowest = np.minimum(np.minimum(red, green), blue)
    highest = np.maximum(np.maximum(red, green), blue)
    plain = (lowest > 205) & (highest - lowest < 16)
    tinted = (lowest > _DARKEST_GLASS) & ~plain & (highest - lowest < _MAX_TINT)
    few, least = plain.mean() < _MIN_GLASS, max(_MIN_GLASS * plain.size, (plain & (lowest < 254)).sum())
    if tinted.sum() > least:
        for plane in planes:
            tinted &= _even(plane)
        if tinted.sum() > least:
            glass = np.array([np.median(plane[tinted]) for plane in planes])
            if few or glass.min() > _DARKEST_BESIDE_WHITE:
                return glass
    if few:
        return np.full(3, 255.0)
    return np.array([np.median(plane[plain]) for plane in planes])


def _pen_pixels(image: Planes, density: Planes) -> NDArray[np.bool_]:
    """Return where each kind of ink certainly is and where it may be, (kind, certain or possible, rows, columns).

    Haematoxylin and eosin absorb green most, and a section of a few micrometres has an optical density of little over 1.

    - by hue: green and blue ink absorb red most, yellow and orange ink blue;
    - red: eosin and packed red blood cells absorb green as well, but never as much of it while they transmit red;
    - black: transmits almost nothing in any channel. Pigment is browner, dense nuclei transmit blue; navy ink absorbs as
      much red as green, far more than nuclei do.
    """
    red, green, blue = (plane.astype(np.uint8).astype(np.float32) + 1.0 for plane in image)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    no_red, no_green, no_blue = density
    most, least = np.maximum(np.maximum(*density[:2]), no_blue), np.minimum(np.minimum(*density[:2]), no_blue)
    by_hue = (spread > 15) & (green > red * 1.15) & (green > blue * 0.85)
    by_hue |= (spread > 40) & (blue > red * 1.6) & (green > red * 1.1)
    by_hue |= no_blue - no_green > 1.2
    maybe_hue = (spread > 12) & (green > red * 1.03)
    # differences, so that tissue below the ink hardly counts: tissue absorbs at most 1.0, blood included, and ink 1.2 to 2.6
    depth, rest = no_green - no_red, no_blue - no_red
    red_ink = (depth > 1.5) & (rest > 0.3 * depth)
    red_ink |= (depth > 1.15) & (rest > 0.5 * depth) & (no_red < 0.15 * no_green)
    maybe_red = red_ink | (depth > 0.4) & (rest > 0.58 * depth)
    grey = most - least < 0.26 * most
    black_ink = grey & (least > 1.0) | (np.minimum(no_red, no_green) > 1.5) & (no_red > 0.7 * no_green)
    maybe_black = grey & (least > 0.35)
    return np.array(
        [[by_hue, maybe_hue | by_hue], [red_ink, maybe_red], [black_ink, maybe_black | black_ink]]
    )


def _smoothed(plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return means of 3 x 3 pixels, bit for bit those of scipy's `uniform_filter` in a third of its time."""
    padded = np.pad(plane, 1, mode="edge").astype(np.uint16)
    rows = ((padded[:-2] + padded[1:-1] + padded[2:]).astype(np.float32) / np.float32(3)).astype(np.float64)
    total = rows[:, :-2] + rows[:, 1:-1]
    total += rows[:, 2:]
    total /= 3
    return total.astype(np.float32)


def _spread(planes: Planes) -> NDArray[np.float32]:
    first, second, third = planes
    return np.maximum(np.maximum(first, second), third) - np.minimum(np.minimum(first, second), third)


def dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Dilate a mask by a cross of five pixels, like scipy's `binary_dilation`, which takes ten times as long."""
    inner = np.pad(mask, 1)
    rows = inner[:-2, 1:-1] | inner[1:-1, 1:-1] | inner[2:, 1:-1]
    return np.asarray(rows | inner[1:-1, :-2] | inner[1:-1, 2:])


def eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask eroded by a cross of five pixels; the array is smaller by one pixel on each side."""
    rows = mask[:-2, 1:-1] & mask[1:-1, 1:-1] & mask[2:, 1:-1]
    return np.asarray(rows & mask[1:-1, :-2] & mask[1:-1, 2:])


def _without_small(mask: NDArray[np.bool_], min_pixels: float) -> NDArray[np.bool_]:
    """Remove components of fewer pixels, 4-connected; by runs of pixels, since importing scipy's `label` takes a quarter of a second."""
    height, width = mask.shape[0], mask.shape[1] + 1
    flat = np.zeros(height * width + 1, bool)  # rows, each followed by a gap
    flat[1:].reshape(height, width)[:, :-1] = mask
    borders = np.flatnonzero(flat[1:] != flat[:-1])
    starts, ends = borders[::2], borders[1::2]
    # each run with those below it: the neighbours in the graph of runs
    first, last = np.searchsorted(ends, starts + width, "right"), np.searchsorted(starts, ends + width)
    count = last - first
    above = np.repeat(np.arange(len(starts)), count)
    below = np.arange(len(above)) + np.repeat(first - (np.cumsum(count) - count), count)
    root = np.arange(len(starts))
    while (root[above] != root[below]).any():
        pair = root[above], root[below]
        np.minimum.at(root, np.maximum(*pair), np.minimum(*pair))
        while (root[root] != root).any():
            root = root[root]
    keep = (np.bincount(root, ends - starts) >= min_pixels)[root]
    steps = np.zeros(height * width, np.int8)
    steps[starts[keep]], steps[ends[keep]] = 1, -1
    return np.cumsum(steps, dtype=np.int8).view(bool).reshape(height, width)[:, :-1]


def _even(plane: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where neighbours hardly differ, as on glass and on ink."""

    def extreme(of: np.ufunc) -> NDArray[np.uint8]:  # of 3 x 3 pixels, many times as fast as scipy's filters
        rows = of(of(padded[:-2], padded[1:-1]), padded[2:])
        return np.asarray(of(of(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]))

    padded = np.pad(plane, 1, mode="edge")
    return np.asarray(extreme(np.maximum) - extreme(np.minimum) <= _EVEN)


def _pen(ink: NDArray[np.bool_], image: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    """Return where pen is, with a margin, from the :func:`_pen_pixels` of the whole thumbnail."""
    by_hue, red, black = (
        _without_small(certain, max(4.0, smallest / mpp**2))
        for certain, smallest in zip(ink[:, 0], _SMALLEST_INK_UM2)
    )
    if not (by_hue.any() or red.any() or black.any()):
        return by_hue
    from scipy import ndimage

    # ink thins out at its edges: follow it
    pen = ndimage.binary_propagation(by_hue, mask=ink[0, 1]) if by_hue.any() else by_hue
    if red.any():  # a dry pen leaves strokes that do not touch
        pen = pen | _without_small(ink[1, 1], max(4.0, 0.25 * MIN_AREA_UM2 / mpp**2))
    if black.any():  # pigment is black too, but neither as even nor as wide as a stroke
        core = ndimage.binary_erosion(black, iterations=max(1, round(_STROKE_UM / 2 / mpp)))
        core = _without_small(core & _even(image[..., 1]), 4.0)
        pen = pen | ndimage.binary_propagation(core, mask=ink[2, 1])
    if pen.any():  # pixels at its border or in its gaps are not reliable
        pen = ndimage.binary_dilation(pen, iterations=max(2, round(PEN_HALO_UM / mpp)))
    return pen


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
    """
    glass = glass_colour(image)
    colour = np.empty(image.shape[:2], np.float32)
    dense, dark = np.empty(image.shape[:2], bool), np.empty(image.shape[:2], bool)
    ink = np.empty((len(_SMALLEST_INK_UM2), 2, *image.shape[:2]), bool)
    high = max(1, _STRIP_PIXELS // image.shape[1])
    for top in range(
        0, len(image), high
    ):  # in strips: the intermediate arrays of a large slide take gigabytes
        above, below = max(top - 1, 0), min(top + high + 1, len(image))
        rows = slice(top, min(top + high, len(image)))
        inner = slice(top - above, top - above + rows.stop - top)
        # by channel: reducing over a last axis of three takes 25 times as long
        smooth = [_smoothed(image[above:below, :, c])[inner] for c in range(3)]
        density = [
            -np.log(np.minimum((plane + np.float32(1)) / np.float32(clear + 1), 1))
            for plane, clear in zip(smooth, glass.tolist())
        ]
        colour[rows] = _spread(density)
        mean = (density[0] + density[1] + density[2]) / np.float32(3)
        dense[rows] = (mean > MIN_DENSITY) & (_spread(smooth) / np.float32(255) > MIN_SATURATION)
        dark[rows] = mean > PIGMENT_DENSITY
        ink[:, :, rows] = _pen_pixels(smooth, density)
    usable = np.ones(colour.shape, bool) if readable is None else readable
    threshold = float(np.clip(otsu(colour[usable]), MIN_COLOUR, MAX_COLOUR)) if usable.any() else MAX_COLOUR
    stained = usable & (colour > threshold) & dense
    if (dark & usable & ~stained).any():  # carbon has no colour: if tissue surrounds it, it is tissue
        from scipy import ndimage

        stained |= dark & usable & ndimage.binary_fill_holes(stained)
    pen = _pen(ink, image, mpp)
    small = max(2.0, MIN_AREA_UM2 / mpp**2)
    tissue = eroded(dilated(np.pad(stained, 1))) | stained
    tissue = ~_without_small(~tissue, small)
    tissue = _without_small(tissue, small) & ~pen & usable
    return TissueMask(tissue, pen, glass, threshold)
