"""Random generators addressed by name, so a slide's pixels depend on its id, not on the worker."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return the generator of one named part of the phantom.

    Parameters
    ----------
    seed : int
        The cohort's seed, >= 0.
    names : str
        What the numbers are for, for example ``("slide", "P001-1", "layout")``.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, *(zlib.crc32(n.encode()) for n in names)]))
