"""A task's labels from the patients' sheet; a missing value gives a reason instead of a label, an invalid one an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pathduet.cohort.tasks import DAYS_IN, Task
from pathduet.cohort.who_labels import who2021
from pathduet.core.config import did_you_mean
from pathduet.core.errors import InputError, Problem, Problems
from pathduet.core.plural import plural

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Derivation:
    """How to derive a label from other columns.

    Attributes
    ----------
    label : callable
        (patient, **options) -> the class or None, and the reason for None; ValueError for unknown values.
    columns : tuple of str
        Columns that it reads.
    """

    label: Callable[..., tuple[str | None, str]]
    columns: tuple[str, ...]


#: By the name that presets use.
DERIVATIONS = {"who2021": Derivation(who2021, ("idh", "codel_1p19q", "cdkn2a", "grade"))}
#: Columns of a label table, by kind of task.
TRUTH = {"classification": ("label",), "survival": ("survival_days", "event"), "regression": ("value",)}


def task_labels(patients: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Return every patient's label for a task, or the reason why the patient has none.

    Parameters
    ----------
    patients : DataFrame
        Indexed by patient_id, cells as text, None where empty (:func:`pathduet.cohort.sheets.read_patients`).
    task : Task
        A classification without classes treats every value as a class (:func:`with_classes`).

    Returns
    -------
    DataFrame
        Index as `patients`. Classification: `label` (a class name or None); survival: `survival_days` and `event` (1 =
        happened, 0 = censored); regression: `value`; unknown numbers are NaN. `reason` is "" for labelled patients.

    Raises
    ------
    InputError
        If values are invalid; lists all such patients.
    """
    import pandas as pd

    read = {"classification": _class, "survival": _survival, "regression": _value}[task.kind]
    if task.kind == "survival":
        task = replace(task, censored=task.censored or _other_status(patients, task))
    there, cells_of = cells_by_patient(patients, label_columns(task))
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}  # many patients have the same cells
    wrong: dict[tuple[Any, ...], ValueError] = {}
    for cells in dict.fromkeys(cells_of):
        try:
            found[cells] = read(dict(zip(there, cells)), task)
        except ValueError as error:
            wrong[cells] = error
    problems = Problems()
    for patient_id, cells in zip(patients.index, cells_of) if wrong else ():
        if cells in wrong:
            problems.add(f"task {task.name}, patient {patient_id}", *_found_and_advice(wrong[cells]))
    problems.check()
    columns = TRUTH[task.kind]
    rows = [found[cells] for cells in cells_of]
    table = pd.DataFrame(rows, index=patients.index, columns=[*columns, "reason"])
    return table.astype(object if task.kind == "classification" else dict.fromkeys(columns, float))


def known_labels(labels: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a label table whose label is known."""
    return labels[labels["reason"] == ""]


def label_columns(task: Task) -> tuple[str, ...]:
    """Return every column of the sheet that a task's labels can come from."""
    derived = DERIVATIONS[task.derive["name"]].columns if task.derive else ()
    return (*task.columns, *derived)


def column_problems(patients: pd.DataFrame, task: Task, sheet: str) -> list[Problem]:
    """Return a problem per column that a task needs and the sheet lacks; a derived label needs its column or its sources."""
    if task.derive and set(DERIVATIONS[task.derive["name"]].columns) & set(patients.columns):
        return []
    return [
        missing_column(column, patients.columns, f"tasks.{task.name}", sheet)
        for column in task.columns
        if column not in patients.columns
    ]


def missing_column(column: str, known: Iterable[str], key: str, sheet: str) -> Problem:
    """Return the problem that the sheet lacks a configured column, with the nearest name."""
    there = [str(name) for name in known]
    advice = f"{did_you_mean(column, there)}columns there: {', '.join(there)}"
    return Problem(key, f"{sheet} has no column {column!r}", advice)


def with_classes(task: Task, patients: pd.DataFrame) -> Task:
    """Return a classification with its classes: those listed, else all values of its column in natural order.

    Raises
    ------
    InputError
        If there are fewer than two, or more than a quarter of the labelled patients (ids or numbers).
    """
    if task.kind != "classification" or task.classes:
        return task
    found = known_labels(task_labels(patients, task))["label"]
    classes = sorted(set(found), key=natural_order)
    where = f"tasks.{task.name}"
    if len(classes) < 2:
        said = f"column {task.column!r} has {len(classes)} value{'s' if len(classes) != 1 else ''}"
        raise InputError.of(
            where, said, "a classification needs two; list its `classes` or correct the column"
        )
    if len(classes) > max(len(found) / 4, 10):
        said = f"column {task.column!r} has {plural(len(classes), 'different value')} in {plural(len(found), 'patient')}"
        raise InputError.of(where, said, "use kind: regression for numbers, or list its `classes`")
    return Task.of(task.name, {**task.to_plain(), "classes": classes})


def natural_order(value: str) -> tuple[Any, ...]:
    """Return a sorting key under which ``G2`` comes before ``G10``."""
    parts = re.split(r"(\d+(?:\.\d+)?)", value)
    return tuple((0, float(part), "") if i % 2 else (1, 0.0, part) for i, part in enumerate(parts))


def cells_by_patient(
    patients: pd.DataFrame, columns: Iterable[str]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the columns that exist, and each patient's cells in them; `DataFrame.to_dict` takes ten times as long."""
    there = [column for column in dict.fromkeys(columns) if column in patients]
    cells = zip(*(patients[column].tolist() for column in there))
    return there, list(cells) if there else [()] * len(patients)


def cell_of(patient: Mapping[Any, Any], column: str, task: Task) -> str | None:
    """Return a cell as text; None if it is empty, or counts as empty for the task."""
    value = patient.get(column)
    # NaN is the only value that differs from itself
    if value is None or value != value or str(value) == "" or str(value) in task.missing_values:
        return None
    return str(value)


def number_in(text: str) -> float:
    """Return a cell's number; ValueError if it holds none, NaN or infinity."""
    value = float(text)
    if value - value != 0:
        raise ValueError(text)
    return value


def _class(patient: Mapping[Any, Any], task: Task) -> tuple[str | None, str]:
    cell = cell_of(patient, task.column, task) if task.column else None
    if cell is None:
        if not task.derive:
            return None, f"{task.column} missing"
        derivation = DERIVATIONS[task.derive["name"]]
        options = {key: value for key, value in task.derive.items() if key != "name"}
        return derivation.label(patient, **options)
    if not task.classes or cell in task.classes:
        return cell, ""
    for name, cells in task.values.items():
        if cell in cells:
            return name, ""
    shown = [*task.classes, *(value for cells in task.values.values() for value in cells)]
    advice = f"{did_you_mean(cell, shown)}classes: {', '.join(task.classes)}; or list it in `missing_values`"
    raise ValueError(f"{task.column} is {cell!r}", advice)


def _survival(patient: Mapping[Any, Any], task: Task) -> tuple[float, float, str]:
    cells = {column: cell_of(patient, column, task) for column in (task.time, task.event)}
    missing = [column for column, cell in cells.items() if cell is None]
    time, event = cells.values()
    if time is None or event is None:
        return float("nan"), float("nan"), " and ".join(missing) + " missing"
    seen = [_same(event, value) for value in (task.observed, task.censored)]
    if not any(seen):
        known = f"{task.observed} (happened) nor {task.censored} (censored)"
        advice = f"state what it means: tasks.{task.name}.event: {{column: {task.event}, observed: ..., censored: ...}}"
        raise ValueError(f"{task.event} is {event!r}, neither {known}", advice)
    days = _number(time, task.time) * DAYS_IN[task.unit]
    if days <= 0:
        raise ValueError(f"{task.time} is {time}, not above 0", "correct the time, or clear the cell")
    return days, float(seen[0]), ""


def _value(patient: Mapping[Any, Any], task: Task) -> tuple[float, str]:
    cell = cell_of(patient, task.column, task)
    if cell is None:
        return float("nan"), f"{task.column} missing"
    return _number(cell, task.column), ""


def _number(cell: str, column: str) -> float:
    try:
        return number_in(cell)
    except ValueError:
        found = f"{column} is {cell!r}, no number"
        raise ValueError(found, "correct or clear it, or list it in `missing_values`") from None


def _same(cell: str, value: str) -> bool:
    """Whether a cell holds a value: the same text, or the same number (``1.0`` is ``1``)."""
    if cell == value:
        return True
    try:
        return number_in(cell) == number_in(value)
    except ValueError:
        return False


def _other_status(patients: pd.DataFrame, task: Task) -> str:
    """Return the event column's value other than `observed`; it means censored."""
    _, cells_of = cells_by_patient(patients, [task.event])
    cells = {cell_of(dict(zip([task.event], cells)), task.event, task) for cells in set(cells_of)}
    others = sorted(cell for cell in cells if cell is not None and not _same(cell, task.observed))
    if len({float(o) if o.replace(".", "", 1).isdigit() else o for o in others}) > 1:
        where = f"tasks.{task.name}.event"
        found = f"column {task.event!r} holds {', '.join(others)} besides {task.observed}"
        raise InputError.of(
            where, found, "state which of them means censored: {column: ..., observed: ..., censored: ...}"
        )
    return others[0] if others else "0"


def _found_and_advice(error: ValueError) -> tuple[str, str]:
    found, *advice = error.args
    return str(found), str(advice[0]) if advice else "correct the patients' sheet"
