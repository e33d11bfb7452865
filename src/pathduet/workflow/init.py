"""``pathduet init``: turns a folder of slides or features and a table of labels into sheets and a configuration; reports what is unclear."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.cohort.codings import words_of
from pathduet.cohort.column_kinds import UNKNOWN, ColumnKind, column_kinds
from pathduet.cohort.sheets import SlideRow, read_patients, read_sheets
from pathduet.cohort.tcga_barcode import patient_of
from pathduet.core.config import default
from pathduet.core.errors import InputError, shown
from pathduet.core.files import write_text, write_tsv
from pathduet.core.ids import is_id
from pathduet.core.plural import plural
from pathduet.core.shipped import WORKFLOW
from pathduet.features.layout import files_in
from pathduet.importers.clinical_values import PATIENT_ID, column_of, read_table
from pathduet.importers.cohort_sheets import CohortExpression, write_expression
from pathduet.importers.ids import ids_of, safe_id
from pathduet.importers.matrix import expression_of, read_matrix
from pathduet.importers.report import ImportReport
from pathduet.importers.sample_types import TUMOURS
from pathduet.slides.folder import SLIDE_SUFFIXES, find_slides
from pathduet.slides.readers.source_choice import PICTURE_SUFFIXES

if TYPE_CHECKING:
    import pandas as pd

#: Names shown of a list on the terminal, before the rest is only counted; the report's file lists all.
SHOWN = 10
_PATIENT = {"patient", "case", "subject", "donor", "participant", "person"}


@dataclass(frozen=True)
class Link:
    """How the rows of a table of labels map to slides.

    Attributes
    ----------
    patients : dict of int to str
        Row -> patient id.
    slides : dict of str to int
        Slide (or sample of expression) -> a row of its patient.
    columns : tuple of str
        The table's columns that hold ids.
    how : str
        The same in words.
    """

    patients: dict[int, str]
    slides: dict[str, int]
    columns: tuple[str, ...]
    how: str


@dataclass
class Written:
    """What was found and written, in words.

    Attributes
    ----------
    lines : list of str
        For the terminal, in order.
    lists : list of tuple
        (title, names) of what was matched and what was not; shortened on the terminal.
    next : list of str
        Next steps for the user.
    """

    lines: list[str] = field(default_factory=list)
    lists: list[tuple[str, list[str]]] = field(default_factory=list)
    next: list[str] = field(default_factory=list)

    def text(self, shown: int | None = None) -> str:
        """Return everything; lists are cut after `shown` names."""
        lines = list(self.lines)
        for title, names in self.lists:
            lines.append(f"{title}: {len(names)}")
            lines += [f"  {name}" for name in names[:shown]]
            if shown is not None and len(names) > shown:
                lines.append(f"  ... and {len(names) - shown} more: init_report.txt")
        return "\n".join([*lines, *self.next])


def init(
    labels: Path,
    out: Path,
    *,
    slides: Path | None = None,
    features: Path | None = None,
    expression: Path | None = None,
    unit: str = "",
    cohort: str = "cohort",
    id_column: str = "",
    force: bool = False,
) -> str:
    """Write slides.tsv, patients.tsv, config.yaml and init_report.txt for a run; return what was found, for the terminal.

    Parameters
    ----------
    labels : Path
        A table (.csv, .tsv, .xlsx) with one row per patient or slide.
    out : Path
        Folder; created if missing.
    slides : Path, optional
        Folder of whole-slide images, with subfolders.
    features : Path, optional
        Folder of another tool's features, named like the slides; with subfolders.
    expression : Path, optional
        Matrix of genes and samples, in either orientation; requires `unit`.
    unit : str
        Unit of `expression`: counts, tpm, fpkm, log2_tpm or zscore.
    cohort : str
        Name of the cohort if the table has no such column.
    id_column : str
        Column of patient ids, if its values do not reveal it.
    force : bool
        Replace existing files.

    Raises
    ------
    InputError
        If there is nothing to match, ids cannot be matched, or files would be overwritten.
    """
    if slides is None and features is None and expression is None:
        found_none = "none of --slides, --features and --expression"
        raise InputError.of("pathduet init", found_none, "give at least one of them")
    targets = [out / name for name in ("slides.tsv", "patients.tsv", "config.yaml", "init_report.txt")]
    _check_targets(targets, force)
    found = Written()
    images = _find_slides(slides, found) if slides is not None else []
    if features is not None:
        encoded = _find_features(features, found)
        images = images or encoded
    table = _cleaned(read_table(labels), labels.name, found)
    matrix = _oriented(expression, table) if expression is not None else None
    names = {image.slide_id: _names_of(image) for image in images} or _sample_names(matrix)
    link = _link(table, names, "slides" if images else "samples", labels.name, id_column)
    found.lines.append(
        f"{labels.name}: {plural(len(table), 'row')}, {plural(len(set(link.patients.values())), 'patient')}; {link.how}"
    )
    patients = _patients(table, link, cohort, found)
    owners = {slide: link.patients[row] for slide, row in link.slides.items() if row in link.patients}
    rows = [
        {
            "slide_id": image.slide_id,
            "patient_id": owner,
            "cohort": patients[owner]["cohort"],
            **({} if slides is None else {"path": str(image.path)}),
        }
        for image in images
        if (owner := owners.get(image.slide_id)) is not None
    ]
    measured = None
    if expression is not None and matrix is not None:
        measured = _expression(expression.name, matrix, unit, _owners_of_samples(matrix, table, link), found)
    material = {row["patient_id"] for row in rows}
    if measured is not None:
        material |= set(measured.samples["patient_id"])
    _say_matches(images, rows, set(patients), material, found)
    patients = {patient: patients[patient] for patient in sorted(material)}
    columns = [
        name for name in dict.fromkeys(c for row in patients.values() for c in row) if name != "cohort"
    ]
    kinds = column_kinds(
        {c: [row.get(c, "") for row in patients.values()] for c in columns}, default("split.folds")
    )
    _clear_times(patients, kinds, found)
    _say_columns(kinds, found)
    out.mkdir(parents=True, exist_ok=True)
    _write_sheets(out, patients, rows, columns)
    cohorts = Counter(row["cohort"] for row in patients.values())
    tables = [] if measured is None else _write_tables(out, measured, patients, cohorts)
    config = out / "config.yaml"
    write_text(config, _configuration(out.resolve(), bool(rows), features, cohorts, kinds, tables))
    found.next = [
        f"written: {', '.join(path.name for path in targets if path.name != 'slides.tsv' or rows)} in {out}",
        f"next: read {config}, delete the tasks that you do not need (each trains every model), then"
        if any(kind.section == "tasks" and not kind.doubt for kind in kinds)
        else f"next: no column is clearly a task; name what to predict in {config}, then",
        f"  pathduet check -c {config}",
        f"  pathduet run -c {config}",
    ]
    write_text(out / "init_report.txt", found.text() + "\n")
    return found.text(SHOWN)


def _check_targets(targets: Iterable[Path], force: bool) -> None:
    shipped = WORKFLOW / "config.yaml"
    there = [path for path in targets if path.exists()]
    if any(path.resolve() == shipped for path in there):
        raise InputError.of(
            "--out", "the folder of PathDuet's config.yaml", "give another folder, such as mine"
        )
    if there and not force:
        raise InputError.of(
            "--out", f"{', '.join(map(str, there))} exist already", "give another folder, or --force"
        )


def _find_slides(folder: Path, found: Written) -> list[SlideRow]:
    if not folder.is_dir():
        raise InputError.of("--slides", f"no folder {folder}", "give the folder of the whole-slide images")
    there = find_slides(folder)
    kinds = Counter(image.path.suffix.lower() for image in there.slides)
    found.lines.append(f"{folder}: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}")
    if passed_over := [f"{file.file}: {file.passed_over}" for file in there.files if file.passed_over]:
        found.lists.append(("files that are not slides", passed_over))
    # sheets are UTF-8
    unwritable = [image for image in there.slides if not _is_text(str(image.path))]
    if unwritable:
        names = [shown(str(image.path)) for image in unwritable]
        found.lists.append(("slides whose names are not UTF-8, skipped: rename them", names))
    return [image for image in there.slides if image not in unwritable]


def _find_features(folder: Path, found: Written) -> list[SlideRow]:
    if not folder.is_dir():
        raise InputError.of("--features", f"no folder {folder}", "give the folder of the feature files")
    files = files_in(folder)
    if not files:
        raise InputError.of(
            "--features", f"no feature files in {folder}", "it needs .h5, .pt, .npy or .npz files"
        )
    kinds = Counter(path.suffix for path in files.values())
    found.lines.append(f"{folder}: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}")
    if unusable := [name for name in files if not is_id(name)]:
        found.lists.append(("feature files whose names cannot be slide ids, skipped: rename them", unusable))
    return [SlideRow(name, "", "", path) for name, path in files.items() if is_id(name)]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cleaned(table: pd.DataFrame, source: str, found: Written) -> pd.DataFrame:
    """Return the table with cells that mean "unknown" emptied."""
    for column in table.columns:
        unknown = Counter(cell for cell in table[column] if cell.lower() in UNKNOWN)
        if unknown:
            said = ", ".join(f"{cell!r} {n}" for cell, n in unknown.items())
            found.lines.append(f"{source}, {column}: counts as empty: {said}")
    return table.mask(table.apply(lambda cells: cells.str.lower().isin(UNKNOWN)), "")


# Matching rows to slides


def _names_of(image: SlideRow) -> set[str]:
    """Return the names a table may use for a slide: its file without extension or TCGA's dotted suffix.

    For a DICOM series also its folder.
    """
    stem = unicodedata.normalize("NFC", image.path.stem)
    names = [image.slide_id, stem, stem.split(".")[0]]
    names += [image.path.parent.name] if image.path.suffix.lower() == ".dcm" else []
    return {name.casefold() for name in names}


def _sample_names(matrix: pd.DataFrame | None) -> dict[str, set[str]]:
    return {} if matrix is None else {str(sample): {str(sample).casefold()} for sample in matrix.columns[1:]}


def _plain(cell: str) -> str:
    """Return a cell that names a slide, without folder and extension."""
    name = re.split(r"[/\\]", cell)[-1]
    return next(
        (
            name[: -len(ending)]
            for ending in (*SLIDE_SUFFIXES, *PICTURE_SUFFIXES)
            if name.lower().endswith(ending)
        ),
        name,
    )


def _beginnings(names: Iterable[str]) -> list[str]:
    """Return the whole names and their prefixes up to each word boundary, the longest first."""
    found = {
        name[: match.start()] for name in names for match in re.finditer(r"(?<=[^\W_])(?=[\W_]|$)", name)
    }
    return sorted({*found, *names}, key=len, reverse=True)


def _exact(cells: Sequence[str], names: Mapping[str, set[str]]) -> dict[str, int]:
    """Return {slide: row} for cells that equal a slide's name; a name of two slides matches neither."""
    counted = Counter(name for many in names.values() for name in many)
    slide_of = {name: slide for slide, many in names.items() for name in many if counted[name] == 1}
    rows: dict[str, int] = {}
    for row, cell in enumerate(cells):
        slide = slide_of.get(_plain(cell).casefold()) if cell else None
        if slide is not None:
            rows.setdefault(slide, row)
    return rows


def _by_beginning(cells: Sequence[str], names: Mapping[str, set[str]]) -> dict[str, int]:
    """Return {slide: row} for cells that equal or begin a slide's name; TCGA barcodes count by their patient's part."""
    rows: dict[str, int] = {}
    for row, cell in enumerate(cells):
        if cell:
            rows.setdefault((patient_of(cell) or cell).casefold(), row)
    matched = {}
    for slide, all_names in names.items():
        hits = [rows[part] for part in _beginnings(all_names) if part in rows]
        if hits:
            matched[slide] = hits[0]
    return matched


def _link(table: pd.DataFrame, names: Mapping[str, set[str]], what: str, source: str, chosen: str) -> Link:
    """Find the columns of ids by their values, or raise InputError with examples of both sides."""
    if chosen and chosen not in table.columns:
        raise InputError.of(
            "--id-column", f"{source} has no column {chosen!r}", f"columns: {', '.join(table.columns)}"
        )
    cells = {str(column): list(table[column]) for column in table.columns}
    exact = {column: _exact(values, names) for column, values in cells.items()}
    begin = {column: _by_beginning(values, names) for column, values in cells.items()}
    best = max((len(hits) for hits in (*exact.values(), *begin.values())), default=0)
    if best == 0:
        first = ", ".join(list(names)[:3])
        shown = "; ".join(
            f"{column}: {next(filter(None, values), '')}" for column, values in list(cells.items())[:6]
        )
        advice = f"a column must hold the names of the {what}, or the patient ids at the start of these names"
        raise InputError.of(
            source, f"no column matches the {what} ({first} ...); its columns hold {shown}", advice
        )
    by_name = [column for column in cells if len(exact[column]) == best]
    by_start = [column for column in cells if len(begin[column]) == best and column not in by_name]
    named = chosen or _column_of_patients(table)
    if by_name:
        slide = next((column for column in by_name if column != named), by_name[0])
        patient = named if named != slide else ""
        patient = patient or _only(by_start, begin, source)
        how = f"column {slide!r} holds the names of the {what}"
        if patient:
            how += f", {patient!r} the patients"
        elif slide != named and not all(patient_of(cell[:12]) for cell in cells[slide] if cell):
            how += "; no column of patients was found (--id-column names one), so each of them counts as a patient"
        matched, columns = exact[slide], [slide, patient]
    else:
        patient = chosen or (named if named in by_start else _only(by_start, begin, source))
        how = f"column {patient!r} holds the patient ids at the start of the names of the {what}"
        matched, columns = begin[patient], [patient, *(column for column in cells if exact[column])]
    called = {
        row: _patient_name(cell, whole=bool(patient)) for row, cell in enumerate(cells[patient or columns[0]])
    }
    ids = ids_of(called.values(), source, ImportReport("init"), safe_id)
    owners = {row: ids[name] for row, name in called.items()}
    return Link(
        {row: owner for row, owner in owners.items() if owner},
        matched,
        tuple(dict.fromkeys(filter(None, columns))),
        how,
    )


def _patient_name(cell: str, *, whole: bool) -> str:
    """Return the patient that a cell names: the patient's part of a TCGA barcode, or a slide's plain name (not `whole`)."""
    return patient_of(cell) or cell if whole else patient_of(cell[:12]) or _plain(cell)


def _column_of_patients(table: pd.DataFrame) -> str:
    """Return the column whose name is a usual one for patient ids; "" if there is none."""
    known = column_of(table, PATIENT_ID)
    return known or next((c for c in table.columns if set(words_of(c)) & _PATIENT), "")


def _only(columns: Sequence[str], begin: Mapping[str, Mapping[str, int]], source: str) -> str:
    """Return the only column, or the first of several that agree on every slide; "" for none."""
    if len({tuple(sorted(begin[column].items())) for column in columns}) > 1:
        raise InputError.of(
            source, f"columns {', '.join(columns)} match equally well", "say which: --id-column"
        )
    return columns[0] if columns else ""


# Patients


def _patients(table: pd.DataFrame, link: Link, cohort: str, found: Written) -> dict[str, dict[str, str]]:
    """Return the columns of each patient; where a patient's rows disagree, the cell stays empty and is listed."""
    patients: dict[str, dict[str, str]] = {}
    differ: dict[tuple[str, str], set[str]] = {}
    columns = {
        c: f"{c}_of_the_table" if c in ("slide_id", "path", "patient_id") else c for c in table.columns
    }
    lost = []
    for row, cells in enumerate(table.to_dict("records")):
        owner = link.patients.get(row)
        if owner is None:
            lost.append(f"row {table.index[row]}")
            continue
        known = patients.setdefault(owner, {"cohort": cohort})
        for column, cell in cells.items():
            name = columns[str(column)]
            if column in link.columns or not cell:
                continue
            if name == "cohort":
                known["cohort"] = safe_id(cell) or cohort
            elif known.setdefault(name, cell) != cell or (owner, name) in differ:
                differ.setdefault((owner, name), {known[name]}).add(cell)
    for owner, name in differ:
        patients[owner][name] = ""
    if lost:
        found.lists.append(("rows without a usable patient id, left out", lost))
    if differ:
        said = [f"{p}, {name}: {', '.join(sorted(values))}" for (p, name), values in differ.items()]
        found.lists.append(("cells in which a patient's rows disagree, left empty", said))
    return patients


def _say_matches(
    images: Sequence[SlideRow],
    rows: Sequence[Mapping[str, str]],
    patients: set[str],
    material: set[str],
    found: Written,
) -> None:
    matched = {row["slide_id"] for row in rows}
    if images:
        of = len({row["patient_id"] for row in rows})
        found.lists.append((f"slides matched, of {plural(of, 'patient')}", sorted(matched)))
    if lost := [str(image.path) for image in images if image.slide_id not in matched]:
        found.lists.append(("slides not matched, left out of slides.tsv", lost))
    if lost := sorted(patients - material):
        found.lists.append(("patients with neither slide nor expression, left out of patients.tsv", lost))


# Expression


def _oriented(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return a matrix with samples in columns, in the orientation that matches the table's ids."""
    cells = {
        (patient_of(cell) or cell).casefold() for column in table.columns for cell in table[column] if cell
    }

    def met(samples: Iterable[str]) -> int:
        return sum(any(part in cells for part in _beginnings([sample.casefold()])) for sample in samples)

    try:
        matrix = read_matrix(path)
    except InputError:
        return read_matrix(path, samples_in_rows=True)
    return (
        read_matrix(path, samples_in_rows=True)
        if met(matrix.iloc[:, 0]) > met(matrix.columns[1:])
        else matrix
    )


def _owners_of_samples(matrix: pd.DataFrame, table: pd.DataFrame, link: Link) -> dict[str, str]:
    """Return {sample: patient} by the column whose cells equal, or begin, the most samples' names."""
    names = _sample_names(matrix)
    rows = max((_by_beginning(list(table[column]), names) for column in table.columns), key=len)
    return {sample: link.patients[row] for sample, row in rows.items() if row in link.patients}


def _expression(
    source: str, matrix: pd.DataFrame, unit: str, owners: Mapping[str, str], found: Written
) -> CohortExpression | None:
    import pandas as pd

    shape = f"{source}: {plural(len(matrix), 'gene')}, {plural(matrix.shape[1] - 1, 'sample')}"
    if not unit:
        part = matrix.iloc[:2000, 1:].apply(pd.to_numeric, errors="coerce").to_numpy()
        kind = "Whole numbers" if (part % 1 == 0).all() else "Numbers with fractions"
        seen = f"{kind} from {part.min():g} to {part.max():g}: --unit counts, tpm, fpkm, log2_tpm or zscore?"
        found.lines.append(f"{shape}; not used, because its unit is not given. {seen}")
        return None
    report = ImportReport("init")
    measured = expression_of(matrix, unit, owners, report, TUMOURS, source=source, exact=True)
    of = measured.samples["patient_id"].nunique()
    found.lines.append(f"{shape}, {len(measured.samples):,} of them of {plural(of, 'patient')}")
    found.lines += report.choices
    if report.dropped:
        found.lists.append(("samples left out", [f"{item.name}: {item.reason}" for item in report.dropped]))
    return measured


def _write_tables(
    out: Path, measured: CohortExpression, patients: Mapping[str, Mapping[str, str]], cohorts: Iterable[str]
) -> list[dict[str, Any]]:
    """Write one table per cohort; return the configuration's entries."""
    cohort = measured.samples["patient_id"].map(lambda patient: patients[patient]["cohort"])
    entries = []
    for name in cohorts:
        samples = measured.samples[cohort == name]
        if len(samples):
            table = measured.table[[measured.table.columns[0], *samples["sample_id"]]]
            entries.append(write_expression(out, name, CohortExpression(table, measured.unit, samples)))
    return entries


# Files


def _clear_times(patients: Mapping[str, dict[str, str]], kinds: Sequence[ColumnKind], found: Written) -> None:
    """Empty survival times that are not above 0: a run rejects them."""
    times = [kind.columns[0] for kind in kinds if kind.what == "survival"]
    lost = []
    for patient, row in patients.items():
        for time in times:
            if row.get(time) and float(row[time]) <= 0:
                lost.append(f"{patient}, {time}: {row[time]}")
                row[time] = ""
    if lost:
        found.lists.append(("survival times not above 0, left empty", lost))


def _say_columns(kinds: Sequence[ColumnKind], found: Written) -> None:
    width = max((len(" + ".join(kind.columns)) for kind in kinds), default=0)
    found.lines.append("columns, by the patients with slides or expression:")
    for kind in kinds:
        use = "" if not kind.section else f" -> {kind.section[:-1]} {kind.name}"
        use += " (your decision)" if kind.doubt and use else ""
        found.lines.append(f"  {' + '.join(kind.columns):{width}}  {kind.what}: {kind.counts}{use}")
        if kind.doubt:
            found.lines.append(f"  {'':{width}}  {kind.doubt}")


def _write_sheets(
    out: Path,
    patients: Mapping[str, Mapping[str, str]],
    rows: Sequence[Mapping[str, str]],
    columns: Sequence[str],
) -> None:
    import pandas as pd

    table = pd.DataFrame([{"patient_id": p, **known} for p, known in patients.items()], dtype=object)
    write_tsv(out / "patients.tsv", table.reindex(columns=["patient_id", "cohort", *columns]))
    if rows:
        write_tsv(out / "slides.tsv", pd.DataFrame(rows))
        read_sheets(out / "slides.tsv", out / "patients.tsv", features_elsewhere="path" not in rows[0])
    else:
        read_patients(out / "patients.tsv")


def _configuration(
    folder: Path,
    has_slides: bool,
    features: Path | None,
    cohorts: Mapping[str, int],
    kinds: Sequence[ColumnKind],
    tables: Sequence[Mapping[str, Any]],
) -> str:
    """Return the configuration as text: clear columns as entries, the others as comments with the reason."""
    lines = [
        "# Written by `pathduet init` and laid over the defaults, PathDuet's config.yaml, whose comments say when to change a key.",
        f"#     pathduet check -c {folder / 'config.yaml'}",
        f"results: {_yaml(str(folder / 'results'))}",
        "sheets:",
        f"  slides: {_yaml(str(folder / 'slides.tsv') if has_slides else None)}",
        f"  patients: {_yaml(str(folder / 'patients.tsv'))}",
    ]
    if features is not None:
        lines.append(f"features: {{folder: {_yaml(str(features.resolve()))}}}")
    if len(cohorts) > 1:
        lines += [
            f"# Patients: {', '.join(f'{name} {n}' for name, n in cohorts.items())}. List cohorts that are only predicted under external.",
            f"cohorts: {{internal: {_yaml(list(cohorts))}, external: []}}",
        ]
    lines += _entries("tasks", kinds, "What to predict; each task trains every model.")
    lines += _entries("covariates", kinds, "Covariates of the clinical baselines.")
    if not tables:
        lines.append(
            "# No expression: models of slides and covariates run. `pathduet init --expression FILE --unit tpm` adds it."
        )
    else:
        lines += ["expression:", "  tables:"]
        for entry in tables:
            paths = {key: str(Path(str(entry[key])).resolve()) for key in ("path", "samples")}
            lines.append(f"    - {_yaml({**entry, **paths})}")
    return "\n".join(lines) + "\n"


def _entries(section: str, kinds: Sequence[ColumnKind], about: str) -> list[str]:
    entries = [kind for kind in kinds if kind.section == section]
    clear = any(not kind.doubt for kind in entries)
    lines = [
        f"# {about}"
        + (" Entries commented out with # need your decision." if any(k.doubt for k in entries) else "")
    ]
    lines.append(f"{section}:" if clear else f"# {section}:")
    for kind in entries:
        lines.append(f"  ## {' + '.join(kind.columns)}: {kind.counts}")
        lines += [f"  ## {kind.doubt}"] if kind.doubt else []
        lines.append(f"  {'# ' if kind.doubt else ''}{_yaml(kind.name)}: {_yaml(kind.entry)}")
    return lines if entries else []


def _yaml(value: Any) -> str:
    """Return a value on one line of YAML."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
