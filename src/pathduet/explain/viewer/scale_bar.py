"""Lengths for scale bars."""

from __future__ import annotations

import math


def round_length(most_um: float) -> float:
    """Return the longest of 1, 2, 5, 10, 20, 50 ... micrometres that is no longer than `most_um`.

    >>> [round_length(x) for x in (1200, 900, 260, 0.3)]
    [1000.0, 500.0, 200.0, 0.2]
    """
    power = 10.0 ** math.floor(math.log10(most_um))
    return next(power * step for step in (5, 2, 1) if power * step <= most_um)
