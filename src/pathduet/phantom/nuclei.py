"""Nuclei as small pre-rendered stamps, and code to stamp them onto the concentration maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Number of directions in which elongated nuclei are rendered (they cover half a turn).
DIRECTIONS = 12


@dataclass(frozen=True)
class Stamp:
    """A rendered cell, all arrays (k, k) float32.

    Attributes
    ----------
    haematoxylin : ndarray
        Concentration; the darker of stamp and background is kept.
    keep : ndarray
        Factor on the underlying eosin (below 1 in the nucleus and in a halo).
    eosin : ndarray
        Eosin added, the cell's cytoplasm.
    """

    haematoxylin: np.ndarray
    keep: np.ndarray
    eosin: np.ndarray


@dataclass(frozen=True)
class Cell:
    """A cell to draw; its nucleus is a perturbed ellipse of equal area to a circle of `diameter_um`.

    Attributes
    ----------
    ratio : float
        Short over long axis of the nucleus.
    angle : float
        Direction of the long axis, radians.
    irregular : float
        Amplitude of the outline's harmonics relative to the radius.
    amplitude : float
        Haematoxylin concentration of the nucleus.
    contrast : float
        Relative SD of the chromatin.
    nucleoli, nucleolus : int, float
        Number of nucleoli and their relative darkness.
    halo_um, halo : float
        Width and depth (0-1) of the clear ring around the nucleus.
    cytoplasm_um, cytoplasm, cytoplasm_h : float
        Width of the cell body beyond the nucleus, its eosin, and its haematoxylin relative to 1.
    eccentric_um : float
        Offset of the nucleus from the centre of the cell body.
    corners : float
        Amplitude of three corners of the cell body relative to its radius.
    """

    diameter_um: float
    ratio: float
    angle: float
    irregular: float
    amplitude: float
    contrast: float
    nucleoli: int = 0
    nucleolus: float = 0.5
    halo_um: float = 0.0
    halo: float = 0.0
    cytoplasm_um: float = 0.0
    cytoplasm: float = 0.0
    cytoplasm_h: float = 0.04
    eccentric_um: float = 0.0
    corners: float = 0.0


@dataclass(frozen=True)
class Morphology:
    """Appearance of the nuclei of one slide.

    Attributes
    ----------
    size_um : float
        Mean diameter of tumour nuclei, micrometres.
    pleomorphism : float
        SD of the logarithm of their diameter.
    chromasia : float
        Factor on the haematoxylin of tumour nuclei.
    roundness : float
        0 = elongated and irregular (astrocytic), 1 = round with clear halos (oligodendroglial).
    """

    size_um: float
    pleomorphism: float
    chromasia: float
    roundness: float


class Bank:
    """The stamps of one slide, by kind of cell.

    Parameters
    ----------
    morphology : Morphology
        Morphology of the slide's tumour cells.
    mpp : float
        Micrometres per pixel.
    rng : numpy.random.Generator
        Draws shapes and chromatin.
    """

    def __init__(self, morphology: Morphology, mpp: float, rng: np.random.Generator) -> None:
        from scipy import ndimage

        self.mpp, self.rng = mpp, rng
        chromatin = ndimage.gaussian_filter(rng.standard_normal((512, 512)), 0.42 / mpp, mode="wrap")
        self.chromatin = (chromatin / chromatin.std()).astype(np.float32)
        m = morphology
        self.kinds: dict[str, list[Stamp]] = {
            "tumor": [self._tumor(m) for _ in range(140)],
            "giant": [self._giant(m) for _ in range(10)],
            "gemistocyte": [self._gemistocyte(m) for _ in range(14)],
            "mitosis": [self._mitosis() for _ in range(10)],
            "glia": [self._glia(m) for _ in range(40)],
            "neuron": [self._neuron() for _ in range(10)],
            "lymphocyte": [self._round(rng.uniform(4.6, 5.8), 1.35) for _ in range(12)],
            "pyknotic": [self._round(rng.uniform(1.2, 4.2), rng.uniform(0.8, 1.5)) for _ in range(30)],
            "ghost": [self._ghost() for _ in range(30)],
            "erythrocyte": [self._erythrocyte() for _ in range(8)],
        }
        self.spindles = [
            [self._spindle(m, np.pi * k / DIRECTIONS) for _ in range(7)] for k in range(DIRECTIONS)
        ]

    def pick(self, kind: str) -> Stamp:
        """Return a random stamp of a kind, turned or mirrored at random."""
        stamps = self.kinds[kind]
        turn, stamp = int(self.rng.integers(8)), stamps[int(self.rng.integers(len(stamps)))]
        return Stamp(*(_turned(a, turn) for a in (stamp.haematoxylin, stamp.keep, stamp.eosin)))

    def spindle(self, angle: float) -> Stamp:
        """Return an elongated nucleus whose long axis runs along `angle` (radians, x to y)."""
        row = self.spindles[round(angle % np.pi / np.pi * DIRECTIONS) % DIRECTIONS]
        return row[int(self.rng.integers(len(row)))]

    def _tumor(self, m: Morphology) -> Stamp:
        rng = self.rng
        diameter = m.size_um * np.exp(m.pleomorphism * rng.standard_normal())
        diameter = float(np.clip(diameter, 5.0, 17.0))
        ratio = np.clip(rng.normal(0.62 + 0.28 * m.roundness, 0.12), 0.38, 0.98)
        return self._render(
            Cell(
                diameter,
                float(ratio),
                rng.uniform(0, np.pi),
                irregular=(1.0 - 0.75 * m.roundness) * rng.uniform(0.03, 0.16),
                amplitude=m.chromasia * rng.uniform(0.50, 1.25),
                contrast=rng.uniform(0.12, 0.38),
                nucleoli=int(rng.integers(0, 3)),
                halo_um=rng.uniform(0.6, 1.6) + 2.2 * m.roundness * rng.random(),
                halo=float(np.clip(rng.normal(0.25 + 0.60 * m.roundness, 0.2), 0.0, 0.95)),
                cytoplasm_um=rng.uniform(1.0, 3.5) * (1.0 - m.roundness),
                cytoplasm=rng.uniform(0.0, 0.30) * (1.0 - 0.7 * m.roundness),
            )
        )

    def _giant(self, m: Morphology) -> Stamp:
        rng = self.rng
        return self._render(Cell(
            rng.uniform(13.0, 20.0), rng.uniform(0.55, 0.95), rng.uniform(0, np.pi),
            irregular=rng.uniform(0.15, 0.30), amplitude=m.chromasia * rng.uniform(0.8, 1.2),
            contrast=0.35, nucleoli=int(rng.integers(1, 4)), cytoplasm_um=6.0, cytoplasm=0.30,
        ))  # fmt: skip

    def _gemistocyte(self, m: Morphology) -> Stamp:
        rng = self.rng
        return self._render(Cell(
            m.size_um * rng.uniform(0.85, 1.1), rng.uniform(0.7, 0.95), rng.uniform(0, np.pi),
            irregular=0.06, amplitude=m.chromasia * rng.uniform(0.7, 1.0), contrast=0.25, nucleoli=1,
            cytoplasm_um=rng.uniform(6.0, 9.0), cytoplasm=rng.uniform(0.30, 0.48), eccentric_um=rng.uniform(2.0, 4.0),
        ))  # fmt: skip

    def _mitosis(self) -> Stamp:
        rng = self.rng
        return self._render(Cell(
            rng.uniform(6.5, 9.0), rng.uniform(0.28, 0.5), rng.uniform(0, np.pi),
            irregular=0.25, amplitude=1.7, contrast=0.25, halo_um=2.8, halo=0.75,
        ))  # fmt: skip

    def _glia(self, m: Morphology) -> Stamp:
        rng = self.rng
        return self._render(Cell(
            rng.uniform(5.2, 7.2), rng.uniform(0.75, 1.0), rng.uniform(0, np.pi),
            irregular=0.04, amplitude=rng.uniform(0.85, 1.3), contrast=0.18,
            halo_um=rng.uniform(0.5, 2.2), halo=rng.uniform(0.2, 0.9),
        ))  # fmt: skip

    def _neuron(self) -> Stamp:
        rng = self.rng
        return self._render(Cell(
            rng.uniform(7.5, 9.5), rng.uniform(0.85, 1.0), rng.uniform(0, np.pi),
            irregular=0.03, amplitude=0.60, contrast=0.25, nucleoli=1, nucleolus=1.2,
            cytoplasm_um=rng.uniform(3.0, 5.0), cytoplasm=0.30, cytoplasm_h=0.36, halo_um=0.0, halo=0.0,
            eccentric_um=1.0, corners=0.30,
        ))  # fmt: skip

    def _round(self, diameter_um: float, amplitude: float) -> Stamp:
        rng = self.rng
        return self._render(Cell(
            diameter_um, rng.uniform(0.8, 1.0), rng.uniform(0, np.pi), irregular=0.08, amplitude=amplitude,
            contrast=0.12, halo_um=0.8, halo=0.25,
        ))  # fmt: skip

    def _ghost(self) -> Stamp:
        rng = self.rng
        return self._render(Cell(
            rng.uniform(6.0, 11.0), rng.uniform(0.6, 0.95), rng.uniform(0, np.pi), irregular=0.12,
            amplitude=rng.uniform(0.05, 0.22), contrast=0.5, cytoplasm_um=2.5, cytoplasm=rng.uniform(0.08, 0.25),
            halo_um=1.2, halo=0.35,
        ))  # fmt: skip

    def _erythrocyte(self) -> Stamp:
        rng = self.rng
        cell = self._render(Cell(
            rng.uniform(5.6, 7.0), rng.uniform(0.75, 1.0), rng.uniform(0, np.pi), irregular=0.05,
            amplitude=1.0, contrast=0.03,
        ))  # fmt: skip
        return Stamp(0.03 * cell.haematoxylin, cell.keep, 1.05 * cell.haematoxylin)

    def _spindle(self, m: Morphology, angle: float) -> Stamp:
        rng = self.rng
        return self._render(Cell(
            rng.uniform(6.0, 8.0) * (m.size_um / 7.0) ** 0.5, rng.uniform(0.30, 0.48), angle + rng.normal(0, 0.08),
            irregular=0.06, amplitude=m.chromasia * rng.uniform(0.55, 1.1), contrast=0.25,
            nucleoli=int(rng.integers(0, 2)), halo_um=0.7, halo=0.3, cytoplasm_um=1.5, cytoplasm=0.15,
        ))  # fmt: skip

    def _render(self, cell: Cell) -> Stamp:
        """Draw a cell at a sub-pixel offset, like real nuclei."""
        rng, mpp = self.rng, self.mpp
        half, flat = 0.5 * cell.diameter_um, np.sqrt(cell.ratio)
        a, b = half / flat, half * flat
        body_um = (cell.cytoplasm_um + cell.eccentric_um) * (1 + cell.corners) + cell.corners * a
        r = int(np.ceil((a * (1 + cell.irregular) + max(cell.halo_um, body_um) + 1.2) / mpp))
        y, x = np.mgrid[-r : r + 1, -r : r + 1].astype(np.float32) * np.float32(mpp)
        y, x = y + rng.uniform(-0.5, 0.5) * mpp, x + rng.uniform(-0.5, 0.5) * mpp
        cos, sin = np.cos(cell.angle), np.sin(cell.angle)
        u, v = x * cos + y * sin, y * cos - x * sin
        theta = np.arctan2(v / b, u / a)
        outline = 1.0 + cell.irregular * sum(
            rng.normal() / np.sqrt(k) * np.cos(k * theta + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5)
        )
        rho = np.sqrt((u / a) ** 2 + (v / b) ** 2) / np.clip(outline, 0.6, 1.5)
        radius = np.sqrt(a * b)
        beyond_um = (rho - 1.0) * radius  # distance to the nuclear envelope, positive outside
        nucleus = 1.0 / (1.0 + np.exp(np.clip(beyond_um / 0.24, -30.0, 30.0)))

        n = len(y)
        cy, cx = rng.integers(0, 512 - n, 2) if n < 512 else (0, 0)
        chromatin = 1.0 + cell.contrast * self.chromatin[cy : cy + n, cx : cx + n]
        chromatin += 0.22 * np.exp(-((beyond_um / 0.55 + 0.7) ** 2))
        for _ in range(cell.nucleoli):
            direction, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5) * b
            spot = (x - distance * np.cos(direction)) ** 2 + (y - distance * np.sin(direction)) ** 2
            chromatin += cell.nucleolus * np.exp(-spot / (2 * 0.62**2))
        haematoxylin = cell.amplitude * nucleus * np.clip(chromatin, 0.25, 2.0)

        keep = 1.0 - 0.55 * nucleus
        if cell.halo_um > 0:
            ring = np.clip(1.0 - np.abs(beyond_um / cell.halo_um - 0.5) * 1.2, 0.0, 1.0)
            keep *= 1.0 - cell.halo * ring * (1 - nucleus)
        body = np.zeros_like(rho)
        if cell.cytoplasm > 0:
            sideways = rng.uniform(0, 2 * np.pi)
            du, dv = cell.eccentric_um * np.cos(sideways), cell.eccentric_um * np.sin(sideways)
            wide, high = a + cell.cytoplasm_um, b + cell.cytoplasm_um
            grown = np.sqrt(((u - du) / wide) ** 2 + ((v - dv) / high) ** 2) / outline
            grown /= 1.0 + cell.corners * np.cos(3 * theta + rng.uniform(0, 2 * np.pi))
            body = np.clip((1.0 - grown) * 4.0, 0.0, 1.0) * (1.0 - 0.8 * nucleus)
            body *= 1.0 + 0.12 * self.chromatin[cx : cx + n, cy : cy + n]
            keep *= 1.0 - 0.5 * np.clip(body, 0.0, 1.0)
            haematoxylin += cell.cytoplasm_h * body
        planes = (haematoxylin, keep, cell.cytoplasm * body)
        return Stamp(*(plane.astype(np.float32) for plane in planes))


@dataclass(frozen=True)
class Canvas:
    """The stain maps of a slide in progress, and the cells to draw with.

    Attributes
    ----------
    haematoxylin, eosin : (H, W) float32
        Concentrations.
    bank : Bank
        The slide's cells; it also has the slide's pixel size and random numbers.
    """

    haematoxylin: np.ndarray
    eosin: np.ndarray
    bank: Bank

    def stamp(self, cell: Stamp, y_um: float, x_um: float) -> None:
        """Draw a cell centred at a position, in place; a cell that crosses the border is skipped."""
        k = cell.haematoxylin.shape[0]
        y, x = round(y_um / self.bank.mpp) - k // 2, round(x_um / self.bank.mpp) - k // 2
        if y < 0 or x < 0 or y + k > self.haematoxylin.shape[0] or x + k > self.haematoxylin.shape[1]:
            return
        h, e = self.haematoxylin[y : y + k, x : x + k], self.eosin[y : y + k, x : x + k]
        np.maximum(h, cell.haematoxylin, out=h)
        e *= cell.keep
        e += cell.eosin


def _turned(a: np.ndarray, turn: int) -> np.ndarray:
    a = a[::-1] if turn & 1 else a
    a = a[:, ::-1] if turn & 2 else a
    return a.T if turn & 4 else a


def scatter(
    height_um: float, width_um: float, spacing_um: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return (y, x) in micrometres of a rotated, jittered hexagonal lattice: points that keep a distance.

    Parameters
    ----------
    height_um, width_um : float
        The area to cover.
    spacing_um : float
        Distance between lattice neighbours; the density is 2 / (sqrt(3) spacing^2).
    rng : numpy.random.Generator
        Draws the rotation and the jitter (SD 0.24 spacings).
    """
    reach = 0.5 * np.hypot(height_um, width_um) + 2 * spacing_um
    rows = np.arange(-reach, reach, spacing_um * np.sqrt(3) / 2)
    columns = np.arange(-reach, reach, spacing_um)
    v, u = np.meshgrid(rows, columns, indexing="ij")
    u = u + 0.5 * spacing_um * (np.arange(len(rows)) % 2)[:, None]
    angle = rng.uniform(0, np.pi / 3)
    u, v = u + rng.normal(0, 0.24 * spacing_um, u.shape), v + rng.normal(0, 0.24 * spacing_um, v.shape)
    y = 0.5 * height_um + u * np.sin(angle) + v * np.cos(angle)
    x = 0.5 * width_um + u * np.cos(angle) - v * np.sin(angle)
    inside = (y >= 0) & (y < height_um) & (x >= 0) & (x < width_um)
    return y[inside], x[inside]
