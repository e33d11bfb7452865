"""What the columns of a label table hold, inferred from names and values, and their entries for a configuration.

Ambiguous columns are reported with the reason, never decided.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pathduet.cohort.codings import (
    CENSOR_NAMES,
    LONGEST_SURVIVAL,
    UNITS,
    as_number,
    event_coding,
    possible_units,
    unit_of,
    words_of,
)
from pathduet.cohort.labels import natural_order, number_in
from pathduet.core.plural import plural

#: Cells that mean unknown, besides those that every sheet reader treats as empty.
UNKNOWN = {"unknown", "not known", "?", "??", "--", "'--", "missing", "not done"}
_TIME = {"time", "survival", "duration"}.union(*UNITS.values())
_EVENT = {
    "event", "events", "status", "dead", "death", "deceased", "died", "vital", "observed", *CENSOR_NAMES,
}  # fmt: skip
#: Names of endpoints: overall survival, disease-specific survival, progression-free interval ...
_ENDPOINTS = {"os", "dss", "dfi", "pfi", "dfs", "pfs", "rfs", "efs", "mfs", "css", "ttp"}
#: Words in a name that do not identify the endpoint.
_NO_ENDPOINT = {
    "to", "in", "at", "of", "is", "last", "follow", "up", "followup", "contact", "indicator", "ind", "flag", "patient", *_TIME, *_EVENT,
}  # fmt: skip
_SOURCES = {
    "site", "center", "centre", "hospital", "institution", "scanner", "batch", "project", "source", "plate", "split", "fold", "train", "test",
    "study", "dataset", "cohort",
}  # fmt: skip
_NO_FINDINGS = {
    "id", "uuid", "barcode", "date", "path", "file", "filename", "url", "mpp", "index", "comment", "note", "notes",
}  # fmt: skip
_SCALES = {"stage", "grade", "score", "gleason", "isup", "level", "degree"}
_WORDS = [
    ("negative", "low", "medium", "high"), ("low", "moderate", "high"), ("low", "intermediate", "high"), ("none", "mild", "moderate", "severe"),
    ("absent", "weak", "moderate", "strong"),
]  # fmt: skip
#: Words for the negative one of two classes.
_NEGATIVE = {
    "negative", "neg", "no", "non", "not", "n", "wt", "wild", "wildtype", "absent", "low", "false", "benign",
    "normal", "stable",
}  # fmt: skip
_STEP = re.compile(
    r"(?P<prefix>stage|grade|g|isup|score|p?[tnm])?[ _-]?(?P<number>\d+|i{1,3}|iv|v)(?P<part>[a-d]\d?)?\+?",
    re.IGNORECASE,
)
#: Copy-number calls as GISTIC 2.0 and cBioPortal code them.
_COPY_NUMBER = {-2: "deep deletion", -1: "shallow deletion", 0: "no change", 1: "gain", 2: "amplification"}
#: How an entry names or joins the cells of its classes.
_NAMED = "classes: {name: [values]}"
_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5}
MOST_CLASSES = 10


@dataclass(frozen=True)
class ColumnKind:
    """What one column holds, or the two columns of an endpoint.

    Attributes
    ----------
    columns : tuple of str
        One column; for an endpoint, time and event.
    what : str
        For readers: ``two classes``, ``survival``.
    counts : str
        For readers: the patients of each class, or the range.
    section : {"tasks", "covariates", ""}
        Section of a configuration for it; "" for none.
    name : str
        Name of the task or covariate.
    entry : object
        Its entry in the configuration.
    doubt : str
        Why the entry needs a person's decision; "" where it does not.
    """

    columns: tuple[str, ...]
    what: str
    counts: str
    section: Literal["tasks", "covariates", ""] = ""
    name: str = ""
    entry: Any = None
    doubt: str = ""


def column_kinds(table: Mapping[str, Sequence[str]], folds: int) -> list[ColumnKind]:
    """Return what each column holds, endpoints first.

    Parameters
    ----------
    table : mapping of str to sequence of str
        Cells of each column, one per patient, "" if empty.
    folds : int
        Minimum number of patients per class.
    """
    kinds = _endpoints(table)
    used = {column for kind in kinds for column in kind.columns}
    kinds += [_single(name, cells, folds) for name, cells in table.items() if name not in used]
    taken: set[tuple[str, str]] = set()
    named = []
    for kind in kinds:
        name, number = kind.name, 2
        while kind.section == "tasks" and ("tasks", name) in taken:
            name, number = f"{kind.name}_{number}", number + 1
        taken.add((kind.section, name))
        named.append(ColumnKind(**{**kind.__dict__, "name": name}))
    return named


def _task_name(column: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_") or "label"
    return (name if name[0].isalpha() else f"label_{name}")[:36].rstrip("_")


def _known(cells: Iterable[str]) -> list[str]:
    return [cell for cell in cells if cell]


def _numbers(cells: Iterable[str]) -> list[float] | None:
    """Return all numbers, None if a cell holds none."""
    try:
        return [number_in(cell) for cell in cells]
    except ValueError:
        return None


def _endpoint(name: str) -> tuple[str, ...]:
    words = words_of(re.sub(r"[(\[].*", "", name))  # without a legend: os (2=dead, 1=alive)
    overall = ["os"] if "overall" in words else []
    return tuple(dict.fromkeys([*overall, *(w for w in words if w not in _NO_ENDPOINT and w != "overall")]))


def _endpoints(table: Mapping[str, Sequence[str]]) -> list[ColumnKind]:
    """Return the pairs of time and event columns with matching names, and the one pair that is left over."""
    times: dict[tuple[str, ...], list[str]] = {}
    events: dict[tuple[str, ...], list[str]] = {}
    for name, cells in table.items():
        if _is_time(name, cells):
            times.setdefault(_endpoint(name), []).append(name)
    for name, cells in table.items():
        if len(set(_known(cells))) in (1, 2) and (_endpoint(name) in times or _is_event(name, cells)):
            events.setdefault(_endpoint(name), []).append(name)
    pairs = [_survival(key, times[key], events[key], table) for key in times if key in events]
    alone, without = (
        [key for key in one if key not in other] for one, other in ((times, events), (events, times))
    )
    if len(alone) == len(without) == 1:
        key = alone[0] or without[0]
        doubt = "their names do not show that they belong together"
        pairs.append(_survival(key, times[alone[0]], events[without[0]], table, doubt))
    return pairs


def _is_time(name: str, cells: Sequence[str]) -> bool:
    words = set(words_of(name))
    if not words & (_TIME | _ENDPOINTS) or words & {"age", "birth", "diagnosis"} or words & CENSOR_NAMES:
        return False
    return len(set(_known(cells))) > 2 and _numbers(_known(cells)) is not None


def _is_event(name: str, cells: Sequence[str]) -> bool:
    """Whether a column of two values records an event: by its name, or by cells such as dead and alive."""
    words = set(words_of(name))
    said = {word for cell in set(_known(cells)) for word in words_of(cell)}
    return bool(
        words & (_EVENT - {"status"})
        or words <= _NO_ENDPOINT
        or said & {"dead", "deceased", "alive", "living"}
    )


def _survival(
    endpoint: tuple[str, ...],
    times: list[str],
    events: list[str],
    table: Mapping[str, Sequence[str]],
    *doubts_before: str,
) -> ColumnKind:
    time, event = times[0], events[0]
    doubts = list(doubts_before)
    if len(times) > 1:
        doubts.append(f"{', '.join(times)} are times that could belong to it")
    if len(events) > 1:
        doubts.append(f"{', '.join(events)} could each be its event")
    unit = unit_of(time)
    pairs = [(float(t), e) for t, e in zip(table[time], table[event]) if t and e and float(t) > 0]
    if unit is None:
        middle = sorted(t for t, _ in pairs)[len(pairs) // 2] if pairs else 0
        doubts.append(f"{time} does not state its unit: days, months or years? Its median is {middle:g}")
    elif pairs and unit not in possible_units(largest := max(t for t, _ in pairs), LONGEST_SURVIVAL):
        doubts.append(f"{time} says {unit}, but holds {largest:g}")
    values = sorted(set(_known(table[event])), key=natural_order)
    coding = event_coding(event, values)
    observed = next((value for value in values if coding.happened.get(value)), values[-1])
    censored = next((value for value in values if coding.happened.get(value) is False), "")
    if coding.doubt:
        doubts.append(coding.doubt)
    elif sorted(coding.happened.values()) != [False, True]:
        doubts.append(
            f"{event} has {' and '.join(map(repr, values))}: which value means that the event happened?"
        )
    plain = (as_number(observed), as_number(censored)) == (1, 0)
    entry = {
        "kind": "survival",
        "time": time,
        "event": event
        if plain
        else {"column": event, "observed": observed, **({"censored": censored} if censored else {})},
        "unit": unit or "days",
    }
    happened = sum(e == observed for _, e in pairs)
    counts = f"{plural(len(pairs), 'patient')}, {plural(happened, 'event')} ({event} = {observed})"
    return ColumnKind(
        (time, event),
        "survival",
        counts,
        "tasks",
        _task_name("_".join(endpoint) or "survival"),
        entry,
        "; ".join(doubts),
    )


def _single(name: str, cells: Sequence[str], folds: int) -> ColumnKind:
    known = _known(cells)
    counted = Counter(known)
    called, task = set(words_of(name)), _task_name(name)
    spread = f"{plural(len(counted), 'different value')} in {plural(len(known), 'patient')}"
    if not known:
        return ColumnKind((name,), "empty", "no value")
    if len(counted) == 1:
        return ColumnKind((name,), "constant", f"{known[0]} in all patients ({len(known)})")
    numbers = _numbers(known)
    if numbers is not None and "age" in called:
        return ColumnKind((name,), "covariate", _range(numbers), "covariates", name, "numeric")
    if called & {"sex", "gender", "female", "male"} and len(counted) <= 3:
        return ColumnKind((name,), "covariate", _shares(counted), "covariates", name, "categorical")
    if called & {"race", "ethnicity"} and len(counted) <= MOST_CLASSES:
        doubt = "a possible covariate"
        return ColumnKind((name,), "background", _shares(counted), "covariates", name, "categorical", doubt)
    if called & _NO_FINDINGS:
        return ColumnKind((name,), "description", spread)
    if numbers is not None and len(counted) > 2:
        return _number(name, task, counted, numbers, folds)
    if called & _SOURCES:
        return ColumnKind((name,), "source, no finding", spread)
    doubts = []
    if _is_event(name, cells) and called & _EVENT:
        doubts.append("it is named like the event of a survival task, but no time belongs to it")
    elif numbers is not None and set(numbers) != {0, 1} and not called & _SCALES:
        what = _copy_number_calls(numbers) or "numbers that stand for classes"
        doubts.append(f"{what}: name the classes, the positive one last: {_NAMED}")
    if len(counted) > MOST_CLASSES and len(known) < 20 * len(counted):
        return _text(name, task, known, spread)
    return _classes(name, task, counted, folds, doubts)


def _text(name: str, task: str, known: Sequence[str], spread: str) -> ColumnKind:
    others = [cell for cell in known if as_number(cell) is None]
    if len(others) <= len(known) / 5:
        shown = ", ".join(repr(cell) for cell in dict.fromkeys(others[:5]))
        entry = {"kind": "regression", "column": name, "missing_values": sorted(set(others))}
        doubt = f"{len(others)} of {len(known)} cells are not numbers ({shown}): correct them, or treat them as empty"
        return ColumnKind((name,), "numbers and texts", spread, "tasks", task, entry, doubt)
    return ColumnKind((name,), "text", spread)


def _number(name: str, task: str, counted: Counter[str], numbers: list[float], folds: int) -> ColumnKind:
    whole = all(value.is_integer() for value in numbers)
    if whole and len(counted) <= MOST_CLASSES:
        kind = _classes(name, task, counted, folds, [])
        if kind.entry.get("ordered") and set(words_of(name)) & _SCALES:
            return kind
        what = _copy_number_calls(numbers) or "whole numbers"
        doubt = f"{what}: steps of a scale (as here), classes (without `ordered`; {_NAMED} names and joins them), or a quantity (kind: regression)?"
        return ColumnKind(**{**kind.__dict__, "doubt": "; ".join(filter(None, [doubt, kind.doubt]))})
    doubt = ""
    if whole and all(1900 <= value <= 2100 for value in numbers):
        doubt = "calendar years"
    elif set(words_of(name)) & (_TIME | _ENDPOINTS):
        doubt = "a time without an event that belongs to it by its name"
    entry = {"kind": "regression", "column": name}
    return ColumnKind((name,), "number", _range(numbers), "tasks", task, entry, doubt)


def _copy_number_calls(numbers: Collection[float]) -> str:
    """Return what the numbers mean as copy-number calls; "" if they cannot be such calls."""
    if min(numbers) >= 0 or not set(numbers) <= set(_COPY_NUMBER):
        return ""
    calls = ", ".join(f"{number} {meaning}" for number, meaning in _COPY_NUMBER.items() if number in numbers)
    return f"probably copy-number calls ({calls})"


def _classes(name: str, task: str, counted: Counter[str], folds: int, doubts: list[str]) -> ColumnKind:
    steps, unassessed = _in_order(counted)
    order = steps or sorted(
        counted, key=lambda value: (not set(words_of(value)) & _NEGATIVE, natural_order(value))
    )
    rare = [value for value in order if counted[value] < folds]
    counts = _shares(counted, order)
    if unassessed:
        counts += f"; {_shares(counted, unassessed)} counts as empty: not assessable"
    kept = [value for value in order if value not in rare]
    if rare:
        few = ", ".join(f"{value} ({counted[value]})" for value in rare)
        doubts = [
            *doubts,
            f"a class needs {folds} patients with slides or expression, one per fold; fewer have {few}",
        ]
    if len(kept) < 2:
        return ColumnKind((name,), "classes", counts, doubt="; ".join(doubts))
    if rare:
        doubts[-1] += f": join classes ({_NAMED}), or treat these as empty, as here"
    entry: dict[str, Any] = {"kind": "classification", "column": name, "classes": kept}
    if rare or unassessed:
        entry["missing_values"] = [*rare, *unassessed]
    if steps and len(kept) > 2:
        entry["ordered"] = True
    what = "ordered classes" if "ordered" in entry else "two classes" if len(kept) == 2 else "classes"
    if len(kept) == 2:
        counts += f"; {kept[1]} is the positive one"
    return ColumnKind((name,), what, counts, "tasks", task, entry, "; ".join(doubts))


def _in_order(values: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the values that are steps of a scale, lowest first, and those that mean not assessable (GX).

    Both are empty if the values form no scale.
    """
    values = list(values)
    numbers = _numbers(values)
    if numbers is not None:
        return [value for _, value in sorted(zip(numbers, values))], []
    plain = {value: value.strip().lower() for value in values}
    for scale in _WORDS:
        if set(plain.values()) <= set(scale):
            return sorted(values, key=lambda value: scale.index(plain[value])), []
    unassessed = [value for value in values if re.fullmatch(r"(g|p?[tnm])x", plain[value])]
    matches = {value: _STEP.fullmatch(plain[value]) for value in values if value not in unassessed}
    found = {value: match for value, match in matches.items() if match is not None}
    if len(found) < max(len(matches), 2) or len({match["prefix"] for match in found.values()}) > 1:
        return [], []

    def step(value: str) -> tuple[int, str]:
        number = found[value]["number"]
        return _ROMAN.get(number) or int(number), found[value]["part"] or ""

    return sorted(found, key=step), unassessed


def _shares(counted: Counter[str], order: Iterable[str] | None = None) -> str:
    return ", ".join(f"{value} ({counted[value]})" for value in order or sorted(counted, key=natural_order))


def _range(numbers: Sequence[float]) -> str:
    return f"{min(numbers):g} to {max(numbers):g} in {plural(len(numbers), 'patient')}"
