"""Converts published clinical tables to patients.tsv: columns are recognised and judged as a whole; unknown stays unknown.

Other columns are copied unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.cohort import column_kinds
from pathduet.cohort.codings import A_YEAR, NO, YES, as_number, plain_cell, unit_of
from pathduet.cohort.tasks import DAYS_IN
from pathduet.core import sheet_file
from pathduet.core.errors import InputError, Problems
from pathduet.core.plural import plural
from pathduet.core.sheet_file import read_lines, too_many_cells
from pathduet.importers.clinical_fields import (
    FIELDS,
    UNITS_OF,
    Field,
    UnclearError,
    Values,
    events,
    keys_of,
    plain_name,
)
from pathduet.importers.ids import ids_of, patient_id
from pathduet.importers.outcomes import Outcome
from pathduet.importers.report import ImportReport

if TYPE_CHECKING:
    import pandas as pd

#: Patient id -> columns of patients.tsv.
Patients = dict[str, dict[str, Any]]
ReadPatients = Mapping[str, Mapping[str, Any]]
#: Cells that mean "unknown" in a column that is read; in other columns they may be values.
UNKNOWN = sheet_file.MISSING | column_kinds.UNKNOWN | {
    "none", "not applicable", "not allowed to collect", "[completed]", "-", "unk",
}  # fmt: skip
PATIENT_ID = (
    "patient_id", "patient", "case_submitter_id", "submitter_id", "bcr_patient_barcode", "case_id", "case", "tumor_name", "donor",
    "participant_id", "subject_id", "cgga_id",
)  # fmt: skip
_SURVIVAL = ("survival_days", "event", "days_to_death", "days_to_last_follow_up")
#: Columns of patients.tsv that this module fills, survival last.
VALUES = ("idh", "codel_1p19q", "cdkn2a", "grade", "histology", "age_years", "sex", "survival_days", "event")
#: Names that other columns may not have: patients.tsv gives them a meaning, or they would make it a sheet of slides.
RESERVED = {"patient_id", "cohort", "survival_days", "event", "slide_id", "path"}
#: Columns of patients.tsv whose numbers need an explanation, with a name that gives it.
_CODED = {
    "sex": "sex (1=male, 2=female)", "idh": "idh (0=WT, 1=mutant)", "codel_1p19q": "codel_1p19q (0=intact, 1=codel)",
    "cdkn2a": "cdkn2a_cnv for copy number calls",
}  # fmt: skip
#: Allowed difference of columns of one meaning, in days and years, besides 3 %: months and years are rounded.
_SLACK = {"survival_days": 31.0, "age_years": 1.5}


@dataclass(frozen=True)
class Choices:
    """What a person specifies about a table's columns.

    Attributes
    ----------
    columns : dict of str to str
        Column of patients.tsv, or one of ``clinical_fields.UNITS_OF``, to the table's.
    event_means : dict of str to bool
        Cell of the event's column, as ``codings.plain_cell`` returns it, to whether it means dead.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    event_means: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Sequence[str] | None, event_means: Sequence[str] | None) -> Choices:
        """Read the options ``--column OURS=THEIRS`` and ``--event-means VALUE=dead`` or ``=alive``."""
        pairs = [text.split("=", 1) for text in columns or ()]
        known = dict.fromkeys(["patient_id", *FIELDS, *UNITS_OF])
        if wrong := ["=".join(pair) for pair in pairs if len(pair) != 2 or pair[0] not in known]:
            raise InputError.of(
                "--column", ", ".join(wrong), f"write OURS=THEIRS, OURS one of {', '.join(known)}"
            )
        means = [text.rsplit("=", 1) for text in event_means or ()]
        if wrong := ["=".join(pair) for pair in means if len(pair) != 2 or pair[1] not in ("dead", "alive")]:
            raise InputError.of("--event-means", ", ".join(wrong), "write VALUE=dead or VALUE=alive")
        return cls(dict(pairs), {plain_cell(value): meaning == "dead" for value, meaning in means})

    def check(self, tables: Iterable[pd.DataFrame], where: str) -> None:
        """Raise InputError if a named column is in none of the tables."""
        there = list(dict.fromkeys(column for table in tables for column in table.columns))
        if absent := [f"{name}={column}" for name, column in self.columns.items() if column not in there]:
            raise InputError.of(where, f"no column for {', '.join(absent)}", f"columns: {', '.join(there)}")


NO_CHOICES = Choices()


def read_table(path: str | PathLike[str], *, comment: str | None = None) -> pd.DataFrame:
    """Read .tsv, .txt (tab), .csv or .xlsx as text; cells stripped, missing as "".

    Column names are kept; repeated names get a number (``stage.1``). Columns without a name (indices that R and pandas write)
    are dropped. The index holds the rows' numbers in the file.

    Raises
    ------
    InputError
        If the file is missing, unreadable or of another kind, or a row has more cells than there are columns.
    """
    import pandas as pd

    path = Path(path)
    lines = {number: line for number, line in enumerate(read_lines(path), 1) if any(line)}
    if comment:
        lines = {number: line for number, line in lines.items() if not line[0].startswith(comment)}
    if not lines:
        raise InputError.of(path.name, "no header", "check that the file is complete")
    header = lines.pop(min(lines))
    for number, row in lines.items():
        if len(row) > len(header):
            if any(row[len(header) :]):
                raise InputError([too_many_cells(row, header, f"{path.name} row {number}")])
            del row[len(header) :]
        row.extend([""] * (len(header) - len(row)))
    before: Counter[str] = Counter()
    names = []
    for name in header:
        names.append(f"{name}.{before[name]}" if before[name] else name)
        before[name] += 1
    columns = pd.Index(names, dtype=object)
    table = pd.DataFrame(
        list(lines.values()), index=pd.Index(list(lines), dtype=int), columns=columns, dtype=object
    )
    return table[[name for name, plain in zip(names, header) if plain]]


def column_of(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    """Return the table's column named in `names` (case and punctuation ignored); earlier names take precedence."""
    plain = {plain_name(column): column for column in reversed(list(table.columns))}
    return next((plain[name] for name in names if name in plain), None)


def is_missing(cell: object) -> bool:
    """Whether a cell means "unknown"."""
    return str(cell).strip().lower() in UNKNOWN


@dataclass(frozen=True)
class _Column:
    """A table's column that is read as a field, and what its cells mean."""

    name: str
    values: Values


def read_values(
    table: pd.DataFrame,
    source: str,
    report: ImportReport,
    *,
    patient: Callable[[str], str | None] = patient_id,
    choices: Choices = NO_CHOICES,
) -> Patients:
    """Return a table's values for each patient, as in patients.tsv, and its other columns unchanged.

    Columns are found by their names (``clinical_fields.FIELDS``) or by `choices`, and judged as a whole; a column without any
    understood value counts as another column. A cell that cannot be understood is recorded as left out. Several rows of a
    patient are merged; if they contradict each other, the value stays unknown. The survival of each row is added to
    ``report.outcomes``.

    Parameters
    ----------
    table : DataFrame
        From :func:`read_table`.
    source : str
        The file's name, for the report.
    patient : callable
        Returns the patient id for the id column's text, or None to leave the row out.
    choices : Choices
        What a person specified.

    Raises
    ------
    InputError
        If there is no column with patient ids, different ids coincide, or a column can be read in several ways.
    """
    # a biotab's patient_id is not a barcode: use the first name whose cells are ids of this cohort
    named = [column for name in PATIENT_ID if (column := column_of(table, [name])) is not None]
    usable = (column for column in named if any(map(patient, table[column])))
    identifier = choices.columns.get("patient_id")
    if identifier not in table.columns:
        identifier = next(usable, named[0] if named else None)
    if identifier is None:
        advice = f"needs a column {' or '.join(PATIENT_ID)}, or --column patient_id=..."
        raise InputError.of(source, f"columns {', '.join(table.columns[:8])}", advice)
    found = _columns_of(table, identifier, source, report, choices)
    further, unused = _further_columns(table, {identifier, *(column.name for column in found.values())})
    report.columns[source] = {
        "read": {identifier: "patient_id"} | {column.name: name for name, column in found.items()},
        "copied": further,
        "not used": unused,
    }
    _say_codings(found, source, report)
    ids = ids_of(table[identifier], source, report, patient)
    patients: Patients = {}
    contradicted: dict[str, set[str]] = {}
    for number, row in zip(table.index, table.to_dict("records")):
        owner, where = ids[row[identifier]], f"{source} row {number}"
        if owner is None:
            report.drop("patient", row[identifier], where, "no patient id of this cohort")
            continue
        values = _values_of(row, found, owner, where, report)
        if set(_SURVIVAL) & set(found):
            report.outcomes.setdefault(owner, []).append(_outcome(values, owner, where, report))
        known, unknown = patients.setdefault(owner, {}), contradicted.setdefault(owner, set())
        for name, value in (values | {name: row[name] for name in further if row[name]}).items():
            if name in _SURVIVAL or name in unknown or known.setdefault(name, value) == value:
                continue
            unknown.add(name)
            del known[name]
            if name in values:
                report.drop("value", f"{owner}.{name}", where, f"rows of one patient differ in {name}", value)
    for owner, unknown in contradicted.items():
        if differing := [name for name in further if name in unknown]:
            reason = "rows of one patient differ in further columns"
            report.drop("value", f"{owner}.further", source, reason, ", ".join(differing))
    return patients


def _columns_of(
    table: pd.DataFrame, identifier: str, source: str, report: ImportReport, choices: Choices
) -> dict[str, _Column]:
    """Return the column of each field; raise InputError with everything that a person must decide."""
    cells = {
        column: [c for c in dict.fromkeys(table[column]) if not is_missing(c)] for column in table.columns
    }
    keys = {column: keys_of(column) for column in table.columns}
    chosen = {UNITS_OF.get(name, (name, ""))[0]: (column, UNITS_OF.get(name, (name, ""))[1])
              for name, column in choices.columns.items() if column in cells and name != "patient_id"}  # fmt: skip
    taken = {identifier, *(column for column, _ in chosen.values())}
    found: dict[str, _Column] = {}
    unclear: dict[str, tuple[str, UnclearError]] = {}
    problems = Problems()
    for name, one in FIELDS.items():
        decode = events(choices.event_means) if name == "event" else one.decode
        named = [(column, "") for column in _candidates(name, one, keys) if column not in taken]
        read: list[_Column] = []
        for column, unit in [chosen[name]] if name in chosen else named:
            try:
                values = decode(column, cells[column], unit)
            except UnclearError as error:
                unclear.setdefault(name, (column, error))
                continue
            if values or not cells[column]:
                read.append(_Column(column, values))
            elif name in chosen or plain_name(column) == name:
                shown = f"{', '.join(cells[column][:3])}: no cell is understood as {name}"
                if name in chosen:
                    problems.add(
                        f"{source}, column {column}", shown, "correct the cells, or name another column"
                    )
                else:
                    report.choose(f"{source}, {column}: {shown}")
        if read:
            # a column with values comes before an empty one
            found[name] = next((column for column in read if column.values), read[0])
            taken.add(found[name].name)
            if name in ("event", "grade", *_CODED, *_SLACK):
                _compare(table, found[name], read, name, source, problems)
    # a status without a time, or a time without a status, is not survival: its meaning need not be clear
    asked = {name: told for name, told in unclear.items() if name not in found}
    status, time = ({*found, *asked} & names for names in ({"event"}, {*_SURVIVAL} - {"event"}))
    for name, (column, told) in asked.items():
        if name in chosen or name not in _SURVIVAL or (status and time):
            problems.add(f"{source}, column {column}", *map(str, told.args))
    problems.check()
    return found


def _compare(
    table: pd.DataFrame, first: _Column, others: Iterable[_Column], name: str, source: str, problems: Problems
) -> None:
    """Record columns of one meaning that disagree in a row: one of them is misread, or means something else."""
    for other in others:
        pairs = table[[first.name, other.name]] if other != first else table[:0]
        differing = [
            (number, *cells)
            for number, *cells in pairs.itertuples()
            if cells[0] in first.values
            and cells[1] in other.values
            and _differ(first.values[cells[0]], other.values[cells[1]], _SLACK.get(name))
        ]
        if differing:
            number, *cells = differing[0]
            where = f"{source} row {number}, columns {first.name} and {other.name}"
            more = f", and {plural(len(differing) - 1, 'more row')}" if len(differing) > 1 else ""
            advice = f"choose the {name}: --column {name}={first.name!r} or --column {name}={other.name!r}"
            problems.add(where, f"{' and '.join(map(repr, cells))} contradict each other{more}", advice)


def _differ(one: Any, other: Any, slack: float | None) -> bool:
    return bool(one != other if slack is None else abs(one - other) > slack + 0.03 * max(one, other))


def _candidates(name: str, one: Field, keys: Mapping[str, set[str]]) -> list[str]:
    """Return the columns that may hold a field, the best name first; of several units, days come first."""
    matches = [
        (
            plain_name(column) != name,
            one.aliases.index(alias),
            list(A_YEAR).index(unit_of(column) or "days"),
            column,
        )
        for column, own in keys.items()
        for alias in own & set(one.aliases)
        if name != "event" or unit_of(column) is None
    ]
    return list(dict.fromkeys(column for *_, column in sorted(matches)))


def _further_columns(table: pd.DataFrame, used: set[str]) -> tuple[list[str], dict[str, str]]:
    """Return the other columns that are copied unchanged, and the unused ones with the reason."""
    further, unused = [], {}
    for column in table.columns:
        if column in used:
            continue
        cells = [cell for cell in dict.fromkeys(table[column]) if not is_missing(cell)]
        if column in RESERVED:
            if cells:
                unused[column] = "this name means something else in patients.tsv"
        elif column in _CODED and any(plain_cell(cell).lstrip("-").isdigit() for cell in cells):
            unused[column] = (
                f"no legend explains what {', '.join(cells[:4])} mean: put it into the name, {_CODED[column]}"
            )
        else:
            further.append(column)
    return further, unused


def _say_codings(found: Mapping[str, _Column], source: str, report: ImportReport) -> None:
    """Record how numbers and flags were interpreted, and the range of times."""
    for name, column in found.items():
        values = list(column.values.values())
        if name == "event" or name in _CODED:
            said = {1.0: "dead", 0.0: "alive"} if name == "event" else {}
            coded = [
                f"{cell} as {said.get(value, value)}"
                for cell, value in column.values.items()
                if name != "cdkn2a" and (as_number(cell) is not None or plain_cell(cell) in YES | NO)
            ]
            if coded:
                report.choose(f"{source}, {column.name}: {', '.join(sorted(coded))}")
        elif name in ("survival_days", "age_years") and values:
            report.choose(f"{source}, {column.name}: {min(values):g} to {max(values):g} {name.split('_')[1]}")


def _values_of(
    row: Mapping[Any, str], found: Mapping[str, _Column], owner: str, where: str, report: ImportReport
) -> dict[str, Any]:
    values = {}
    for name, column in found.items():
        cell = row[column.name]
        if cell in column.values:
            values[name] = column.values[cell]
        elif not is_missing(cell):
            report.drop("value", f"{owner}.{name}", where, f"{name} cannot be understood", cell)
    return values


def _outcome(values: Mapping[str, Any], owner: str, where: str, report: ImportReport) -> Outcome:
    event, death = values.get("event"), values.get("days_to_death")
    if event == 0 and death is not None:
        report.drop("value", f"{owner}.survival", where, "alive, but with a time of death", f"{death:g}")
        return Outcome(where)
    days = values.get("survival_days")
    if days is None:
        days = death if event == 1 else values.get("days_to_last_follow_up")
    # a time that is not a whole number of days was rounded in months or years
    return Outcome(
        where, event, days, 0.0 if days is None or float(days).is_integer() else DAYS_IN["months"] / 2
    )


def merge_values(
    first: ReadPatients, more: ReadPatients, report: ImportReport, *, new_patients: bool = False
) -> Patients:
    """Return `first` with the additions of `more`; values of `first` stay, and contradictions are recorded.

    Patients that only `more` has are added if `new_patients` is true.
    """
    for patient in sorted({*first} & {*more}):
        for name in (*_CODED, "grade"):
            known, told = first[patient].get(name), more[patient].get(name)
            if known is not None and told is not None and known != told:
                reason = f"tables contradict each other in {name}: the first one counts"
                report.drop("value", f"{patient}.{name}", "", reason, f"{known}, then {told}")
    ids = [*more, *first] if new_patients else first
    return {patient: {**more.get(patient, {}), **first.get(patient, {})} for patient in ids}
