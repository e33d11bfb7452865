"""Counts in messages: ``1 slide``, ``2 slides``."""

from __future__ import annotations


def plural(n: int, one: str, many: str = "") -> str:
    """Return a count with its noun, thousands separated; `many` is the plural where it is not `one` with an s.

    >>> plural(1, "slide"), plural(2, "slide"), plural(2, "study", "studies")
    ('1 slide', '2 slides', '2 studies')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"
