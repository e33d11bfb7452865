"""Holm's correction for several tests at once (Scandinavian Journal of Statistics 1979)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values adjusted so that the chance of any false positive among them stays below the level.

    Parameters
    ----------
    p_values : sequence of float or None
        One per test of the family; None for a test that could not be made, which does not count.

    Returns
    -------
    list of float or None
        In the given order, each in [its own p, 1].
    """
    made = [i for i, p in enumerate(p_values) if p is not None and np.isfinite(p)]
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(made, key=lambda i: float(p_values[i] or 0.0))):
        highest = max(highest, min(1.0, (len(made) - rank) * float(p_values[i] or 0.0)))
        adjusted[i] = highest
    return adjusted
