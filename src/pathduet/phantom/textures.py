"""Seamless noise textures that make up the tissue's background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathduet.phantom.random_numbers import generator

#: Side of the squares in which a slide is rendered, pixels; textures are extended by it so that any
#: square can be taken as a view.
BLOCK = 256


@dataclass(frozen=True)
class Texture:
    """A periodic float32 texture with zero mean and unit SD, extended by one block beyond its period."""

    values: np.ndarray
    period: int

    def block(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """Return the (height, width) view that starts at (y, x), wrapped around the period."""
        y, x = y % self.period, x % self.period
        return self.values[y : y + height, x : x + width]


@dataclass(frozen=True)
class Textures:
    """All textures at one pixel size.

    Attributes
    ----------
    grain : Texture
        Granules of a half to two micrometres.
    fibres : tuple of 4 Texture
        Processes of glial cells, running at 0, 45, 90 and 135 degrees.
    sponge : Texture
        Noise of one to three micrometres, whose peaks become the small holes of the neuropil.
    cysts : Texture
        Smooth noise of eight micrometres, whose peaks become microcysts.
    cloud : Texture
        Slow variation over tens of micrometres.
    debris : Texture
        Clumps of several sizes, for necrosis.
    sensor : Texture
        White noise, a pixel wide.
    """

    grain: Texture
    fibres: tuple[Texture, Texture, Texture, Texture]
    sponge: Texture
    cysts: Texture
    cloud: Texture
    debris: Texture
    sensor: Texture


#: By seed and pixel size.
_built: dict[tuple[int, float], Textures] = {}


def textures(seed: int, mpp: float) -> Textures:
    """Return the textures of a cohort at `mpp` micrometres per pixel (built once per process)."""
    if (seed, mpp) not in _built:
        _built[seed, mpp] = _build(seed, mpp)
    return _built[seed, mpp]


def take(built: dict[tuple[int, float], Textures]) -> None:
    """Keep textures that another process built."""
    _built.update(built)


def _build(seed: int, mpp: float) -> Textures:
    rng = generator(seed, "textures", f"{mpp:.4f}")
    # Different periods, in whole micrometres, so that their combination does not repeat visibly.
    fibres = [_fibre(440, mpp, np.pi * k / 4, rng) for k in range(4)]
    return Textures(
        grain=_octaves(300, mpp, (0.35, 0.9, 2.0), (0.7, 0.8, 0.35), rng),
        fibres=(fibres[0], fibres[1], fibres[2], fibres[3]),
        sponge=_octaves(380, mpp, (0.75, 1.5, 2.8), (0.8, 0.6, 0.35), rng),
        cysts=_isotropic(512, mpp, 4.5, rng),
        cloud=_isotropic(500, mpp, 14.0, rng),
        debris=_octaves(420, mpp, (0.45, 1.1, 2.6, 7.0), (0.7, 0.8, 0.7, 0.35), rng),
        sensor=_extend(rng.standard_normal((509, 509)).astype(np.float32)),
    )


def _frequencies(n: int, mpp: float) -> tuple[np.ndarray, np.ndarray]:
    return np.fft.fftfreq(n, mpp)[:, None] * 2 * np.pi, np.fft.rfftfreq(n, mpp)[None, :] * 2 * np.pi


def _filtered(n: int, transfer: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((n, n))) * transfer, s=(n, n))
    return ((field - field.mean()) / field.std()).astype(np.float32)


def _extend(field: np.ndarray) -> Texture:
    return Texture(np.pad(field, (0, BLOCK), mode="wrap"), len(field))


def _isotropic(side_um: float, mpp: float, sigma_um: float, rng: np.random.Generator) -> Texture:
    n = round(side_um / mpp)
    ky, kx = _frequencies(n, mpp)
    return _extend(_filtered(n, np.exp(-0.5 * sigma_um**2 * (ky**2 + kx**2)), rng))


def _octaves(
    side_um: float,
    mpp: float,
    sigmas: tuple[float, ...],
    weights: tuple[float, ...],
    rng: np.random.Generator,
) -> Texture:
    n = round(side_um / mpp)
    ky, kx = _frequencies(n, mpp)
    field = sum(
        w * _filtered(n, np.exp(-0.5 * s**2 * (ky**2 + kx**2)), rng)
        for s, w in zip(sigmas, weights, strict=True)
    )
    field = np.asarray(field)
    return _extend(((field - field.mean()) / field.std()).astype(np.float32))


def _fibre(side_um: float, mpp: float, angle: float, rng: np.random.Generator) -> Texture:
    """Noise that is elongated along `angle` and a micrometre across; slightly wavy from a blend of spreads."""
    n = round(side_um / mpp)
    ky, kx = _frequencies(n, mpp)
    transfer = np.zeros((n, n // 2 + 1))
    for spread, weight in ((-0.55, 0.7), (-0.25, 0.9), (0.0, 1.0), (0.3, 0.8), (0.6, 0.7)):
        along = kx * np.cos(angle + spread) + ky * np.sin(angle + spread)
        across = -kx * np.sin(angle + spread) + ky * np.cos(angle + spread)
        transfer += weight * np.exp(-0.5 * ((3.6 * along) ** 2 + (0.55 * across) ** 2))
    transfer[0, 0] = 0.0
    return _extend(_filtered(n, transfer, rng))
