"""Discrete survival intervals: their edges from a training part, and the interval of a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pathduet.core.errors import InputError
from pathduet.core.plural import plural


def discretize(times: ArrayLike, events: ArrayLike, n_bins: int = 4) -> NDArray[np.float64]:
    """Return the inner edges that cut survival times into intervals with equally many patients.

    The quantiles are numpy's (linear interpolation), as in :func:`pandas.qcut`. They are taken
    over all patients, with the event or censored, as in the paper (quartiles 233.5, 511 and 929 days over its cohort).

    Parameters
    ----------
    times : array_like, shape (n,)
        Survival or follow-up times, all > 0; the edges have the same unit.
    events : array_like, shape (n,)
        1 if the event was observed, 0 if censored. Both count equally for the quantiles; leave out patients
        with unknown status.
    n_bins : int
        Number of intervals, >= 2.

    Returns
    -------
    numpy.ndarray, shape (n_bins - 1,)
        Strictly increasing edges; interval ``b`` is ``(edges[b - 1], edges[b]]``, the first starts at 0 and
        the last is open.

    Raises
    ------
    InputError
        If a time is missing or not positive, a status is neither 0 nor 1, there are fewer times than intervals, or ties make two
        edges equal (an interval would be empty).
    """
    days = np.asarray(times, dtype=np.float64).ravel()
    if n_bins < 2:
        raise InputError.of("survival_bins", str(n_bins), "use at least 2")
    bad = int((~np.isfinite(days) | (days <= 0)).sum())
    if bad:
        raise InputError.of("survival times", f"{bad} of {len(days)} missing or not > 0", "leave these out")
    seen = np.asarray(events, dtype=np.float64).ravel()
    if len(seen) != len(days):
        found = f"{len(seen)} for {plural(len(days), 'survival time')}"
        raise InputError.of("survival events", found, "give one status per patient")
    unknown = int((~np.isin(seen, (0, 1))).sum())
    if unknown:
        found = f"{unknown} of {len(seen)} neither 0 nor 1"
        raise InputError.of("survival events", found, "leave these patients out")
    if len(days) < n_bins:
        found = f"{plural(len(days), 'patient')} for {plural(n_bins, 'interval')}"
        raise InputError.of("survival times", found, "use fewer intervals (labels.survival_bins)")
    edges = np.quantile(days, np.arange(1, n_bins) / n_bins)
    # An edge at the largest time empties the last interval; an edge at the smallest is harmless: it is inclusive.
    if (np.diff(edges) <= 0).any() or edges[-1] >= days.max():
        shown = ", ".join(f"{edge:g}" for edge in edges)
        raise InputError.of(
            "survival times", f"ties give the edges {shown}", "use fewer intervals (labels.survival_bins)"
        )
    return edges


def bin_index(times: ArrayLike, edges: ArrayLike) -> NDArray[np.int64]:
    """Return the interval (from 0) of each time; a time equal to an edge is in the earlier interval.

    Parameters
    ----------
    times : array_like, shape (n,)
        Times in the edges' unit, none missing. Beyond the training range the first or last interval applies.
    edges : array_like, shape (n_bins - 1,)
        Strictly increasing inner edges from :func:`discretize`.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Values in 0 ... n_bins - 1.
    """
    days: NDArray[Any] = np.asarray(times, dtype=np.float64)
    if np.isnan(days).any():
        raise ValueError("a missing survival time has no interval")
    return np.searchsorted(np.asarray(edges, dtype=np.float64), days, side="left").astype(np.int64)
