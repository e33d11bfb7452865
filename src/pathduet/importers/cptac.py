"""CPTAC: a clinical spreadsheet with one row a slide, and an expression matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.errors import InputError, Problem
from pathduet.importers.cohort_sheets import check_survival, safe_id, write_cohort
from pathduet.importers.facts import column_of, read_facts, read_table
from pathduet.importers.report import ImportReport
from pathduet.importers.table import matrix_samples, read_matrix

if TYPE_CHECKING:
    import pandas as pd

SLIDE_ENDING = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".dcm")
_SLIDE_COLUMNS = ("wsi_id", "slide_id", "slide")


def import_cptac(
    out: Path,
    clinical: Path,
    *,
    cohort: str = "cptac",
    expression: Path | None = None,
    unit: str = "",
    slides: Path | None = None,
    keep_without_survival: bool = False,
) -> ImportReport:
    """Turn a clinical sheet, an expression matrix and a folder of slides into sheets.

    Parameters
    ----------
    out : Path
        Folder of the sheets.
    clinical : Path
        One row a slide or a patient: Patient ID, WSI_ID, event, OS (days), molecular facts.
    expression : Path, optional
        Genes x samples; columns are case ids (``C3L-00104``), or aliquots that begin with one.
    unit : str
        Of the expression.
    slides : Path, optional
        Folder in which each WSI_ID names a file.
    keep_without_survival : bool
        Keep patients whose survival is missing, or not above 0 days, for the other tasks. By default their rows are
        refused: the cohort serves to test survival.

    Raises
    ------
    InputError
        If the sheets lack what they must have, or nobody is left.
    """
    report = ImportReport(cohort)
    table = read_table(clinical)
    # this spreadsheet calls the days OS; elsewhere OS is the event
    explicit = {"survival_days": "OS"} if {"OS", "event"} <= set(table.columns) else {}
    facts = read_facts(table, clinical.name, report, patient=safe_id, columns=explicit)
    report.counts |= {f"rows in {clinical.name}": len(table), "patients listed": len(facts)}
    identifier = column_of(table, ["patient_id", "case_id", "case", "patient"])
    where: dict[str, str] = {}
    for number, patient in enumerate(table[identifier].map(safe_id) if identifier else [], 2):
        where.setdefault(str(patient), f"{clinical.name} row {number}")
    check_survival(facts, report, where, drop=not keep_without_survival)
    rows = _slides(table, identifier, slides, clinical.name, report)
    matrix: pd.DataFrame | None = None
    samples: pd.DataFrame | None = None
    if expression is not None:
        matrix = read_matrix(expression)
        samples = matrix_samples(matrix, _owner(facts), expression.name, report)
        matrix = matrix[[matrix.columns[0], *samples["sample_id"]]]
    write_cohort(out, report, facts, slides=rows, expression=matrix, unit=unit, samples=samples)
    return report


def _owner(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {patient: patient for patient in facts}


def _slides(
    table: pd.DataFrame, identifier: str | None, folder: Path | None, source: str, report: ImportReport
) -> list[dict[str, Any]]:
    column = column_of(table, list(_SLIDE_COLUMNS))
    if folder is None or column is None or identifier is None:
        if column is not None:
            report.choose("no folder of slides was given: no slides.tsv rows")
        return []
    if not folder.is_dir():
        raise InputError(
            [Problem("--slides", f"no folder {folder}", "give the folder of the whole-slide images")]
        )
    files = _files_by_stem(sorted(p for p in folder.rglob("*") if p.name.lower().endswith(SLIDE_ENDING)))
    rows = {}
    for number, (patient, name) in enumerate(table[[identifier, column]].itertuples(index=False), 2):
        where, key = f"{source} row {number}", safe_id(str(name))
        owner = safe_id(str(patient))
        path = files.get(Path(str(name)).stem if str(name).lower().endswith(SLIDE_ENDING) else str(name))
        if key is None or owner is None:
            report.drop("slide", str(name), where, "no slide id")
        elif path is None:
            report.drop("slide", key, where, "no such file in the folder of slides")
        elif key in rows:
            report.drop("slide", key, where, "its id stands in another row, too")
        else:
            rows[key] = {"slide_id": key, "patient_id": owner, "path": str(path.resolve())}
    return [rows[key] for key in sorted(rows)]


def _files_by_stem(paths: Sequence[Path]) -> dict[str, Path]:
    return {path.stem: path for path in reversed(paths)}
