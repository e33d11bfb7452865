"""Slides grouped into batches, one per job. Slides of the last run keep their batch, so a new batch size reruns nothing."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from itertools import count, islice
from pathlib import Path

from pathduet.cohort.sheets import SlideRow

#: Reasons in the ledger that a higher limit may resolve.
LIMITS = ("time_limit", "memory_limit")


def deal(
    slides: Sequence[SlideRow], size: int, kept: Mapping[str, Sequence[str]]
) -> dict[str, list[SlideRow]]:
    """Return batches of at most `size` slides by name ("0000", "0001", ...); encoded slides and foreign features are kept apart.

    Parameters
    ----------
    kept : mapping
        Batch name to ids of slides that stay together, however many; ids not in the sheet are ignored.
    """
    batches: dict[str, list[SlideRow]] = {}
    for foreign in (False, True):
        left = {slide.slide_id: slide for slide in slides if bool(slide.foreign) == foreign}
        for name, ids in kept.items():
            found = [left.pop(slide_id) for slide_id in ids if slide_id in left and name not in batches]
            if found:
                batches[name] = found
        names, rest = (f"{i:04d}" for i in count() if f"{i:04d}" not in batches), iter(left.values())
        while chunk := list(islice(rest, size)):
            batches[next(names)] = chunk
    return dict(sorted(batches.items()))


def lost_to_limits(manifest: Path) -> set[str]:
    """Return the stages at which a batch lost slides to a limit, according to its last manifest."""
    try:
        with manifest.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t"))
    except OSError:
        return set()
    return {str(row["stage"]) for row in rows if row.get("reason") in LIMITS}
