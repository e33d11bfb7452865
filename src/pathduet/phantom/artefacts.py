"""Typical artefacts of real slides: folds, patches out of focus, pen marks."""

from __future__ import annotations

from typing import Any

import numpy as np

_INKS = {"green": (0.75, 0.18, 0.62), "blue": (1.20, 0.72, 0.15), "black": (1.25, 1.30, 1.25)}


def spoil_tissue(
    haematoxylin: np.ndarray, eosin: np.ndarray, mpp: float, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Add a fold (one slide in five) and a patch out of focus (one in seven) to the concentrations, in place.

    Returns
    -------
    list of dict
        The artefacts: `kind` and `box_px`, the affected (x, y, width, height) at level 0.
    """
    done = []
    height, width = eosin.shape
    side_um = min(height, width) * mpp
    if rng.random() < 0.20:
        done.append(_fold(haematoxylin, eosin, mpp, side_um, rng))
    if rng.random() < 1 / 7:
        done.append(_blur(haematoxylin, eosin, mpp, side_um, rng))
    return done


def mark_with_pen(rgb: np.ndarray, mpp: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Draw a short pen stroke at the slide's edge (one slide in eight), in place; return its record."""
    if rng.random() >= 1 / 8:
        return []
    height, width, _ = rgb.shape
    side_um = min(height, width) * mpp
    ink = sorted(_INKS)[int(rng.integers(len(_INKS)))]
    length, thick = rng.uniform(0.14, 0.24) * side_um / mpp, rng.uniform(0.018, 0.028) * side_um / mpp
    corner = rng.integers(0, 2, 2)
    cy = height * (0.085 if corner[0] else 0.915)
    cx = width * (0.16 if corner[1] else 0.84)
    angle = rng.uniform(-0.35, 0.35)
    reach_x, reach_y = int(0.5 * length + 2 * thick), int(0.2 * length + 2 * thick)
    top, bottom = max(int(cy) - reach_y, 0), min(int(cy) + reach_y, height)
    left, right = max(int(cx) - reach_x, 0), min(int(cx) + reach_x, width)
    y, x = np.ogrid[top:bottom, left:right]
    along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle) - 0.25 * thick * np.sin(6 * along / length)
    beyond = np.maximum(np.abs(along) - 0.5 * length, 0.0)
    distance = np.sqrt(beyond**2 + across**2)
    cover = np.clip((thick - distance) / (6.0 / mpp), 0.0, 1.0)
    streaks = 0.8 + 0.2 * np.cos(across / thick * rng.uniform(5, 9) + rng.uniform(0, 6))
    density = (cover * streaks).astype(np.float32)[..., None] * np.array(_INKS[ink], dtype=np.float32)
    patch = rgb[top:bottom, left:right]
    patch[:] = (patch * np.exp(-density) + 0.5).astype(np.uint8)
    return [{"kind": f"pen_{ink}", "box_px": [left, top, right - left, bottom - top]}]


def _middle(eosin: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Return a pixel in the inner part of the slide."""
    height, width = eosin.shape
    return int(rng.uniform(0.3, 0.7) * height), int(rng.uniform(0.3, 0.7) * width)


def _fold(
    haematoxylin: np.ndarray, eosin: np.ndarray, mpp: float, side_um: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Double the tissue along a narrow band: both concentrations rise together."""
    cy, cx = _middle(eosin, rng)
    length, thick = rng.uniform(0.12, 0.25) * side_um / mpp, rng.uniform(14.0, 28.0) / mpp
    angle, bend = rng.uniform(0, np.pi), rng.uniform(-0.12, 0.12)
    reach = int(0.55 * length + 2 * thick)
    top, bottom = max(cy - reach, 0), min(cy + reach, eosin.shape[0])
    left, right = max(cx - reach, 0), min(cx + reach, eosin.shape[1])
    y, x = np.ogrid[top:bottom, left:right]
    along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle) - bend * length * np.cos(3 * along / length)
    taper = np.clip(1.0 - (2 * along / length) ** 2, 0.0, 1.0)
    inside = np.clip((thick * np.sqrt(taper) - np.abs(across)) * mpp / 3.0, 0.0, 1.0)
    factor = (1.0 + rng.uniform(0.7, 1.0) * inside).astype(np.float32)
    haematoxylin[top:bottom, left:right] *= factor
    eosin[top:bottom, left:right] *= factor
    return {"kind": "fold", "box_px": [left, top, right - left, bottom - top]}


def _blur(
    haematoxylin: np.ndarray, eosin: np.ndarray, mpp: float, side_um: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Put a round patch slightly out of focus."""
    from scipy import ndimage

    cy, cx = _middle(eosin, rng)
    reach = int(rng.uniform(0.06, 0.11) * side_um / mpp)
    sigma = rng.uniform(1.2, 2.2) / mpp
    window = np.s_[cy - reach : cy + reach, cx - reach : cx + reach]
    y, x = np.ogrid[-reach:reach, -reach:reach]
    weight = np.clip(3.0 * (1.0 - np.sqrt(x**2 + y**2) / reach), 0.0, 1.0).astype(np.float32)
    for plane in (haematoxylin, eosin):
        sharp = plane[window]
        sharp += weight * (ndimage.gaussian_filter(sharp, sigma, truncate=3.0) - sharp)
    return {"kind": "out_of_focus", "box_px": [cx - reach, cy - reach, 2 * reach, 2 * reach]}
