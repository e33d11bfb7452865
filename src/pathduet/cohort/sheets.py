"""Read, validate and cross-check the input sheets, slides and patients; either may be omitted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from os.path import dirname, isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.config import schema
from pathduet.core.errors import InputError, Problems
from pathduet.core.sheet_file import read_lines, rows_below

if TYPE_CHECKING:
    import pandas as pd

_NUMERIC = {"mpp"}
#: Columns that name another tool's features, and all columns that name files.
FEATURES = ("features", "features_10x", "features_20x")
FILES = ("path", "mask", *FEATURES)
#: Cohort of every row if the sheet has no such column.
ONE_COHORT = "cohort"


@dataclass(frozen=True)
class SlideRow:
    """One validated row of slides.tsv.

    Attributes
    ----------
    slide_id, patient_id, cohort : str
        Identifiers; safe as file names.
    path : Path
        Absolute path of the raw slide; read only, nothing is written beside it. ``Path()`` if none.
    mpp : float or None
        Pixel size at level 0 in micrometres, if the sheet gives one.
    scanner, site : str
        Free text, may be empty.
    exclude : str
        A reason for leaving the slide out; empty to use it.
    mask : Path or None
        The user's tissue mask, GeoJSON or PNG, instead of the automatic one.
    mask_frame : str
        Its coordinate frame: level0, qupath, or empty if not given.
    features : Path or None
        Another tool's features, at one magnification that the file or the configuration states; read only.
    features_10x, features_20x : Path or None
        The same by magnification.
    scene : str
        Which image of a file that holds several, by name or number.
    """

    slide_id: str
    patient_id: str
    cohort: str
    path: Path = Path()
    mpp: float | None = None
    scanner: str = ""
    site: str = ""
    exclude: str = ""
    mask: Path | None = None
    mask_frame: str = ""
    features: Path | None = None
    features_10x: Path | None = None
    features_20x: Path | None = None
    scene: str = ""

    @property
    def has_raw(self) -> bool:
        """Whether the sheet names a raw slide."""
        return bool(self.path.name)

    @property
    def foreign(self) -> dict[str, Path]:
        """Another tool's feature files by magnification; "" if the sheet does not state it."""
        if self.features is self.features_10x is self.features_20x is None:
            return {}
        named = {"": self.features, "10x": self.features_10x, "20x": self.features_20x}
        return {name: path for name, path in named.items() if path is not None}

    def at(self, magnifications: Iterable[str]) -> SlideRow:
        """Return the row with `features` assigned to the magnifications that their file holds."""
        if self.features is None:
            return self
        named: dict[str, Any] = {f"features_{name}": self.features for name in magnifications}
        return replace(self, features=None, **named)

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for JSON and a rule's parameters, without missing features or scene."""
        plain = dict(self.__dict__)
        for column in FILES:
            if plain[column] is not None:
                plain[column] = str(plain[column])
            elif column in FEATURES:
                del plain[column]
        if not self.scene:
            del plain["scene"]
        return plain

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> SlideRow:
        """Undo :meth:`to_plain`."""
        typed: dict[str, Any] = {k: Path(v) if k in FILES and v is not None else v for k, v in value.items()}
        return cls(**typed)


def _read_rows(path: Path, name: str, problems: Problems) -> list[tuple[int, dict[str, Any]]]:
    """Read a sheet and validate its cells against the schema; rows have the line numbers of an editor.

    Columns that are not in the schema keep their cells as text. A sheet without the column `cohort` is one cohort.
    """
    rules, label = schema(name), path.name
    known = rules["properties"]
    try:
        lines = read_lines(path)
    except InputError as error:
        problems += error.problems
        return []
    if not lines:
        problems.add(label, "empty file", f"needs a header with {', '.join(rules['required'])}")
    header = lines[0] if lines else []
    if not lines or not _check_header(header, rules, label, problems):
        return []
    rows: list[tuple[int, dict[str, Any]]] = []
    checks = [(column, _check_of(known[column])) for column in header if column in known]
    extra = [column for column in header if column not in known]
    for number, cells in rows_below(header, lines[1:], label, problems):
        row: dict[str, Any] = dict(zip(header, cells))
        row.pop("", None)
        wrong = {}
        for column, valid in checks:
            cell = row[column]
            if not cell:
                del row[column]
                continue
            if column in _NUMERIC:
                row[column] = cell = _number(cell)
            if not valid(cell):
                wrong[column] = f"found {cell!r}"
        for column in extra:
            if column and not row[column]:
                row[column] = None
        if "cohort" not in header:
            row["cohort"] = ONE_COHORT
        missing = {column: "empty" for column in rules["required"] if column not in row}
        for column, found in (missing | wrong).items():
            problems.add(f"{label} row {number}, {column}", found, known[column]["description"])
        rows.append((number, row))
    if not rows:
        problems.add(label, "no rows below the header", "add at least one")
    return rows


def _check_of(rules: Mapping[str, Any]) -> Callable[[Any], object]:
    """Return the check of a column's filled cells; for text with no rule but a pattern it takes a tenth of jsonschema's time."""
    from jsonschema import Draft202012Validator

    others = {name: rule for name, rule in rules.items() if name not in ("type", "pattern", "description")}
    if rules.get("type") == "string" and others in ({}, {"minLength": 1}):
        return re.compile(rules.get("pattern", "")).search
    return cache(Draft202012Validator(rules).is_valid)


def _check_header(header: list[str], rules: Mapping[str, Any], label: str, problems: Problems) -> bool:
    known, before = rules["properties"], len(problems)
    for column in sorted({c for c in header if c and header.count(c) > 1}):
        problems.add(f"{label} header", f"column {column!r} appears twice", "keep one")
    absent = [column for column in known if column not in header]
    for column in filter(None, header):
        # an extra column is the user's own, but a misspelt one would be ignored silently
        near = (
            [] if column in known else difflib.get_close_matches(column.casefold(), absent, n=1, cutoff=0.8)
        )
        if near:
            problems.add(
                f"{label} header",
                f"column {column!r}",
                f"did you mean {near[0]}? rename it, or choose another name",
            )
    for column in rules["required"]:
        if column not in header and column != "cohort":
            problems.add(f"{label} header", f"no column {column!r}", known[column]["description"])
    return len(problems) == before


def _number(text: str) -> float | str:
    try:
        value = float(text)
    except ValueError:
        return text
    # a sheet may not hold NaN or infinity; left as text, they fail the schema's type
    return value if value - value == 0 else text


def _check_ids(
    rows: Iterable[tuple[int, Mapping[str, Any]]], column: str, label: str, problems: Problems
) -> None:
    first: dict[str, int] = {}
    for number, row in rows:
        if column not in row:
            continue
        # files named by ids must not collide on case-insensitive disks
        before = first.setdefault(row[column].casefold(), number)
        if before != number:
            found = f"{row[column]!r} is already in row {before}"
            advice = "ids must be unique, ignoring case"
            problems.add(f"{label} row {number}, {column}", found, advice)


def read_slides(path: str | Path, *, features_elsewhere: bool = False) -> list[SlideRow]:
    """Read and validate slides.tsv.

    Parameters
    ----------
    path : path
    features_elsewhere : bool
        Rows may name neither a raw slide nor features: a folder holds them.

    Raises
    ------
    InputError
        Lists every problem with row and column: unknown or missing columns, invalid or duplicate ids, slide
        files that do not exist (rows with `exclude` need none).
    """
    problems = Problems()
    slides = _parse_slides(Path(path), problems, features_elsewhere=features_elsewhere)
    problems.check()
    return slides


def read_slide_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read slides.tsv without checking its files: each row's filled cells, unchanged, by column.

    Raises
    ------
    InputError
        As :func:`read_slides`, except for files that do not exist.
    """
    problems = Problems()
    rows = _read_rows(Path(path), "slides", problems)
    _check_ids(rows, "slide_id", Path(path).name, problems)
    problems.check()
    return [{column: cell for column, cell in row.items() if cell is not None} for _, row in rows]


def _parse_slides(
    path: Path, problems: Problems, files_to_come: bool = False, features_elsewhere: bool = False
) -> list[SlideRow]:
    slides = []
    rows = _read_rows(path, "slides", problems)
    _check_ids(rows, "slide_id", path.name, problems)
    known, folder = schema("slides")["properties"], path.resolve().parent
    if (
        rows
        and not features_elsewhere
        and not any(row.get(c) for _, row in rows for c in ("path", *FEATURES))
    ):
        problems.add(
            f"{path.name} header",
            f"no column 'path', nor {' or '.join(FEATURES)}",
            known["path"]["description"],
        )
        return []
    for number, row in rows:
        if not row.keys() >= {"slide_id", "patient_id", "cohort"}:
            continue
        row = {column: cell for column, cell in row.items() if column in known}
        given = [column for column in FEATURES if column in row]
        where = f"{path.name} row {number}"
        if "features" in given and len(given) > 1:
            problems.add(f"{where}, features", f"beside {given[1]}", "name a slide's features once")
        if not given and "path" not in row and not (features_elsewhere or row.get("exclude")):
            problems.add(
                f"{where}, path", "empty", f"{known['path']['description']} Or {' or '.join(FEATURES)}"
            )
        # DICOM slides are files too; MRXS keeps its folder beside the named file
        for column, other_way in (("path", "give a reason in `exclude`"), ("mask", "leave it empty")):
            if column not in row:
                continue
            # an absolute path stays as it is
            file = folder / row[column]
            expected = not (row.get("exclude") or (column == "path" and files_to_come))
            if expected and not isfile(file):  # noqa: PTH113  (Path.is_file takes twice as long)
                advice = f"correct it (relative to the sheet, or absolute), or {other_way}"
                problems.add(f"{where}, {column}", f"no file {row[column]!r}", advice)
            row[column] = file
        # a slide without its feature file is lost, with a reason in the ledger
        for column in given:
            row[column] = folder / row[column]
        slides.append(SlideRow(**row))
    return slides


def read_patients(path: str | Path) -> pd.DataFrame:
    """Read and validate the patients' sheet, or read the patients from a slides' sheet that serves as both.

    Returns
    -------
    DataFrame
        Indexed by patient_id: `cohort` and every further column of the sheet, cells as text, None where empty
        (:data:`pathduet.core.sheet_file.MISSING`). The task or covariate that names a column defines its meaning.

    Raises
    ------
    InputError
        Lists every problem with row and column. In a slides' sheet, a patient's rows must agree.
    """
    problems = Problems()
    table = _parse_patients(Path(path), problems)
    problems.check()
    return table


def _parse_patients(path: Path, problems: Problems) -> pd.DataFrame:
    import pandas as pd

    rows = _read_rows(path, "patients", problems)
    if any("slide_id" in row for _, row in rows):
        rows = _patients_of_slides(rows, path.name, problems)
    _check_ids(rows, "patient_id", path.name, problems)
    complete = [row for _, row in rows if "patient_id" in row]
    columns = list(dict.fromkeys(["cohort", *(column for row in complete for column in row)]))
    return pd.DataFrame(
        {column: [row.get(column) for row in complete] for column in columns if column != "patient_id"},
        index=pd.Index([row["patient_id"] for row in complete], name="patient_id", dtype=object),
        dtype=object,
    )


def _patients_of_slides(
    rows: Iterable[tuple[int, dict[str, Any]]], label: str, problems: Problems
) -> list[tuple[int, dict[str, Any]]]:
    """Return one row per patient, merged from the slides' rows; differing cells of a patient's slides are problems."""
    own = set(schema("slides")["properties"]) - {"patient_id", "cohort"}
    patients: dict[str, tuple[int, dict[str, Any]]] = {}
    for number, row in rows:
        about = {column: cell for column, cell in row.items() if column not in own}
        first, known = patients.setdefault(row.get("patient_id", ""), (number, about))
        for column, cell in about.items():
            known[column] = cell if known.get(column) is None else known[column]
            if cell is not None and known[column] != cell:
                found = f"{cell!r}, but {known[column]!r} in row {first} of the same patient"
                problems.add(f"{label} row {number}, {column}", found, "correct or clear one")
    return list(patients.values())


def read_sheets(
    slides_path: str | Path | None,
    patients_path: str | Path | None,
    cohorts: Sequence[str] | None = None,
    *,
    files_to_come: bool = False,
    features_elsewhere: bool = False,
) -> tuple[list[SlideRow], pd.DataFrame]:
    """Read both sheets, check them against each other and raise one error that lists every problem.

    Parameters
    ----------
    slides_path, patients_path : path or None
        TSV, CSV or XLSX. Without slides, only patients are read; without patients, the slides' sheet serves as both and its
        extra columns describe patients.
    cohorts : sequence of str, optional
        The configured cohorts; rows of other cohorts are problems, and each cohort must have a patient.
    files_to_come : bool
        The slides need not exist yet.
    features_elsewhere : bool
        Rows may name neither a raw slide nor features: a folder holds them.

    Returns
    -------
    slides : list of SlideRow
    patients : DataFrame
        As from :func:`read_patients`.
    """
    sheet = patients_path or slides_path
    if sheet is None:
        raise InputError.of("sheets", "neither slides nor patients", "name at least one of the two sheets")
    problems = Problems()
    slides = []
    if slides_path is not None:
        slides = _parse_slides(Path(slides_path), problems, files_to_come, features_elsewhere)
    if patients_path is None:
        problems.check()
    before = len(problems)
    patients = _parse_patients(Path(sheet), problems)
    if len(problems) == before:
        if slides_path is not None:
            _compare(slides, patients, Path(slides_path).name, Path(sheet).name, problems)
        if cohorts:
            _check_cohorts(set(patients["cohort"]), set(cohorts), Path(sheet).name, problems)
    problems.check()
    return slides, patients


def check_own_folder(slides: Iterable[SlideRow], folder: Path, key: str) -> None:
    """Refuse a results folder that holds raw slides or is inside a folder of raw slides.

    Raises
    ------
    InputError
        If it is; `key` names the setting or option of the folder.
    """
    own = folder.resolve()
    raw = [slide for slide in slides if slide.has_raw]
    # Path.parent takes ten times as long
    for parent, slide in {dirname(slide.path): slide for slide in raw}.items():  # noqa: PTH120
        place = Path(parent).resolve()
        if own.is_relative_to(place) or place.is_relative_to(own):
            found = f"{folder} holds raw slides, or is inside their folder ({slide.path.name})"
            raise InputError.of(key, found, "give another folder: nothing is written beside raw slides")


def _compare(
    slides: Iterable[SlideRow], patients: pd.DataFrame, sheet: str, other: str, problems: Problems
) -> None:
    """Add problems for slides whose patient is missing or in another cohort."""
    cohorts = dict(zip(patients.index, patients["cohort"].tolist()))
    for slide in slides:
        cohort = cohorts.get(slide.patient_id)
        if cohort is None:
            found = f"patient {slide.patient_id!r} has no row in {other}"
            problems.add(f"{sheet}, slide {slide.slide_id}, patient_id", found, "add the row")
        elif cohort != slide.cohort:
            found = f"{slide.cohort!r}, but the patient's is {cohort!r}"
            problems.add(f"{sheet}, slide {slide.slide_id}, cohort", found, "make them agree")


def _check_cohorts(found: set[str], configured: set[str], sheet: str, problems: Problems) -> None:
    for cohort in sorted(found - configured):
        unknown = f"{cohort!r} is in neither cohorts.internal nor cohorts.external"
        problems.add(f"{sheet}, cohort", unknown, "add it to the configuration, or correct it")
    for cohort in sorted(configured - found):
        problems.add(
            "cohorts", f"no patient of cohort {cohort!r} in {sheet}", "remove it, or add its patients"
        )
