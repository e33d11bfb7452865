"""Values of metrics, with the reasons for those that are undefined."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Scores:
    """Values of the metrics, None where undefined, and why.

    Attributes
    ----------
    values : dict of str to float, int or None
        Metric name to value.
    notes : dict of str to str
        Metric name to the reason for a None or for a restriction.
    confusion : list of list of int or None
        Rows are true classes, columns predicted ones, in the order of the classes.
    """

    values: dict[str, float | int | None]
    notes: dict[str, str] = field(default_factory=dict)
    confusion: list[list[int]] | None = None

    @classmethod
    def undefined(cls, names: tuple[str, ...], reason: str) -> Scores:
        """Return None for every metric, with one reason."""
        return cls(dict.fromkeys(names), dict.fromkeys(names, reason))
