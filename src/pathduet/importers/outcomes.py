"""Survival of patients from rows and files: status and time of one row belong together, later follow-up wins, death is final."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What one row says of a patient's survival.

    Attributes
    ----------
    where : str
        File and row.
    event : float or None
        1 = died, 0 = alive; None where the row does not say.
    days : float or None
        To death, or to the last contact of the living.
    rounding : float
        Days by which the time may be off: half of its unit.
    """

    where: str
    event: float | None = None
    days: float | None = None
    rounding: float = 0.0

    def __str__(self) -> str:
        status = {1.0: "dead", 0.0: "alive"}.get(-1.0 if self.event is None else self.event, "status unknown")
        return f"{status}{'' if self.days is None else f' at {self.days:g}'} ({self.where})"


def settle(outcomes: Sequence[Outcome]) -> tuple[float | None, float | None, str]:
    """Return (days, event, contradiction) of one patient; both are None where rows contradict each other.

    The first row that says when the patient died counts, else the latest contact of the living. Rows contradict each other if
    they give different days of death, or a contact after it, or if one of them says dead without a time and another alive. A
    status of one row and a time of another are never joined.
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
