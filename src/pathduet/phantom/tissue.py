"""Haematoxylin and eosin concentrations of a whole phantom slide: background, vessels, nuclei."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathduet.phantom import vessels
from pathduet.phantom.layout import (
    CELLULAR,
    GLASS,
    INFILTRATING,
    LEADING_EDGE,
    MAP_MPP,
    MICROVASCULAR,
    NECROSIS,
    PSEUDOPALISADING,
    Layout,
    smooth_noise,
)
from pathduet.phantom.nuclei import Bank, Canvas, Morphology, scatter
from pathduet.phantom.textures import BLOCK, Texture, Textures

_SPACING_UM = 10.5
_PER_MM2 = 1e6 * 2 / (np.sqrt(3) * _SPACING_UM**2)


@dataclass(frozen=True)
class Histology:
    """The look of one slide's tissue beyond its layout.

    Attributes
    ----------
    morphology : Morphology
        Morphology of the tumour nuclei.
    cellularity : float
        Factor on the number of tumour nuclei per square millimetre.
    mitoses : float
        Share of tumour nuclei in mitosis.
    gemistocytes : float
        Share of tumour cells with a swollen eosinophilic body.
    microcysts : float
        0-1, how much of the tumour's background is microcystic.
    """

    morphology: Morphology
    cellularity: float
    mitoses: float
    gemistocytes: float
    microcysts: float


#: Cells per square millimetre by region, before the slide's cellularity: tumour, glia, neurons, lymphocytes.
_DENSITY: dict[int, tuple[float, float, float, float]] = {
    GLASS: (0.0, 0.0, 0.0, 0.0),
    LEADING_EDGE: (90.0, 680.0, 70.0, 8.0),
    INFILTRATING: (900.0, 520.0, 20.0, 20.0),
    CELLULAR: (4200.0, 60.0, 0.0, 40.0),
    PSEUDOPALISADING: (6300.0, 0.0, 0.0, 40.0),
    MICROVASCULAR: (2900.0, 60.0, 0.0, 160.0),
    NECROSIS: (0.0, 0.0, 0.0, 30.0),
}

#: Tumour nuclei per square millimetre by region, before the slide's cellularity.
TUMOR_NUCLEI = {region: cells[0] for region, cells in _DENSITY.items()}

#: Background by region: eosin, haematoxylin, amplitude of fibres, level of the sponge above which holes begin.
_BACKGROUND: dict[int, tuple[float, float, float, float]] = {
    GLASS: (0.45, 0.06, 0.20, 1.9),
    LEADING_EDGE: (0.60, 0.045, 0.08, 1.35),
    INFILTRATING: (0.53, 0.060, 0.14, 1.20),
    CELLULAR: (0.40, 0.085, 0.24, 0.80),
    PSEUDOPALISADING: (0.38, 0.095, 0.24, 0.75),
    MICROVASCULAR: (0.40, 0.085, 0.24, 0.85),
    NECROSIS: (0.55, 0.070, 0.0, 2.6),
}


#: A background without this much of microcysts has none.
_NO_CYST = 0.02
#: Micrometres from the tissue's outline beyond which noise of any size leaves the rim full.
_RIM_UM = 80.0


def render(
    layout: Layout, histology: Histology, mpp: float, noise: Textures, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Render a slide's stain concentrations.

    Parameters
    ----------
    layout : Layout
        Region map of (H, W) 8 um pixels.
    histology : Histology
        The slide's cells.
    mpp : float
        Micrometres per pixel; 8 / mpp must be an integer.
    noise : Textures
        Textures at `mpp`.
    rng : numpy.random.Generator
        Source of everything random on this slide.

    Returns
    -------
    haematoxylin, eosin : (H * 8 / mpp, W * 8 / mpp) float32
        Concentrations >= 0; about 1 in a nucleus and 0.5 in neuropil; exactly 0 on glass.
    """
    haematoxylin, eosin = _background(layout, histology, mpp, noise, rng)
    canvas = Canvas(haematoxylin, eosin, Bank(histology.morphology, mpp, rng))
    taken = _vessels(canvas, layout, histology)
    _cells(canvas, layout, histology, taken)
    return haematoxylin, eosin


def _corners(field: np.ndarray) -> np.ndarray:
    """Return a map's values at the corners of its pixels, (H + 1, W + 1) float32."""
    p = np.pad(field.astype(np.float32), 1, mode="edge")
    return 0.25 * (p[:-1, :-1] + p[1:, :-1] + p[:-1, 1:] + p[1:, 1:])


def _enlarge(corners: np.ndarray, factor: int) -> np.ndarray | np.float32:
    """Interpolate (n + 1, m + 1) corner values bilinearly to (n * factor, m * factor) pixel centres; equal corners to one number."""
    if (corners == corners[0, 0]).all():
        return np.float32(corners[0, 0])
    t = (np.arange(factor, dtype=np.float32) + 0.5) / factor
    rows = corners[:-1, None, :] + t[:, None] * (corners[1:, None, :] - corners[:-1, None, :])
    rows = rows.reshape(-1, corners.shape[1])
    left, step = rows[:, :-1], np.diff(rows, axis=1)
    return (left[:, :, None] + t * step[:, :, None]).reshape(len(rows), -1)


def _background(
    layout: Layout, histology: Histology, mpp: float, noise: Textures, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    from scipy import ndimage

    labels = layout.labels
    height, width = labels.shape
    factor = round(MAP_MPP / mpp)
    # Glass takes the values of the nearest region, so that the rim of the tissue is not paler than the rest.
    nearest = ndimage.distance_transform_edt(labels == GLASS, return_distances=False, return_indices=True)
    filled = labels[tuple(nearest)]
    table = np.array([_BACKGROUND[i] for i in range(len(_BACKGROUND))], dtype=np.float32)
    fields = [ndimage.gaussian_filter(table[filled, k], 1.6) for k in range(table.shape[1])]
    fields.append(ndimage.gaussian_filter((filled == NECROSIS).astype(np.float32), 1.0))
    cyst = np.isin(filled, (INFILTRATING, CELLULAR)).astype(np.float32)
    cyst *= np.clip(0.5 + 0.5 * smooth_noise(height, width, 9.0, rng), 0.0, 1.0) * histology.microcysts
    fields.append(ndimage.gaussian_filter(cyst, 2.0))
    fields.append(np.clip(1.0 + 0.09 * smooth_noise(height, width, 14.0, rng), 0.7, 1.3))
    flow = np.stack([smooth_noise(height, width, 18.0, rng) for _ in range(2)])
    flow /= np.sqrt((flow**2).sum(axis=0)) + 1e-9
    fields += [flow[0], flow[1], layout.edge_um]
    corners = np.stack([_corners(f) for f in fields])

    haematoxylin = np.zeros((height * factor, width * factor), dtype=np.float32)
    eosin = np.zeros(haematoxylin.shape, dtype=np.float32)
    cells = BLOCK // factor
    starts = rng.integers(0, 4096, (12, 2))
    for i in range(0, height, cells):
        for j in range(0, width, cells):
            part = corners[:, i : i + cells + 1, j : j + cells + 1]
            if part[-1].max() < -12.0:
                continue
            e, h = _background_block(part, factor, i * factor, j * factor, noise, starts)
            eosin[i * factor : i * factor + len(e), j * factor : j * factor + e.shape[1]] = e
            haematoxylin[i * factor : i * factor + len(h), j * factor : j * factor + h.shape[1]] = h
    return haematoxylin, eosin


def _background_block(
    corners: np.ndarray, factor: int, y: int, x: int, noise: Textures, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return eosin and haematoxylin of one block whose first pixel is (y, x)."""
    rows, columns = (factor * (n - 1) for n in corners.shape[1:])
    necrosis, cystic, flow_x, flow_y, edge = corners[4], corners[5], corners[7], corners[8], corners[9]

    def cut(texture: Texture, k: int) -> np.ndarray:
        return texture.block(y + int(starts[k, 0]), x + int(starts[k, 1]), rows, columns)

    grain, cloud = cut(noise.grain, 0), cut(noise.cloud, 1)
    fibres = np.zeros((rows, columns), dtype=np.float32)
    for k, flow in enumerate((flow_x, flow_y, -flow_x, -flow_y)):
        if flow.max() > 0:
            fibres += np.maximum(_enlarge(flow, factor), 0) * cut(noise.fibres[k], 3 + k)
    e = _enlarge(corners[0], factor) * (
        1.0 + _enlarge(corners[2], factor) * fibres + 0.24 * grain + 0.08 * cloud
    )
    h = _enlarge(corners[1], factor) * (1.0 + 0.25 * cut(noise.grain, 7) + 0.25 * cut(noise.cloud, 8))

    # Small holes of the neuropil, larger and merging ones where the tissue is loose, then microcysts.
    level = _enlarge(corners[3], factor)
    empty = np.clip((cut(noise.sponge, 9) + 0.25 * cloud - level) * 1.1, 0.0, 1.0)
    if cystic.max() > _NO_CYST:
        loose = _enlarge(cystic, factor)
        cyst = np.clip((cut(noise.cysts, 10) - 2.6 + 1.9 * loose) * 3.0, 0.0, 1.0)
        empty = np.maximum(empty, cyst * (loose > _NO_CYST))
    e *= 1.0 - 0.86 * empty
    h *= 1.0 - 0.80 * empty

    if necrosis.max() > 0:  # smudged eosin in clumps, basophilic dust, no fibres
        dead = _enlarge(necrosis, factor)
        clumps = 0.50 * (1.0 + 0.36 * cut(noise.debris, 2) + 0.20 * grain)
        dust = 0.05 + 0.10 * np.maximum(cut(noise.debris, 11), 0.0)
        e += dead * (np.maximum(clumps, 0.06) - e)
        h += dead * (dust - h)

    thickness = _enlarge(corners[6], factor)
    if edge.min() < _RIM_UM:
        thickness = thickness * np.clip(
            (_enlarge(edge, factor) + 7.0 * cloud + 4.0 * cut(noise.debris, 2)) / 3.0, 0.0, 1.0
        )
    e *= thickness
    h *= thickness
    return np.maximum(e, 0.0), np.maximum(h, 0.0)


def _vessels(canvas: Canvas, layout: Layout, histology: Histology) -> np.ndarray:
    """Draw the vessels; return their part of a 4 um map, where no other cell may lie."""
    labels, rng = layout.labels, canvas.bank.rng
    taken = np.zeros((2 * labels.shape[0], 2 * labels.shape[1]), dtype=bool)
    mm2 = MAP_MPP**2 * 1e-6

    def places(region: np.ndarray, per_mm2: float, inset_um: float) -> np.ndarray:
        spots = np.argwhere(region & (layout.edge_um > inset_um))
        count = rng.poisson(per_mm2 * mm2 * len(spots)) if len(spots) else 0
        return MAP_MPP * (spots[rng.integers(0, max(len(spots), 1), count)] + rng.random((count, 2)))

    def claim(y: float, x: float, radius: float) -> bool:
        r = int(radius / 4.0) + 1
        cy, cx = int(y / 4.0), int(x / 4.0)
        window = taken[max(cy - r, 0) : cy + r + 1, max(cx - r, 0) : cx + r + 1]
        if window.any():
            return False
        gy, gx = np.ogrid[max(cy - r, 0) - cy : cy + r + 1, max(cx - r, 0) - cx : cx + r + 1]
        window |= (gy**2 + gx**2)[: window.shape[0], : window.shape[1]] <= (radius / 4.0) ** 2
        return True

    for y, x in places(labels == MICROVASCULAR, 450.0, 28.0):
        size = rng.uniform(22.0, 40.0)
        if claim(y, x, 0.95 * size):
            if rng.random() < 0.6:
                vessels.tuft(canvas, y, x, size)
            else:
                vessels.cross_section(canvas, y, x, size, size * rng.uniform(0.35, 0.6))
    solid = np.isin(labels, (INFILTRATING, CELLULAR, MICROVASCULAR))
    for y, x in places(solid | (labels == LEADING_EDGE), 9.0, 50.0):
        size = rng.uniform(9.0, 22.0)
        if claim(y, x, size):
            vessels.cross_section(canvas, y, x, size, rng.uniform(2.5, 5.5))
    # Delicate branching capillaries accompany round cells.
    thin = 10.0 + 45.0 * histology.morphology.roundness
    for y, x in places(solid, thin, 60.0):
        vessels.along(canvas, y, x, rng.uniform(40.0, 110.0), rng.uniform(1.6, 2.8))
    for y, x in places(solid | (labels == LEADING_EDGE), 2.5, 80.0):
        vessels.along(canvas, y, x, rng.uniform(120.0, 260.0), rng.uniform(7.0, 13.0))
    return taken


def _cells(canvas: Canvas, layout: Layout, histology: Histology, taken: np.ndarray) -> None:
    """Scatter cells of all kinds by region and stamp them."""
    from scipy import ndimage

    bank, rng = canvas.bank, canvas.bank.rng
    height, width = layout.labels.shape
    # Cell density changes over some 20 um at a region's border, and is patchy at about 60 um within it.
    table = np.array([_DENSITY[i] for i in range(len(_DENSITY))])
    table[:, 0] *= histology.cellularity
    density = np.stack([ndimage.gaussian_filter(table[layout.labels, k], 1.2) for k in range(4)])
    density[0] *= np.clip(1.0 + 0.22 * smooth_noise(height, width, 4.0, rng), 0.4, 1.7)
    total = density.sum(axis=0)

    y, x = scatter(height * MAP_MPP, width * MAP_MPP, _SPACING_UM, rng)
    row, column = (y / MAP_MPP).astype(int), (x / MAP_MPP).astype(int)
    free = (rng.random(len(y)) * _PER_MM2 < total[row, column]) & (layout.edge_um[row, column] > 2.0)
    free &= ~taken[(y / 4.0).astype(int), (x / 4.0).astype(int)]
    y, x, row, column = y[free], x[free], row[free], column[free]
    share = np.cumsum(density[:, row, column], axis=0) / np.maximum(total[row, column], 1e-9)
    kind = (rng.random(len(y)) > share).sum(axis=0)

    slope_y, slope_x = np.gradient(ndimage.gaussian_filter(np.minimum(layout.necrosis_um, 400.0), 1.5))
    radial = np.arctan2(slope_y, slope_x)
    palisade = layout.labels[row, column] == PSEUDOPALISADING
    morphology = histology.morphology
    giants = 0.02 * morphology.pleomorphism * (1.0 - morphology.roundness)
    shares = np.cumsum([histology.mitoses, histology.gemistocytes, giants])
    draw, spread = rng.random(len(y)), rng.normal(0.0, 0.3, len(y))
    names = ("tumor", "glia", "neuron", "lymphocyte")
    for i in range(len(y)):
        if kind[i] != 0:
            cell = bank.pick(names[kind[i]])
        elif palisade[i] and draw[i] > 0.25:
            cell = bank.spindle(float(radial[row[i], column[i]] + spread[i]))
        elif draw[i] < shares[0]:
            cell = bank.pick("mitosis")
        elif draw[i] < shares[1]:
            cell = bank.pick("gemistocyte")
        elif draw[i] < shares[2]:
            cell = bank.pick("giant")
        else:
            cell = bank.pick("tumor")
        canvas.stamp(cell, y[i], x[i])

    y, x = scatter(height * MAP_MPP, width * MAP_MPP, 17.0, rng)
    dead = layout.labels[(y / MAP_MPP).astype(int), (x / MAP_MPP).astype(int)] == NECROSIS
    draw = rng.random(len(y))
    for i in map(int, np.flatnonzero(dead & (draw < 0.62))):
        canvas.stamp(bank.pick("ghost" if draw[i] < 0.40 else "pyknotic"), y[i], x[i])
