"""The map of a slide's colours to the target's: a pure function of a pixel's colour, so a table can hold it.

The fit is in :mod:`pathduet.slides.stain.stain_matrix`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pathduet.slides.stain import vahadane
from pathduet.slides.stain.stain_matrix import Stains, white_table

Normalizer = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
_EXACT = 32  # levels below go in steps of one: a step of two would be a large relative error
_STEPS = _EXACT + (256 - _EXACT) // 2
_AT_ONCE = 3 * 16_384  # bytes of pixels: their intermediate arrays stay in a processor's cache


def normalizer(source: Stains, target: Stains, backend: str = "closed_form") -> Normalizer:
    """Return the function that maps a slide's colours to the target's.

    Concentrations of the slide's stains (exact lasso), scaled by the ratio of maximum concentrations, are recombined
    with the target's stains. The slide's white becomes white, and nothing becomes NaN: white absorbs no light, so both
    concentrations are 0.

    Parameters
    ----------
    source, target : Stains
        Stains of the slide and of the target.
    backend : {"closed_form", "staintools", "none"}
        Solver for the concentrations.

    Returns
    -------
    callable
        From (..., 3) uint8 to a new array of the same shape.
    """
    if backend == "none":
        return lambda rgb: rgb
    scaled = (target.max_concentrations / source.max_concentrations)[:, None] * target.matrix
    if backend == "staintools":
        from pathduet.slides.stain import staintools_backend

        white = white_table(source.white)

        def through_staintools(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
            balanced = np.take_along_axis(white, rgb.reshape(-1, 3), axis=0)
            amounts = staintools_backend.concentrations(balanced, source.matrix)
            return np.rint(255.0 * np.exp(-(amounts @ scaled))).astype(np.uint8).reshape(rgb.shape)

        return through_staintools

    return ColourTable(source, scaled)


class ColourTable:
    """The closed-form map of a slide's colours, as a table that fits a processor's cache.

    Levels of 32 and more go in steps of two, each at its mean density; white stays white. So a colour is mapped like one that
    differs by less than a level in each channel: half a level off on average, a quarter of it from rounding. A table of
    all 256^3 colours, 64 MiB, would be exact, but its look-ups wait for memory.

    Parameters
    ----------
    source : Stains
    scaled : (2, 3) array
        The target's stain matrix times the ratio of maximum concentrations.
    """

    def __init__(self, source: Stains, scaled: NDArray[np.float64]) -> None:
        overlap = float(source.matrix[0] @ source.matrix[1])
        gram = np.linalg.inv(np.array([[1.0, overlap], [overlap, 1.0]]))
        density = vahadane.optical_density(white_table(source.white))
        pairs = density[_EXACT:].reshape(-1, 2, 3)
        steps = np.where(pairs[:, 1] > vahadane.MIN_DENSITY, pairs.mean(1), pairs[:, 1])
        parts = (gram @ source.matrix)[:, :, None] * np.concatenate([density[:_EXACT], steps]).T
        parts[:, 0] -= (gram @ np.full(2, vahadane.CONCENTRATION_REGULARIZER))[:, None]
        stains = parts.astype(np.float32)  # (stain, channel, step)
        # indexed by the three steps' bytes, read as one number
        table = np.zeros((_STEPS, 256, 256, 4), np.uint8)
        for blue in range(_STEPS):
            first, second = (one[2, blue] + one[1][:, None] + one[0] for one in stains)
            result = table[blue, :_STEPS, :_STEPS, :3]
            _mix(first, second, np.float32(overlap), scaled.astype(np.float32), result)
        self._table = table.view("<u4").reshape(-1)

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map (..., 3) uint8 colours to a new array of the same shape."""
        colours, mapped = rgb.reshape(-1), np.empty(rgb.size + 1, np.uint8)
        padded = np.empty(_AT_ONCE + 1, np.uint8)
        for start in range(0, colours.size, _AT_ONCE):
            part = colours[start : start + _AT_ONCE]
            steps = padded[: part.size]
            np.right_shift(part, 1, out=steps)
            steps += np.uint8(_EXACT // 2)
            np.minimum(part, steps, out=steps)
            # read four bytes at every third, mask the fourth: padding pixels to four bytes took longer than all the rest
            places = np.ndarray(part.size // 3, "<u4", padded, strides=(3,)) & np.uint32(0xFFFFFF)
            # write back: each pixel's fourth byte is overwritten by the next pixel's first
            there = np.ndarray(len(places), "<u4", mapped, offset=start, strides=(3,))
            there[:] = self._table.take(places, mode="clip")
        return mapped[:-1].reshape(rgb.shape)


def _mix(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    overlap: np.float32,
    scaled: NDArray[np.float32],
    result: NDArray[np.uint8],
) -> None:
    """Apply the constraint to two stains' concentrations and write their colours into `result`."""
    # the four active sets in one formula, as in vahadane.concentrations; in place, as memory is the bottleneck
    amounts, other = [], np.empty_like(first)
    none = np.zeros_like(first)  # a scalar 0 takes four times as long
    for own, counter in ((first, second), (second, first)):
        amount = np.minimum(counter, none)
        amount *= overlap
        amount += own
        amounts.append(np.maximum(amount, none, out=amount))
    light = np.empty_like(first)
    for channel in range(3):
        np.multiply(amounts[0], -scaled[0, channel], out=light)
        np.multiply(amounts[1], scaled[1, channel], out=other)
        light -= other
        np.exp(light, out=light)
        light *= np.float32(255.0)
        light += np.float32(0.5)
        result[..., channel] = light
