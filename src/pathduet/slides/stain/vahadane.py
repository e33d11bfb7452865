"""Stain separation with sparse, non-negative dictionaries of two stains.

A. Vahadane et al., Structure-preserving color normalization and sparse stain separation for histological images,
IEEE Trans. Med. Imaging 35(8), 2016. Optical densities x (3 numbers a pixel) are explained by a stain matrix D (2 x 3,
non-negative rows of norm 1) and concentrations a >= 0:

    min over D of  mean over pixels of  min over a >= 0 of  |x - a D|^2 / 2 + lambda (a_1 + a_2)

With two stains the inner problem has four active sets, each solved in closed form, so all pixels are solved at once
and exactly; the outer one has four angles, and by the envelope theorem its gradient needs only the residuals of
the inner solution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathduet.core.errors import PathDuetError

Floats = NDArray[np.floating]
MIN_DENSITY = 1e-6  # of a white pixel
#: The penalty of staintools' concentrations; its dictionary learning uses 0.1.
CONCENTRATION_REGULARIZER = 0.01
# Haematoxylin and eosin of Ruifrok & Johnston (2001), as one starting point.
_TYPICAL = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
_TOO_CLOSE_DEGREES = 3.0
_RARE = 0.01
_ALIKE = 1e-12  # the search may try one direction twice


class StainError(PathDuetError):
    """Two stains cannot be separated in the given pixels."""


def optical_density(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the natural optical density, ``-ln(rgb / 255)`` with 0 read as 1, at least 1e-6; same shape."""
    return np.maximum(-np.log(np.maximum(rgb, 1).astype(np.float64) / 255.0), MIN_DENSITY)


def lightness(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return CIE LAB lightness L* / 100 (D65) of (..., 3) sRGB pixels."""
    linear = np.arange(256) / 255.0
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    luminance: NDArray[np.float64] = linear[rgb] @ np.array([0.212671, 0.715160, 0.072169])
    bright = 116.0 * np.cbrt(luminance) - 16.0
    return np.asarray(np.where(luminance > 0.008856, bright, 903.3 * luminance) / 100.0, np.float64)


def concentrations(
    density: Floats, stains: Floats, regularizer: float = CONCENTRATION_REGULARIZER
) -> NDArray[np.float64]:
    """Solve the non-negative lasso of two stains exactly, for all pixels at once.

    Minimises ``|x - a D|^2 / 2 + regularizer (a_1 + a_2)`` over ``a >= 0``.

    Parameters
    ----------
    density : (n, 3) array
        Optical densities.
    stains : (2, 3) array
        Stain matrix, rows of norm 1.
    regularizer : float
        Sparsity weight.

    Returns
    -------
    (n, 2) float64 array
    """
    overlap = float(stains[0] @ stains[1])
    b = density @ stains.T - regularizer
    apart = max(1.0 - overlap**2, _ALIKE)
    first = (b[:, 0] - overlap * b[:, 1]) / apart
    second = (b[:, 1] - overlap * b[:, 0]) / apart
    # All four active sets in one formula, since 0 <= overlap < 1: where one component of the unconstrained
    # solution is negative, the other becomes the projection on its stain alone, at least 0.
    result: NDArray[np.float64] = np.stack(
        [
            np.maximum(first + overlap * np.minimum(second, 0), 0),
            np.maximum(second + overlap * np.minimum(first, 0), 0),
        ],
        axis=-1,
    )
    return result


def objective(density: Floats, stains: Floats, regularizer: float) -> float:
    """Return the dictionary-learning objective of a stain matrix: the mean lasso loss per pixel."""
    a = concentrations(density, stains, regularizer)
    residual = density - a @ stains
    return float(0.5 * (residual**2).sum(1).mean() + regularizer * a.sum(1).mean())


def _from_angles(angles: Floats) -> NDArray[np.float64]:
    """Return two unit vectors of the positive octant: (cos u cos v, sin u, cos u sin v), green being the pole."""
    u, v = angles[0::2], angles[1::2]
    return np.stack([np.cos(u) * np.cos(v), np.sin(u), np.cos(u) * np.sin(v)], axis=1)


def _to_angles(stains: Floats) -> NDArray[np.float64]:
    u = np.arcsin(np.clip(stains[:, 1], 0, 1))
    v = np.arctan2(stains[:, 2], stains[:, 0])
    return np.stack([u, v], axis=1).ravel()


def _extreme_directions(density: Floats) -> NDArray[np.float64]:
    """Return the two extreme directions in the pixels' plane, as in Macenko et al. (2009): another start."""
    _, vectors = np.linalg.eigh(density.T @ density)
    plane = vectors[:, [2, 1]]
    plane *= np.where(plane.sum(0) < 0, -1.0, 1.0)
    angle = np.arctan2(density @ plane[:, 1], density @ plane[:, 0])
    rim = np.percentile(angle, [1, 99])
    directions = np.maximum(np.stack([np.cos(rim), np.sin(rim)], axis=1) @ plane.T, 1e-3)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def stain_matrix(density: Floats, regularizer: float = 0.1) -> NDArray[np.float64]:
    """Learn the stain matrix of a pixel sample; deterministic.

    Parameters
    ----------
    density : (n, 3) array
        Optical densities of tissue pixels (background left out).
    regularizer : float
        Sparsity weight lambda of the dictionary learning.

    Returns
    -------
    (2, 3) float64 array
        Rows of norm 1, haematoxylin (the one that absorbs more red) first.

    Raises
    ------
    StainError
        If there are too few pixels, or they show only one stain: the two rows coincide, or one of
        them is hardly used.
    """
    from scipy.optimize import minimize

    density = np.ascontiguousarray(density, np.float64)
    if len(density) < 100:
        raise StainError(f"only {len(density)} tissue pixels to learn two stains from")

    # One row per stain: three times as fast as one row per pixel. With a at its optimum, the loss and its gradient
    # need only x D^T, a^T x and a^T a of the pixels, so no residual is computed.
    columns = np.ascontiguousarray(density.T)
    n, half_square = len(density), 0.5 * float((density**2).sum()) / len(density)
    a = np.empty((2, n))

    def loss(angles: Floats) -> tuple[float, Floats]:
        stains = _from_angles(angles)
        overlap = float(stains[0] @ stains[1])
        b = stains @ columns
        b -= regularizer
        b /= max(1.0 - overlap**2, _ALIKE)
        free = np.array([[1.0, -overlap], [-overlap, 1.0]]) @ b  # the solution without the constraint
        for amount, own, other in (
            (a[0], free[0], free[1]),
            (a[1], free[1], free[0]),
        ):  # as in `concentrations`
            np.minimum(other, 0, out=amount)
            amount *= overlap
            amount += own
            np.maximum(amount, 0, out=amount)
        a_x, a_a = a @ density, a @ a.T
        misfit = (0.5 * (a_a * (stains @ stains.T)).sum() - (a_x * stains).sum()) / n
        slope = (a_a @ stains - a_x) / n  # d value / d stains: concentrations are at their optimum
        u, v = angles[0::2], angles[1::2]
        by_u = np.stack([-np.sin(u) * np.cos(v), np.cos(u), -np.sin(u) * np.sin(v)], axis=1)
        by_v = np.stack([-np.cos(u) * np.sin(v), np.zeros(2), np.cos(u) * np.cos(v)], axis=1)
        value = half_square + float(misfit) + regularizer * float(a.sum()) / n
        return value, np.stack([(slope * by_u).sum(1), (slope * by_v).sum(1)], axis=1).ravel()

    starts = [_to_angles(_extreme_directions(density)), _to_angles(_TYPICAL)]
    found = [
        minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, np.pi / 2)] * 4,
            options={"maxiter": 300, "ftol": 1e-13, "gtol": 1e-8},
        )
        for start in starts
    ]
    stains = _from_angles(min(found, key=lambda result: result.fun).x)
    if stains[0, 0] < stains[1, 0]:
        stains = stains[::-1]
    apart = float(np.degrees(np.arccos(np.clip(stains[0] @ stains[1], -1, 1))))
    share = (concentrations(density, stains, regularizer) > 0).mean(0)
    if apart < _TOO_CLOSE_DEGREES or share.min() < _RARE:
        raise StainError(
            f"the pixels show one stain only (directions {apart:.1f} degrees apart, the rarer one in "
            f"{100 * share.min():.1f} % of pixels)"
        )
    return np.ascontiguousarray(stains)
