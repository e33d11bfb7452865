"""Survival of patients from rows and files: a row's status and time belong together, later follow-up wins, death is final."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """A patient's survival in one row.

    Attributes
    ----------
    where : str
        File and row.
    event : float or None
        1 = died, 0 = alive; None if the row does not state it.
    days : float or None
        To death, or to the last contact with a living patient.
    rounding : float
        Possible error of the time in days: half of its unit.
    """

    where: str
    event: float | None = None
    days: float | None = None
    rounding: float = 0.0

    def __str__(self) -> str:
        status = {1.0: "dead", 0.0: "alive"}.get(-1.0 if self.event is None else self.event, "status unknown")
        return f"{status}{'' if self.days is None else f' at {self.days:g}'} ({self.where})"


def settle(outcomes: Sequence[Outcome]) -> tuple[float | None, float | None, str]:
    """Return (days, event, contradiction) of one patient; both are None if rows contradict each other.

    The first row with the time of death counts, else the latest contact with the living. Rows contradict each other if
    they give different days of death, or a contact after it, or if one states death without a time and another states alive.
    The status of one row is never combined with the time of another.
    """
    known = [outcome for outcome in outcomes if outcome.event is not None]
    dead = [outcome for outcome in known if outcome.event == 1]
    deaths = [outcome for outcome in dead if outcome.days is not None]
    contacts = [outcome for outcome in known if outcome.event == 0 and outcome.days is not None]
    if deaths:
        first = deaths[0]
        if any(_later(first, other) or _later(other, first) for other in deaths):
            return None, None, "rows give different times of the event"
        if any(_later(contact, first) for contact in contacts):
            return None, None, "alive after the time of the event"
        return first.days, 1.0, ""
    if dead and contacts:
        return None, None, "dead without a time in one row, alive in another"
    if known:
        latest = max((contact.days or 0.0 for contact in contacts), default=None)
        return latest, 1.0 if dead else 0.0, ""
    times = {outcome.days for outcome in outcomes if outcome.days is not None}
    if len(times) > 1:
        return None, None, "rows give different times, and none a status"
    return (times.pop() if times else None), None, ""


def _later(one: Outcome, other: Outcome) -> bool:
    return (one.days or 0.0) - (other.days or 0.0) > one.rounding + other.rounding
