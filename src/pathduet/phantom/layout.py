"""Where a phantom slide has tissue, and which region of the tumour each spot belongs to.

The map has 8 um pixels. The patient's programmes determine the region shares, each through its channel (:data:`CHANNELS`):
cells shift tissue from infiltrating to cellular tumour; necrosis, vessels and (inversely) the leading edge set their own
regions. Regions lie as in a glioma: the leading edge outside, then infiltrating, then cellular tumour, which contains
necrosis and vessels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

#: Pixel size of the region map in micrometres.
MAP_MPP = 8.0

GLASS, LEADING_EDGE, INFILTRATING, CELLULAR, PSEUDOPALISADING, MICROVASCULAR, NECROSIS = range(7)

#: Channels in which a programme can show.
CHANNELS = ("cells", "necrosis", "vessels", "edge")
#: Index in the region map -> (name, its channel, RGB in the preview palette).
REGIONS: dict[int, tuple[str, str, tuple[int, int, int]]] = {
    GLASS: ("glass", "", (255, 255, 255)),
    LEADING_EDGE: ("leading_edge", "edge", (33, 143, 166)),
    INFILTRATING: ("infiltrating_tumor", "edge", (210, 5, 208)),
    CELLULAR: ("cellular_tumor", "cells", (5, 208, 4)),
    PSEUDOPALISADING: ("pseudopalisading_cells", "cells", (6, 208, 170)),
    MICROVASCULAR: ("microvascular_proliferation", "vessels", (255, 102, 0)),
    NECROSIS: ("necrosis", "necrosis", (5, 5, 5)),
}

_PALISADE_UM = 48.0


@dataclass(frozen=True)
class Extents:
    """Shares of the tissue area; they add up to 1 (pseudopalisading cells count as cellular tumour)."""

    leading_edge: float
    infiltrating: float
    cellular: float
    microvascular: float
    necrosis: float


@dataclass(frozen=True)
class Layout:
    """A slide's region map.

    Attributes
    ----------
    labels : (H, W) uint8
        Keys of :data:`REGIONS`, one per 8 um pixel.
    edge_um : (H, W) float32
        Distance to the tissue's outline, including holes and tears: positive inside, micrometres.
    necrosis_um : (H, W) float32
        Distance to the nearest necrosis (large where there is none), micrometres.
    """

    labels: np.ndarray
    edge_um: np.ndarray
    necrosis_um: np.ndarray


def extents(shown: Mapping[str, float], rng: np.random.Generator, noise: float = 0.25) -> Extents:
    """Return the region shares of one slide.

    Parameters
    ----------
    shown : mapping of str to float
        The programme of each channel as this slide shows it (standardised; higher = more malignant).
    rng : numpy.random.Generator
        Source of the slide's own deviation.
    noise : float
        SD of that deviation on the logit scale.
    """
    e = noise * rng.standard_normal(4)
    necrosis = 0.26 * _sigmoid(1.5 * shown["necrosis"] - 0.9 + e[0])
    microvascular = 0.20 * _sigmoid(1.3 * shown["vessels"] - 0.5 + e[1])
    leading_edge = 0.40 * _sigmoid(-1.3 * shown["edge"] - 0.2 + e[2])
    rest = 1.0 - necrosis - microvascular - leading_edge
    cellular = rest * _sigmoid(1.4 * shown["cells"] + 0.1 + e[3])
    return Extents(leading_edge, rest - cellular, cellular, microvascular, necrosis)


def lay_out(height: int, width: int, extent: Extents, rng: np.random.Generator) -> Layout:
    """Draw the tissue's outline and place the regions by the given shares.

    Parameters
    ----------
    height, width : int
        Size of the map in 8 um pixels.
    extent : Extents
        Shares to realise; exact up to the rounding of pixels, except where a tear removes tissue.
    rng : numpy.random.Generator
        Source of shapes.
    """
    from scipy import ndimage

    side = min(height, width)
    tissue, across = _outline(height, width, rng)

    # Depth from the invasive front: radial and directional gradients, wrinkled by smooth noise.
    inside = ndimage.distance_transform_edt(np.pad(tissue, 1))[1:-1, 1:-1]
    depth = (
        rng.uniform(0.5, 1.3) * across
        + rng.uniform(0.3, 1.0) * inside / max(float(inside.max()), 1.0)
        + 0.22 * smooth_noise(height, width, side / 9, rng)
        + 0.07 * smooth_noise(height, width, side / 28, rng)
    )
    labels = np.zeros((height, width), dtype=np.uint8)
    spots = np.flatnonzero(tissue)
    order = spots[np.argsort(depth.ravel()[spots], kind="stable")]
    n_edge = round(extent.leading_edge * len(order))
    n_infiltrating = round(extent.infiltrating * len(order))
    flat = labels.ravel()
    flat[order] = CELLULAR
    flat[order[:n_edge]] = LEADING_EDGE
    flat[order[n_edge : n_edge + n_infiltrating]] = INFILTRATING

    # Necrosis is serpiginous (a level set near zero of smooth noise), vascular fields are patches around it.
    core = order[n_edge + n_infiltrating :]
    winding = -np.abs(smooth_noise(height, width, side / 10, rng)) + 0.5 * smooth_noise(
        height, width, side / 14, rng
    )
    core = core[np.argsort(-winding.ravel()[core], kind="stable")]
    n_necrosis = round(extent.necrosis * len(order))
    flat[core[:n_necrosis]] = NECROSIS
    core = core[n_necrosis:]
    patches = smooth_noise(height, width, side / 16, rng)
    core = core[np.argsort(-patches.ravel()[core], kind="stable")]
    flat[core[: round(extent.microvascular * len(order))]] = MICROVASCULAR

    if n_necrosis:
        necrosis_um = (MAP_MPP * ndimage.distance_transform_edt(labels != NECROSIS)).astype(np.float32)
    else:
        necrosis_um = np.full((height, width), 1e6, dtype=np.float32)
    labels[(labels == CELLULAR) & (necrosis_um <= _PALISADE_UM)] = PSEUDOPALISADING

    tissue &= ~_gaps(height, width, tissue, rng)
    labels[~tissue] = GLASS
    return Layout(labels, _signed_distance_um(tissue), necrosis_um)


def shares(labels: np.ndarray) -> dict[str, float]:
    """Return each region's share of the tissue pixels of a region map, by region name."""
    counts = np.bincount(labels.ravel(), minlength=len(REGIONS))
    total = max(int(counts[1:].sum()), 1)
    return {REGIONS[i][0]: counts[i] / total for i in range(1, len(REGIONS))}


def _sigmoid(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-x)))


def smooth_noise(height: int, width: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return Gaussian noise of zero mean and unit variance, smooth over `sigma` map pixels, without a seam."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(
        rng.standard_normal((height, width)), np.clip(sigma, 0.8, min(height, width) / 6), mode="wrap"
    )
    return (noise - noise.mean()) / noise.std()


def _outline(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the tissue mask and a gradient across it (about -1 ... 1 along a random direction)."""
    from scipy import ndimage

    y, x = np.mgrid[:height, :width]
    y, x = 2.0 * (y + 0.5) / height - 1.0, 2.0 * (x + 0.5) / width - 1.0
    angle = rng.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    power = rng.uniform(2.0, 3.5)
    body = 1.0 - (np.abs(u / rng.uniform(0.92, 1.05)) ** power + np.abs(v / rng.uniform(0.72, 0.95)) ** power)
    side = min(height, width)
    body += 0.16 * smooth_noise(height, width, side / 9, rng)
    body += 0.05 * smooth_noise(height, width, side / 30, rng)
    margin = 1.0 - np.maximum(np.abs(x), np.abs(y))
    body = np.where(margin > 0.04, body, -np.inf)
    wanted = round(rng.uniform(0.50, 0.64) * height * width)
    tissue = body > np.sort(body.ravel())[-wanted]
    tissue = ndimage.binary_fill_holes(ndimage.binary_opening(tissue, iterations=1))
    pieces, n = ndimage.label(tissue)
    sizes = np.bincount(pieces.ravel())[1:]
    tissue = np.isin(pieces, 1 + np.flatnonzero(sizes >= 0.03 * sizes.max())) if n else tissue
    direction = rng.uniform(0, 2 * np.pi)
    return tissue, x * np.cos(direction) + y * np.sin(direction)


def _gaps(height: int, width: int, tissue: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels lost to round holes and to a narrow tear, at most a few percent of the tissue."""
    gaps = np.zeros((height, width), dtype=bool)
    spots = np.argwhere(tissue)
    y, x = np.mgrid[:height, :width]
    side = min(height, width)
    for _ in range(rng.integers(0, 3)):
        cy, cx = spots[rng.integers(len(spots))]
        a, b = side * rng.uniform(0.010, 0.030, 2)
        gaps |= ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1.0
    if rng.random() < 0.5:
        cy, cx = spots[rng.integers(len(spots))]
        reach = side * rng.uniform(0.08, 0.22)
        crack = np.abs(smooth_noise(height, width, side / 12, rng)) < 0.045
        gaps |= crack & ((y - cy) ** 2 + (x - cx) ** 2 < reach**2)
    return gaps


def _signed_distance_um(mask: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    padded = np.pad(mask, 1)
    inside, outside = ndimage.distance_transform_edt(padded), ndimage.distance_transform_edt(~padded)
    return (MAP_MPP * (inside - outside)[1:-1, 1:-1]).astype(np.float32)
