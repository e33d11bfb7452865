"""The map of a slide's colours to the target's: a pure function of a pixel's colour, so that it can be a table.

The fit behind it is in :mod:`pathduet.slides.stain.stain_matrix`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pathduet.slides.stain import vahadane
from pathduet.slides.stain.stain_matrix import Stains, white_table

Normalizer = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
_KNOWN = 1 << 24


def normalizer(source: Stains, target: Stains, backend: str = "closed_form") -> Normalizer:
    """Return the function that maps a slide's colours to the target's.

    Concentrations of the slide's stains (exact lasso), scaled by the ratio of maximum concentrations, are put back
    together with the target's stains. The slide's white becomes white and nothing becomes NaN: no light is absorbed, so both
    concentrations are 0.

    Parameters
    ----------
    source, target : Stains
        Of the slide and of what it is to look like.
    backend : {"closed_form", "staintools", "none"}
        Who solves for the concentrations.

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
    """The map of a slide's colours by the closed form of its concentrations, worked out once for each colour that is met.

    A slide has some 100,000 of the 256^3 colours: little of the table's 64 MiB is ever touched. Threads may share a table, as
    two that meet the same colour write the same.

    Parameters
    ----------
    source : Stains
    scaled : (2, 3) array
        The target's stain matrix times the ratio of maximum concentrations.
    """

    def __init__(self, source: Stains, scaled: NDArray[np.float64]) -> None:
        overlap = float(source.matrix[0] @ source.matrix[1])
        gram = np.linalg.inv(np.array([[1.0, overlap], [overlap, 1.0]]))
        density = vahadane.optical_density(white_table(source.white)).T
        table = (gram @ source.matrix)[:, :, None] * density
        table[:, 0] -= (gram @ np.full(2, vahadane.CONCENTRATION_REGULARIZER))[:, None]
        self._of_value = table.astype(np.float32)  # (stain, channel, value)
        self._overlap, self._mix = np.float32(overlap), scaled.astype(np.float32)
        # what becomes of a colour, by its bytes read as one number; the last byte tells that it is known
        self._table = np.zeros(1 << 24, "<u4")

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map (..., 3) uint8 colours to a new array of the same shape."""
        # four bytes from every third one, the fourth masked: padding pixels to four bytes took longer than all the rest
        padded = np.append(rgb.reshape(-1), np.uint8(0))
        colours = np.ndarray(rgb.size // 3, "<u4", padded, strides=(3,)) & np.uint32(0xFFFFFF)
        found = self._table.take(colours, mode="clip")
        new = found < _KNOWN
        if new.any():
            met = colours[new]
            self._table[met] = found[new] = self._mapped(met)
        result = np.empty((len(found), 3), np.uint8)
        # channel by channel: an array that skips each fourth byte takes three times as long, here or where it is copied
        for channel in range(3):
            result[:, channel] = found.view(np.uint8)[channel::4]
        return result.reshape(rgb.shape)

    def _mapped(self, colours: NDArray[np.uint32]) -> NDArray[np.uint32]:
        red, green, blue = colours & 255, colours >> 8 & 255, colours >> 16
        first, second = (one[0][red] + one[1][green] + one[2][blue] for one in self._of_value)
        result = np.full((len(colours), 4), 255, np.uint8)
        self._mixed(first, second, result[:, :3])
        return result.view("<u4")[:, 0]

    def _mixed(
        self, first: NDArray[np.float32], second: NDArray[np.float32], result: NDArray[np.uint8]
    ) -> None:
        # the four active sets in one formula, as in vahadane.concentrations; in place, since memory is what this waits for
        amounts, other = [], np.empty_like(first)
        for own, counter in ((first, second), (second, first)):
            amount = np.minimum(counter, 0)
            amount *= self._overlap
            amount += own
            amounts.append(np.maximum(amount, 0, out=amount))
        light = np.empty_like(first)
        for channel in range(3):
            np.multiply(amounts[0], -self._mix[0, channel], out=light)
            np.multiply(amounts[1], self._mix[1, channel], out=other)
            light -= other
            np.exp(light, out=light)
            light *= np.float32(255.0)
            light += np.float32(0.5)
            result[..., channel] = light
