"""Meaning of a clinical column's cells, inferred from the whole column and its name; doubts are reported, never guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from pathduet.cohort.labels import number_in
from pathduet.cohort.tasks import DAYS_IN

#: Words in a name that give its unit of time, and how many of each unit make a year.
UNITS = {
    "days": {"day", "days"},
    "months": {"mo", "mos", "month", "months"},
    "years": {"yr", "yrs", "year", "years"},
}
A_YEAR = {unit: DAYS_IN["years"] / days for unit, days in DAYS_IN.items()}
#: Longest survival and highest age, in years, that a column can hold.
LONGEST_SURVIVAL, HIGHEST_AGE = 60.0, 130.0

DEAD = {"dead", "deceased", "died", "death", "expired", "dod", "doc"}
ALIVE = {"alive", "living", "censored", "ned", "awd", "lost"}
#: Includes words of other endpoints.
HAPPENED = DEAD | {"event", "progressed", "progression", "recurred", "recurrence", "relapse", "relapsed"}
NOT_HAPPENED = ALIVE | {"none", "free", "diseasefree", "tumorfree"}
YES = {"1", "yes", "y", "true", "t"}
NO = {"0", "no", "n", "false", "f"}
#: Words in a name that tell whether 1 or yes means the event or no event.
_SAYS_EVENT = HAPPENED | {"events", "observed"}
_SAYS_NONE = {"alive", "living", "censored", "censorship"}
#: Published tables use these for both: CGGA's Censor is 1 for the dead, NCDB's vital status 1 for the living.
_SAYS_EITHER = {"censor", "censoring", "cens", "vital", "survival", "survived", "surviving", "survivor"}
#: Words in a name that mark an event column, never a time column.
CENSOR_NAMES = _SAYS_NONE | {"censor", "censoring", "cens"}
#: Phrases that negate the preceding word (event-free, death not observed), and phrases that negate the next.
_DENIED_BEFORE = r"\b(event|death|progression|recurrence|relapse) free\b|\b(\w+) not (?:yet )?(?:observed|reached|occurred)\b"
_DENY = r"\b(?:never|not yet|not|without|non|free (?:of|from))\b"


def words_of(name: str) -> list[str]:
    """Return the words of a column's name in lower case: ``OS.time`` and ``OsTime`` give os, time."""
    return re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def as_number(cell: str) -> float | None:
    """Return a cell's number, None if it holds none."""
    try:
        return number_in(cell)
    except ValueError:
        return None


def plain_cell(cell: str) -> str:
    """Return a cell normalised for comparison: ``1.0`` becomes ``1``, text loses case and extra blanks."""
    number = as_number(cell)
    return " ".join(cell.lower().split()) if number is None else f"{number:g}"


def unit_of(name: str) -> str | None:
    """Return the unit of time that a name states: ``OS_MONTHS`` is in months."""
    words = set(words_of(name))
    return next((unit for unit, said in UNITS.items() if words & said), None)


def possible_units(largest: float, longest_years: float) -> list[str]:
    """Return the units in which a column's largest time is at most `longest_years`."""
    return [unit for unit, a_year in A_YEAR.items() if largest / a_year <= longest_years]


def legend_of(name: str, meaning: Callable[[str], object]) -> dict[str, object]:
    """Return the meaning of a name's numbers: ``Censor (alive=0; dead=1)`` -> {"0": alive, "1": dead}.

    Parameters
    ----------
    name : str
    meaning : callable
        Meaning of a word of the name, None if it has none.
    """
    parts = [
        part for part in re.findall(r"[^\W_]+", name.lower()) if part.isdigit() or meaning(part) is not None
    ]
    # the name before the legend may itself be such a word: death (1=dead, 0=alive)
    parts = parts[len(parts) % 2 :]
    pairs = list(zip(parts[0::2], parts[1::2]))
    if all(number.isdigit() for _, number in pairs):
        pairs = [(number, word) for word, number in pairs]
    if not all(number.isdigit() and not word.isdigit() for number, word in pairs):
        return {}
    return {f"{int(number)}": meaning(word) for number, word in pairs}


@dataclass(frozen=True)
class EventCoding:
    """What an event column's cells mean.

    Attributes
    ----------
    happened : dict of str to bool
        Cell -> whether the event happened; cells that are not understood are missing.
    doubt : str
        Why a person must decide; "" if nobody must.
    """

    happened: dict[str, bool]
    doubt: str = ""


def event_coding(
    name: str,
    cells: Collection[str],
    means: Mapping[str, bool] | None = None,
    *,
    happened: Collection[str] = HAPPENED,
    not_happened: Collection[str] = NOT_HAPPENED,
) -> EventCoding:
    """Return what the cells of an event column mean.

    Words have their own meaning. Numbers, yes and no are read by the legend in the column's name, or as 0 and 1 if the name
    states the event (``dead``, ``censored``). Other numbers (R's 1 and 2) are doubtful.

    Parameters
    ----------
    name : str
        The column's name.
    cells : collection of str
        Its distinct cells, none empty.
    means : mapping, optional
        Cell as :func:`plain_cell` returns it -> whether the event happened, as a person stated.
    happened, not_happened : collection of str
        Words in cells for each meaning.
    """

    def word(text: str) -> bool | None:
        return True if text in happened else False if text in not_happened else None

    understood: dict[str, bool] = {}
    flags: dict[str, str] = {}
    for cell in cells:
        plain = plain_cell(cell)
        if means is not None and plain in means:
            understood[cell] = means[plain]
        elif coded := re.match(r"([01])\s*:\s*\S", plain):
            # cBioPortal: 1:DECEASED, 0:ALIVE OR DEAD TUMOR FREE
            understood[cell] = coded[1] == "1"
        elif plain in YES | NO or as_number(cell) is not None:
            flags[cell] = plain
        elif (said := _said(words_of(cell), word)) is not None:
            understood[cell] = said
    if not understood and {plain_cell(cell) for cell in cells} == {"a", "d"}:
        return EventCoding({cell: plain_cell(cell) == "d" for cell in cells})
    legend = legend_of(name, word)
    if len(legend) == 1:
        ((number, meaning),) = legend.items()
        legend |= {"0": not meaning} if number == "1" else {"1": not meaning} if number == "0" else {}
    if legend and set(flags.values()) <= set(legend):
        return EventCoding(understood | {cell: bool(legend[flag]) for cell, flag in flags.items()})
    doubt = _doubt(set(words_of(name)), set(flags.values()))
    if flags and means and any(plain_cell(cell) in means for cell in cells):
        doubt = "what do they mean?"
    if doubt:
        return EventCoding(understood, f"{name} holds {', '.join(sorted(flags))}: {doubt}")
    turned = bool(set(words_of(name)) & _SAYS_NONE)
    return EventCoding(understood | {cell: (flag in YES) != turned for cell, flag in flags.items()})


def _said(words: list[str], meaning: Callable[[str], bool | None]) -> bool | None:
    """Return whether a cell's words state the event; None if neither or both."""
    said, negated = set(), False
    text = re.sub(_DENIED_BEFORE, r"no \1\2", " ".join(words))
    for word in re.sub(_DENY, "no", text).split():
        if (told := meaning(word)) is not None:
            said.add(told != negated)
        negated = word == "no"
    return said.pop() if len(said) == 1 else None


def _doubt(name: set[str], flags: set[str]) -> str:
    if not flags:
        return ""
    if not flags <= YES | NO:
        return "which value means that the event happened?"
    says_event, says_none = name & _SAYS_EVENT, name & _SAYS_NONE
    if (says_event and says_none) or name & {"not", "non"}:
        return "its name says both, or denies it"
    if says_event or says_none:
        return ""
    if name & _SAYS_EITHER:
        return "published tables use such a name for either meaning of 1"
    if not flags <= {"0", "1"}:
        return "its name does not say what yes means"
    if flags == {"1"} and "status" in name:
        return "R's coding has 1 for the censored and 2 for events"
    return ""
