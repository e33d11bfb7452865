"""The input sheets: slides.tsv and patients.tsv, read, validated and cross-checked."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.config import schema
from pathduet.core.errors import InputError, Problem

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


def _read_rows(path: Path, name: str) -> tuple[list[tuple[int, dict[str, Any]]], list[Problem]]:
    """Read a TSV and validate each row by its schema; rows are numbered as an editor numbers lines."""
    from jsonschema import Draft202012Validator

    rules = schema(name)
    label = path.name
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            lines = list(csv.reader(handle, delimiter="\t"))
    except OSError as error:
        return [], [Problem(label, error.strerror or "unreadable", "give the sheet's path")]
    except (UnicodeDecodeError, csv.Error) as broken:
        return [], [Problem(label, f"not a UTF-8 tab-separated file: {broken}", "save it as TSV, UTF-8")]
    if not lines:
        return [], [Problem(label, "empty file", f"needs a header with {', '.join(rules['required'])}")]
    header, problems = [cell.strip() for cell in lines[0]], []
    known = rules["properties"]
    for column in sorted({c for c in header if header.count(c) > 1}):
        problems.append(Problem(f"{label} header", f"column {column!r} stands twice", "keep one"))
    for column in header:
        if column not in known:
            problems.append(
                Problem(f"{label} header", f"unknown column {column!r}", f"known: {', '.join(known)}")
            )
    for column in rules["required"]:
        if column not in header:
            problems.append(Problem(f"{label} header", f"no column {column!r}", known[column]["description"]))
    if problems:
        return [], problems
    rows: list[tuple[int, dict[str, Any]]] = []
    validator = Draft202012Validator(rules)
    for number, cells in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(header):
            problems.append(
                Problem(
                    f"{label} row {number}",
                    f"{len(cells)} cells under {len(header)} columns",
                    "remove the extra tabs",
                )
            )
            continue
        row: dict[str, Any] = {}
        for column, cell in zip(header, cells):
            text = cell.strip()
            if not text:
                continue
            row[column] = _number(text) if column in _NUMERIC else text
        for violation in validator.iter_errors(row):
            if violation.validator == "required":
                missing = [c for c in rules["required"] if c not in row]
                column = next(c for c in missing if repr(c) in violation.message)
                problems.append(
                    Problem(f"{label} row {number}, {column}", "empty", known[column]["description"])
                )
            else:
                column = str(violation.absolute_path[0]) if violation.absolute_path else ""
                found = f"found {row.get(column)!r}"
                problems.append(
                    Problem(f"{label} row {number}, {column}", found, known[column]["description"])
                )
        rows.append((number, row))
    if not rows:
        problems.append(Problem(label, "no rows below the header", "add at least one"))
    return rows, problems


def _number(text: str) -> float | str:
    try:
        value = float(text)
    except ValueError:
        return text
    # NaN and infinities are no numbers a sheet may hold; left as text, they fail the schema's type
    return value if value - value == 0 else text


def _duplicates(rows: Iterable[tuple[int, Mapping[str, Any]]], column: str, label: str) -> list[Problem]:
    first: dict[str, int] = {}
    problems = []
    for number, row in rows:
        value = row.get(column)
        if value is None:
            continue
        # files of one id must not collide on case-insensitive disks either
        folded = str(value).casefold()
        if folded in first:
            problems.append(
                Problem(
                    f"{label} row {number}, {column}",
                    f"{value!r} stands already in row {first[folded]}",
                    "ids are unique (upper and lower case aside)",
                )
            )
        first.setdefault(folded, number)
    return problems


def read_slides(path: str | Path) -> list[SlideRow]:
    """Read and validate slides.tsv.

    Raises
    ------
    InputError
        Listing every problem with row and column: unknown or missing columns, bad ids, ids twice, slide files
        that do not exist (rows with `exclude` may miss theirs).
    """
    slides, problems = _parse_slides(Path(path))
    if problems:
        raise InputError(problems)
    return slides


def read_slide_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read slides.tsv without asking for its files: each row's filled cells as they stand, by column.

    Raises
    ------
    InputError
        As :func:`read_slides`, but for files that do not exist.
    """
    rows, problems = _read_rows(Path(path), "slides")
    problems += _duplicates(rows, "slide_id", Path(path).name)
    if problems:
        raise InputError(problems)
    return [row for _, row in rows]


def _parse_slides(path: Path, files_to_come: bool = False) -> tuple[list[SlideRow], list[Problem]]:
    rows, problems = _read_rows(path, "slides")
    problems += _duplicates(rows, "slide_id", path.name)
    slides = []
    for number, row in rows:
        if not {"slide_id", "patient_id", "cohort", "path"} <= set(row):
            continue
        file = Path(row["path"])
        file = file if file.is_absolute() else path.resolve().parent / file
        # DICOM slides are files too; MRXS keeps its folder beside the file that is named here
        if not (row.get("exclude") or files_to_come or file.is_file()):
            problems.append(
                Problem(
                    f"{path.name} row {number}, path",
                    f"no file {row['path']!r}",
                    "correct it (relative to the sheet, or absolute), or give a reason in `exclude`",
                )
            )
        mask = None
        if "mask" in row:
            mask = Path(row["mask"])
            mask = mask if mask.is_absolute() else path.resolve().parent / mask
            if not row.get("exclude") and not mask.is_file():
                problems.append(
                    Problem(
                        f"{path.name} row {number}, mask",
                        f"no file {row['mask']!r}",
                        "correct it (relative to the sheet, or absolute), or leave it empty",
                    )
                )
        slides.append(SlideRow(**{**row, "path": file, "mask": mask}))
    return slides, problems


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
    table, problems = _parse_patients(Path(path))
    if problems:
        raise InputError(problems)
    return table


def _parse_patients(path: Path) -> tuple[pd.DataFrame, list[Problem]]:
    import pandas as pd

    rows, problems = _read_rows(path, "patients")
    problems += _duplicates(rows, "patient_id", path.name)
    for number, row in rows:
        if ("survival_days" in row) != ("event" in row):
            there, absent = (
                ("survival_days", "event") if "survival_days" in row else ("event", "survival_days")
            )
            problems.append(
                Problem(
                    f"{path.name} row {number}, {absent}",
                    f"empty although {there} is given",
                    "give both or neither",
                )
            )
    columns = [c for c in schema("patients")["properties"] if c != "patient_id"]
    complete = [row for _, row in rows if "patient_id" in row]
    table = pd.DataFrame(
        {c: [row.get(c) for row in complete] for c in columns},
        index=pd.Index([row["patient_id"] for row in complete], name="patient_id", dtype=object),
        dtype=object,
    )
    if not problems:
        for column in columns:
            if column in _NUMERIC:
                table[column] = table[column].astype(float)
    return table, problems


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
    slides, problems = _parse_slides(Path(slides_path), files_to_come)
    patients, more = _parse_patients(Path(patients_path))
    problems += more
    if not more:
        names = Path(slides_path).name, Path(patients_path).name
        for slide in slides:
            if slide.patient_id not in patients.index:
                problems.append(
                    Problem(
                        f"{names[0]}, slide {slide.slide_id}, patient_id",
                        f"patient {slide.patient_id!r} has no row in {names[1]}",
                        "add the row",
                    )
                )
            elif (cohort := patients.at[slide.patient_id, "cohort"]) != slide.cohort:
                problems.append(
                    Problem(
                        f"{names[0]}, slide {slide.slide_id}, cohort",
                        f"{slide.cohort!r}, but the patient's is {cohort!r}",
                        "make them agree",
                    )
                )
        if cohorts is not None:
            for cohort in sorted(set(patients["cohort"]) - set(cohorts)):
                problems.append(
                    Problem(
                        f"{names[1]}, cohort",
                        f"{cohort!r} is in neither cohorts.internal nor cohorts.external",
                        "add it to the configuration, or correct it",
                    )
                )
            for cohort in sorted(set(cohorts) - set(patients["cohort"])):
                problems.append(
                    Problem(
                        "cohorts",
                        f"no patient of cohort {cohort!r} in {names[1]}",
                        "remove it, or add its patients",
                    )
                )
    if problems:
        raise InputError(problems)
    return slides, patients
