"""The input sheets: slides.tsv and patients.tsv, read, validated and cross-checked."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.config import schema
from pathduet.core.errors import Problems

if TYPE_CHECKING:
    import pandas as pd

_NUMERIC = {"mpp", "cdkn2a", "age_years", "survival_days", "event"}


@dataclass(frozen=True)
class SlideRow:
    """One validated row of slides.tsv.

    Attributes
    ----------
    slide_id, patient_id, cohort : str
        Identifiers; safe as file names.
    path : Path
        Absolute path of the raw slide; read only, never written beside.
    mpp : float or None
        Pixel size at level 0 in micrometres, if the sheet gives one.
    scanner, site : str
        Free text, may be empty.
    exclude : str
        A reason for leaving the slide out; empty to use it.
    mask : Path or None
        A tissue mask of the user's, GeoJSON or PNG, in place of the automatic one.
    """

    slide_id: str
    patient_id: str
    cohort: str
    path: Path
    mpp: float | None = None
    scanner: str = ""
    site: str = ""
    exclude: str = ""
    mask: Path | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return plain values, for JSON and for a rule's parameters."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in self.__dict__.items()}

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> SlideRow:
        """Undo :meth:`to_plain`."""
        mask = value.get("mask")
        return cls(**{**value, "path": Path(value["path"]), "mask": Path(mask) if mask else None})


def _read_rows(path: Path, name: str, problems: Problems) -> list[tuple[int, dict[str, Any]]]:
    """Read a TSV and validate each row by its schema; rows are numbered as an editor numbers lines."""
    from jsonschema import Draft202012Validator

    rules, label = schema(name), path.name
    known = rules["properties"]
    lines = _read_lines(path, rules["required"], problems)
    header = [cell.strip() for cell in lines[0]] if lines else []
    if not lines or not _check_header(header, rules, label, problems):
        return []
    rows: list[tuple[int, dict[str, Any]]] = []
    validator = Draft202012Validator(rules)
    for number, line in enumerate(lines[1:], 2):
        cells = [cell.strip() for cell in line]
        if not any(cells):
            continue
        if len(cells) > len(header):
            found = f"{len(cells)} cells under {len(header)} columns"
            problems.add(f"{label} row {number}", found, "remove the extra tabs")
            continue
        row = {
            column: _number(cell) if column in _NUMERIC else cell
            for column, cell in zip(header, cells)
            if cell
        }
        for violation in validator.iter_errors(row):
            if violation.validator == "required":
                missing = [c for c in rules["required"] if c not in row]
                column, found = next(c for c in missing if repr(c) in violation.message), "empty"
            else:
                column = str(violation.absolute_path[0]) if violation.absolute_path else ""
                found = f"found {row.get(column)!r}"
            problems.add(f"{label} row {number}, {column}", found, known[column]["description"])
        rows.append((number, row))
    if not rows:
        problems.add(label, "no rows below the header", "add at least one")
    _check_ids(rows, rules["required"][0], label, problems)
    return rows


def _read_lines(path: Path, required: Sequence[str], problems: Problems) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            lines = list(csv.reader(handle, delimiter="\t"))
        if not lines:
            problems.add(path.name, "empty file", f"needs a header with {', '.join(required)}")
        return lines
    except OSError as error:
        problems.add(path.name, error.strerror or "unreadable", "give the sheet's path")
    except (UnicodeDecodeError, csv.Error) as broken:
        problems.add(path.name, f"not a UTF-8 tab-separated file: {broken}", "save it as TSV, UTF-8")
    return []


def _check_header(header: list[str], rules: Mapping[str, Any], label: str, problems: Problems) -> bool:
    known, before = rules["properties"], len(problems)
    for column in sorted({c for c in header if header.count(c) > 1}):
        problems.add(f"{label} header", f"column {column!r} stands twice", "keep one")
    for column in header:
        if column not in known:
            problems.add(f"{label} header", f"unknown column {column!r}", f"known: {', '.join(known)}")
    for column in rules["required"]:
        if column not in header:
            problems.add(f"{label} header", f"no column {column!r}", known[column]["description"])
    return len(problems) == before


def _number(text: str) -> float | str:
    try:
        value = float(text)
    except ValueError:
        return text
    # NaN and infinities are no numbers a sheet may hold; left as text, they fail the schema's type
    return value if value - value == 0 else text


def _check_ids(
    rows: Iterable[tuple[int, Mapping[str, Any]]], column: str, label: str, problems: Problems
) -> None:
    first: dict[str, int] = {}
    for number, row in rows:
        if column not in row:
            continue
        # files of one id must not collide on case-insensitive disks either
        before = first.setdefault(row[column].casefold(), number)
        if before != number:
            found = f"{row[column]!r} stands already in row {before}"
            advice = "ids are unique (upper and lower case aside)"
            problems.add(f"{label} row {number}, {column}", found, advice)


def read_slides(path: str | Path) -> list[SlideRow]:
    """Read and validate slides.tsv.

    Raises
    ------
    InputError
        Listing every problem with row and column: unknown or missing columns, bad ids, ids twice, slide files
        that do not exist (rows with `exclude` may miss theirs).
    """
    problems = Problems()
    slides = _parse_slides(Path(path), problems)
    problems.check()
    return slides


def read_slide_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read slides.tsv without asking for its files: each row's filled cells as they stand, by column.

    Raises
    ------
    InputError
        As :func:`read_slides`, but for files that do not exist.
    """
    problems = Problems()
    rows = _read_rows(Path(path), "slides", problems)
    problems.check()
    return [row for _, row in rows]


def _parse_slides(path: Path, problems: Problems, files_to_come: bool = False) -> list[SlideRow]:
    slides = []
    for number, row in _read_rows(path, "slides", problems):
        if not {"slide_id", "patient_id", "cohort", "path"} <= set(row):
            continue
        # DICOM slides are files too; MRXS keeps its folder beside the file that is named here
        for column, other_way in (("path", "give a reason in `exclude`"), ("mask", "leave it empty")):
            if column not in row:
                continue
            # an absolute path stays as it is
            file = path.resolve().parent / row[column]
            expected = not (row.get("exclude") or (column == "path" and files_to_come))
            if expected and not file.is_file():
                advice = f"correct it (relative to the sheet, or absolute), or {other_way}"
                problems.add(f"{path.name} row {number}, {column}", f"no file {row[column]!r}", advice)
            row[column] = file
        slides.append(SlideRow(**row))
    return slides


def read_patients(path: str | Path) -> pd.DataFrame:
    """Read and validate patients.tsv.

    Returns
    -------
    DataFrame
        Indexed by patient_id, with every column of the schema (missing ones all-missing): text columns as
        object with None, `cdkn2a`, `age_years`, `survival_days` and `event` as float with NaN.

    Raises
    ------
    InputError
        Listing every problem with row and column, survival times of zero or less among them.
    """
    problems = Problems()
    table = _parse_patients(Path(path), problems)
    problems.check()
    return table


def _parse_patients(path: Path, problems: Problems) -> pd.DataFrame:
    import pandas as pd

    before = len(problems)
    rows = _read_rows(path, "patients", problems)
    for number, row in rows:
        given = [column for column in ("survival_days", "event") if column in row]
        if len(given) == 1:
            absent = "event" if given == ["survival_days"] else "survival_days"
            found = f"empty although {given[0]} is given"
            problems.add(f"{path.name} row {number}, {absent}", found, "give both or neither")
    columns = [c for c in schema("patients")["properties"] if c != "patient_id"]
    complete = [row for _, row in rows if "patient_id" in row]
    table = pd.DataFrame(
        {c: [row.get(c) for row in complete] for c in columns},
        index=pd.Index([row["patient_id"] for row in complete], name="patient_id", dtype=object),
        dtype=object,
    )
    if len(problems) == before:
        table = table.astype({column: float for column in columns if column in _NUMERIC})
    return table


def read_sheets(
    slides_path: str | Path,
    patients_path: str | Path,
    cohorts: Sequence[str] | None = None,
    *,
    files_to_come: bool = False,
) -> tuple[list[SlideRow], pd.DataFrame]:
    """Read both sheets, check them against each other and raise one error with everything that is wrong.

    Parameters
    ----------
    slides_path, patients_path : path
        The two TSV files.
    cohorts : sequence of str, optional
        The cohorts the configuration knows; rows of other cohorts are problems, and each must have a patient.
    files_to_come : bool
        The slides need not be there yet.

    Returns
    -------
    slides : list of SlideRow
    patients : DataFrame
        As from :func:`read_patients`.
    """
    problems = Problems()
    slides = _parse_slides(Path(slides_path), problems, files_to_come)
    before = len(problems)
    patients = _parse_patients(Path(patients_path), problems)
    if len(problems) == before:
        _compare(slides, patients, Path(slides_path).name, Path(patients_path).name, problems)
        if cohorts is not None:
            _check_cohorts(set(patients["cohort"]), set(cohorts), Path(patients_path).name, problems)
    problems.check()
    return slides, patients


def _compare(
    slides: Iterable[SlideRow], patients: pd.DataFrame, sheet: str, other: str, problems: Problems
) -> None:
    """Note slides of patients that are not there, or are of another cohort."""
    for slide in slides:
        where = f"{sheet}, slide {slide.slide_id}"
        if slide.patient_id not in patients.index:
            found = f"patient {slide.patient_id!r} has no row in {other}"
            problems.add(f"{where}, patient_id", found, "add the row")
        elif (cohort := patients.at[slide.patient_id, "cohort"]) != slide.cohort:
            found = f"{slide.cohort!r}, but the patient's is {cohort!r}"
            problems.add(f"{where}, cohort", found, "make them agree")


def _check_cohorts(found: set[str], configured: set[str], sheet: str, problems: Problems) -> None:
    for cohort in sorted(found - configured):
        unknown = f"{cohort!r} is in neither cohorts.internal nor cohorts.external"
        problems.add(f"{sheet}, cohort", unknown, "add it to the configuration, or correct it")
    for cohort in sorted(configured - found):
        problems.add(
            "cohorts", f"no patient of cohort {cohort!r} in {sheet}", "remove it, or add its patients"
        )
