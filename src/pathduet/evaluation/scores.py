"""Values of metrics, with the reasons for those that are undefined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean


@dataclass
class Scores:
    """Values of the metrics, None where undefined, and the reasons.

    Attributes
    ----------
    values : dict of str to float, int or None
        Metric name to value.
    notes : dict of str to str
        Metric name to the reason for a None or a restriction.
    confusion : list of list of int or None
        Rows are true classes, columns predicted classes, in the order of the classes.
    """

    values: dict[str, float | int | None]
    notes: dict[str, str] = field(default_factory=dict)
    confusion: list[list[int]] | None = None

    @classmethod
    def undefined(cls, names: tuple[str, ...], reason: str) -> Scores:
        """Return None for every metric, all with the same reason."""
        return cls(dict.fromkeys(names), dict.fromkeys(names, reason))

    @classmethod
    def mean(cls, trainings: Sequence[Scores]) -> Scores:
        """Return each metric's mean over trainings, undefined if it is in one; the confusion matrix is the first's."""
        first = trainings[0]
        if len(trainings) == 1:
            return first
        known = {name: [one.values[name] for one in trainings] for name in first.values}
        values = {
            name: None if None in of else fmean(v for v in of if v is not None) for name, of in known.items()
        }
        notes = {name: reason for one in reversed(trainings) for name, reason in one.notes.items()}
        return cls(values, notes, first.confusion)
