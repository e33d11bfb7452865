"""From stain concentrations to pixels: Beer-Lambert with each slide's own haematoxylin and eosin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathduet.phantom.textures import BLOCK, Texture, Textures

#: By laboratory: optical-density directions (R, G, B) of haematoxylin and eosin, and the factor on both concentrations.
STAINERS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float]] = {
    "own": ((0.54, 0.75, 0.38), (0.19, 0.88, 0.44), 1.0),
    "other": ((0.62, 0.69, 0.37), (0.29, 0.89, 0.35), 1.22),
}

_SENSOR_SD = 1.3


@dataclass(frozen=True)
class Stain:
    """How one slide was stained and scanned.

    Attributes
    ----------
    matrix : (2, 3) float64
        Unit optical-density vectors; rows haematoxylin, eosin; columns R, G, B.
    strength : (2,) float64
        Factor on the haematoxylin and the eosin concentration.
    glass : (3,) float64
        Intensity of empty glass in R, G, B (0-255).
    """

    matrix: np.ndarray
    strength: np.ndarray
    glass: np.ndarray


def draw_stain(laboratory: str, rng: np.random.Generator) -> Stain:
    """Draw a slide's stain near its laboratory's: a few degrees and about ten percent off."""
    haematoxylin, eosin, strength = STAINERS[laboratory]
    matrix = np.array([haematoxylin, eosin]) + rng.normal(0.0, 0.018, (2, 3))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return Stain(
        matrix=matrix,
        strength=strength * np.exp(rng.normal(0.0, 0.09, 2)),
        glass=np.array([245.0, 244.0, 246.0]) + rng.normal(0.0, 1.2, 3),
    )


def to_rgb(
    haematoxylin: np.ndarray, eosin: np.ndarray, stain: Stain, noise: Textures, rng: np.random.Generator
) -> np.ndarray:
    """Render concentrations as I = I_glass exp(-C S), with sensor noise.

    Parameters
    ----------
    haematoxylin, eosin : (H, W) float32
        Concentrations, >= 0.
    stain : Stain
        The slide's stain.
    noise : Textures
        Its `sensor` texture is used.
    rng : numpy.random.Generator
        Draws the offset of each channel in the noise texture.

    Returns
    -------
    (H, W, 3) uint8
    """
    height, width = haematoxylin.shape
    rgb = np.empty((height, width, 3), dtype=np.uint8)
    vectors = -(stain.matrix * stain.strength[:, None]).astype(np.float32)
    log_glass = np.log(stain.glass).astype(np.float32)
    starts = rng.integers(0, noise.sensor.period, (3, 2))
    grain = Texture(noise.sensor.values * np.float32(_SENSOR_SD), noise.sensor.period)
    empty = [Texture(_bytes(grain.values + np.float32(g + 0.5)), grain.period) for g in stain.glass]
    for y in range(0, height, BLOCK):
        for x in range(0, width, BLOCK):
            h, e = haematoxylin[y : y + BLOCK, x : x + BLOCK], eosin[y : y + BLOCK, x : x + BLOCK]
            glass = not (h.any() or e.any())
            for c in range(3):
                place = int(y + starts[c, 0]), int(x + starts[c, 1]), *h.shape
                if glass:
                    value = empty[c].block(*place)
                else:
                    value = h * vectors[0, c]
                    value += e * vectors[1, c]
                    value += log_glass[c]
                    np.exp(value, out=value)
                    value += grain.block(*place)
                    value += np.float32(0.5)
                    value = _bytes(value)
                rgb[y : y + BLOCK, x : x + BLOCK, c] = value
    return rgb


def _bytes(value: np.ndarray) -> np.ndarray:
    return np.clip(value, 0.0, 255.0).astype(np.uint8)
