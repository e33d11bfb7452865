"""Clinical values in the spellings of published tables, brought to those of patients.tsv; unknown stays unknown.

Every further column of a table comes along as it stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.errors import InputError
from pathduet.core.sheet_file import read_lines, too_many_cells
from pathduet.importers.report import ImportReport

if TYPE_CHECKING:
    import pandas as pd

#: Patient id -> columns of patients.tsv.
Patients = dict[str, dict[str, Any]]
ReadPatients = Mapping[str, Mapping[str, Any]]
#: What tables write where they know nothing (compared in lower case).
MISSING = {
    "", "na", "n/a", "nan", "none", "null", "--", "'--", "unknown", "not reported", "not available", "[not available]",
    "[not applicable]", "[unknown]", "[not evaluated]", "[discrepancy]", "not applicable", "not allowed to collect",
    "[completed]", "?", "-",
}  # fmt: skip

#: Column of patients.tsv to its names elsewhere, as :func:`_plain` spells them; the first one present is used.
ALIASES: dict[str, tuple[str, ...]] = {
    "patient_id": (
        "patient_id", "patient", "case_submitter_id", "submitter_id", "bcr_patient_barcode", "case_id", "case",
        "tumor_name", "donor",
    ),
    "idh": ("idh", "idh_status", "idh_mutation", "idh1", "idh1_status"),
    "codel_1p19q": ("codel_1p19q", "1p_19q_codeletion", "x1p_19q_codeletion", "1p19q", "1p19q_codeletion", "codel"),
    "cdkn2a": ("cdkn2a", "cdkn2a_cnv", "cdkn2ab"),
    "grade": ("grade", "2016_grade", "who_grade", "tumor_grade", "neoplasm_histologic_grade", "histologic_grade", "histological_grade"),
    "histology": ("histology", "primary_diagnosis", "histologic_diagnosis", "histological_type", "cancer_type_detailed"),
    "age_years": (
        "age_years", "age_at_index", "age", "age_years_at_diagnosis", "age_at_initial_pathologic_diagnosis",
        "age_in_years", "age_at_diagnosis",
    ),
    "sex": ("sex", "gender"),
    "survival_days": ("survival_days", "os_days", "os_time", "overall_survival_days"),
    "survival_months": ("survival_months", "os_months", "overall_survival_months"),
    "event": ("event", "os_event", "vital_status_1_dead", "vital_status", "os_status", "status", "dead", "os"),
}  # fmt: skip
VALUES = tuple(name for name in ALIASES if name != "survival_months")
#: Columns that a further one may not be called: what patients.tsv means by them, and what would make it a sheet of slides.
RESERVED = {"patient_id", "cohort", "survival_days", "event", "slide_id", "path"}
DAYS_A_MONTH = 30.4375
DAYS_A_YEAR = 365.25


def _plain(name: object) -> str:
    """Lower case, everything else than letters and digits one underscore; GDC's ``demographic.gender`` -> gender."""
    text = str(name).strip().lower()
    text = re.sub(r"^(cases|case|demographic|diagnoses|project|follow_ups)\.(?=[a-z])", "", text)
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_")


def read_table(path: str | PathLike[str], *, comment: str | None = None) -> pd.DataFrame:
    """Read .tsv, .txt (tab), .csv or .xlsx as text; cells stripped, missing as "".

    Column names are as they stand; of several alike the later ones get a number (``stage.1``). Columns without a name are left
    out: indices that R and pandas write.

    Raises
    ------
    InputError
        If the file is missing, unreadable or of another kind, or a row has more cells than there are columns.
    """
    import pandas as pd

    path = Path(path)
    lines = [line for line in read_lines(path) if any(line)]
    if comment:
        lines = [line for line in lines if not line[0].startswith(comment)]
    if not lines:
        raise InputError.of(path.name, "no header", "check that the file is whole")
    header, *rows = lines
    for number, row in enumerate(rows, 2):
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
    table = pd.DataFrame(rows, columns=pd.Index(names, dtype=object), dtype=object)
    return table[[name for name, plain in zip(names, header) if plain]]


def column_of(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    """Return the table's column that is called one of `names` (case and punctuation aside), the first name first."""
    plain = {_plain(column): column for column in reversed(list(table.columns))}
    return next((plain[name] for name in names if name in plain), None)


def is_missing(cell: object) -> bool:
    """Whether a cell says that nothing is known."""
    return str(cell).strip().lower() in MISSING


def _one_of(spellings: Mapping[str, Sequence[str]]) -> Callable[[str], str]:
    known = {spelling: value for value, many in spellings.items() for spelling in many}

    def parse(cell: str) -> str:
        text = re.sub(r"[^a-z0-9/+]+", " ", cell.lower()).strip()
        if text not in known:
            raise ValueError("not a known spelling")
        return known[text]

    return parse


def _years(cell: str) -> float:
    return float(re.sub(r"\s*(years?|yrs?|y)\.?$", "", cell.lower()))


def _call(cell: str) -> float:
    value = float(cell)
    if value not in (-2, -1, 0, 1, 2):
        raise ValueError("not a copy number call from -2 to 2")
    return value


_EVENT_WORDS = {
    1.0: ("1", "1 0", "true", "dead", "deceased", "died", "1 deceased", "yes"),
    0.0: ("0", "0 0", "false", "alive", "living", "censored", "0 living", "no"),
}


def _event(cell: str) -> float:
    text = re.sub(r"[^a-z0-9]+", " ", cell.lower()).strip()
    for value, words in _EVENT_WORDS.items():
        if text in words:
            return value
    raise ValueError("neither dead nor alive")


PARSERS: dict[str, Callable[[str], Any]] = {
    "idh": _one_of(
        {"WT": ("wt", "wildtype", "wild type", "idhwt"), "Mutant": ("mutant", "mut", "mutated", "idhmut")}
    ),
    "codel_1p19q": _one_of(
        {
            "codel": ("codel", "codeleted", "1p/19q codel", "yes"),
            "non-codel": ("non codel", "noncodel", "intact", "non codeleted", "no"),
        }
    ),
    "cdkn2a": _call,
    "grade": _one_of(
        {
            "G1": ("g1", "1", "i", "grade 1", "grade i", "who i", "who 1"),
            "G2": ("g2", "2", "ii", "grade 2", "grade ii", "who ii", "who 2"),
            "G3": ("g3", "3", "iii", "grade 3", "grade iii", "who iii", "who 3"),
            "G4": ("g4", "4", "iv", "grade 4", "grade iv", "who iv", "who 4"),
        }
    ),
    "histology": str,
    "age_years": _years,
    "sex": _one_of({"female": ("female", "f"), "male": ("male", "m")}),
    "survival_days": float,
    "survival_months": float,
    "event": _event,
}


def _text(row: Any, column: str | None) -> str:
    return "" if column is None or is_missing(row[column]) else str(row[column]).strip()


def read_values(
    table: pd.DataFrame,
    source: str,
    report: ImportReport,
    *,
    patient: Callable[[str], str | None] = lambda text: text or None,
    columns: Mapping[str, str] | None = None,
) -> Patients:
    """Return what a table says of each patient, in the words of patients.tsv, and its further columns as they stand.

    Columns are found by :data:`ALIASES`, or as `columns` says; one of whose values none is understood is a further column. A
    cell that cannot be understood is recorded as left out, and the value stays unknown. Several rows of a patient are joined;
    where they contradict each other the value stays unknown, too. Months become days (30.4375 each).

    Parameters
    ----------
    table : DataFrame
        From :func:`read_table`.
    source : str
        The file's name, for the report.
    patient : callable
        Patient id of the id column's text, or None to leave the row out.
    columns : mapping, optional
        Column of patients.tsv -> column of the table, before any alias.

    Raises
    ------
    InputError
        If there is no column with patient ids, or `columns` names one that is not there.
    """
    found = _columns_of(table, source, columns or {})
    _say_columns(found, source, report)
    further = _further_columns(table, found, source, report)
    patients: Patients = {}
    contradicted: dict[str, set[str]] = {}
    for number, row in enumerate(table.to_dict("records"), 2):
        identifier = patient(_text(row, found["patient_id"]))
        where = f"{source} row {number}"
        if identifier is None:
            report.drop("patient", row[str(found["patient_id"])], where, "no patient id of this cohort")
            continue
        known = patients.setdefault(identifier, {})
        unknown = contradicted.setdefault(identifier, set())
        for name in PARSERS:
            text = _text(row, found[name])
            if not text or name in unknown:
                continue
            try:
                value = _parsed(name, text, str(found[name]))
                if known.get(name, value) != value:
                    unknown.add(name)
                    del known[name]
                    raise ValueError(f"rows of one patient differ in {name}")
                known[name] = value
            except ValueError as error:
                report.drop("value", f"{identifier}.{name}", where, str(error), text)
        for name in further:
            text = _text(row, name)
            if text and name not in unknown and known.setdefault(name, text) != text:
                unknown.add(name)
                del known[name]
    for identifier, known in patients.items():
        months = known.pop("survival_months", None)
        if months is not None and "survival_days" not in known:
            known["survival_days"] = round(months * DAYS_A_MONTH, 2)
        if differing := [name for name in further if name in contradicted[identifier]]:
            reason = "rows of one patient differ in further columns"
            report.drop("value", f"{identifier}.further", source, reason, ", ".join(differing))
    return patients


def _columns_of(table: pd.DataFrame, source: str, chosen: Mapping[str, str]) -> dict[str, str | None]:
    absent = [f"{name}={column}" for name, column in chosen.items() if column not in table.columns]
    absent += [name for name in chosen if name not in ALIASES]
    if absent:
        raise InputError.of(
            source, f"no column for {', '.join(absent)}", f"columns: {', '.join(table.columns)}"
        )
    found = {name: chosen.get(name) or column_of(table, names) for name, names in ALIASES.items()}
    if found["patient_id"] is None:
        advice = f"needs a column {' or '.join(ALIASES['patient_id'])}"
        raise InputError.of(source, f"columns {', '.join(table.columns[:8])}", advice)
    for name in PARSERS:
        column = found[name]
        if column is not None and name not in chosen and not _understood(name, column, table[column]):
            found[name] = None
    return found


def _understood(name: str, column: str, cells: Iterable[str]) -> bool:
    """Whether any of a column's values is one that it should hold; also where it holds none."""
    texts = {cell for cell in cells if not is_missing(cell)}
    for text in texts:
        try:
            _parsed(name, text, column)
        except ValueError:
            continue
        return True
    return not texts


def _say_columns(found: Mapping[str, str | None], source: str, report: ImportReport) -> None:
    renamed = [f"{column} as {name}" for name, column in found.items() if column not in (None, name)]
    if renamed:
        report.choose(f"{source}: {', '.join(renamed)}")


def _further_columns(
    table: pd.DataFrame, found: Mapping[str, str | None], source: str, report: ImportReport
) -> list[str]:
    others = [str(column) for column in table.columns if column not in found.values()]
    reserved = RESERVED | {name for name, column in found.items() if column is not None}
    left = [column for column in others if column in reserved and not all(map(is_missing, table[column]))]
    if left:
        report.choose(
            f"{source}: not carried over, as these names mean something else here: {', '.join(left)}"
        )
    return [column for column in others if column not in reserved]


def _parsed(name: str, text: str, column: str) -> Any:
    """Return a cell's value; ValueError says what is wrong with it."""
    try:
        value = PARSERS[name](text)
    except ValueError as error:
        raise ValueError(f"{name} cannot be understood: {error}") from None
    if isinstance(value, float) and value - value != 0:
        raise ValueError(f"{name} is not a finite number")
    if name == "age_years" and _plain(column) == "age_at_diagnosis" and value > 130:
        # GDC gives age_at_diagnosis in days, the biotab and others in years
        return round(value / DAYS_A_YEAR, 2)
    return value


def merge_values(first: ReadPatients, more: ReadPatients, *, new_patients: bool = False) -> Patients:
    """Return `first` with what `more` adds; what `first` knows stays.

    Patients that only `more` has are added if `new_patients`.
    """
    ids = [*more, *first] if new_patients else first
    return {patient: {**more.get(patient, {}), **first.get(patient, {})} for patient in ids}
