"""CPTAC: a clinical spreadsheet with one row a slide, and an expression matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pathduet.core.errors import InputError
from pathduet.importers.clinical_values import column_of, read_table, read_values
from pathduet.importers.cohort_sheets import check_survival, safe_id, write_cohort
from pathduet.importers.matrix import read_cohort_matrix
from pathduet.importers.options import Cohort, Matrix, Out, Unit
from pathduet.importers.report import ImportReport
from pathduet.importers.slide_rows import SlideRows, files_with_ending

if TYPE_CHECKING:
    import pandas as pd

SLIDE_ENDING = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".dcm")
SLIDE_COLUMNS = ("wsi_id", "slide_id", "slide")


def import_cptac(
    out: Out,
    clinical: Annotated[Path, typer.Argument(help="Clinical sheet (.xlsx, .tsv, .csv).")],
    *,
    cohort: Cohort = "cptac",
    expression: Matrix = None,
    unit: Unit = "",
    slides: Annotated[Path | None, typer.Option(help="Folder of the whole-slide images.")] = None,
    keep_without_survival: Annotated[
        bool, typer.Option(help="Keep patients without a usable survival for the other tasks.")
    ] = False,
) -> ImportReport:
    """Turn a clinical sheet, an expression matrix and a folder of slides into sheets.

    The clinical sheet has one row a slide or a patient: Patient ID, WSI_ID, event, OS (days), molecular findings. Samples are
    case ids (``C3L-00104``), or aliquots that begin with one; each WSI_ID names a file. Patients whose survival is
    missing, or not above 0 days, are refused by default: the cohort serves to test survival.

    Raises
    ------
    InputError
        If the sheets lack what they must have, or nobody is left.
    """
    report = ImportReport(cohort)
    table = read_table(clinical)
    # this spreadsheet calls the days OS; elsewhere OS is the event
    explicit = {"survival_days": "OS"} if {"OS", "event"} <= set(table.columns) else {}
    of_slides = [column for column in [column_of(table, SLIDE_COLUMNS)] if column is not None]
    patients = read_values(
        table.drop(columns=of_slides), clinical.name, report, patient=safe_id, columns=explicit
    )
    report.counts |= {f"rows in {clinical.name}": len(table), "patients listed": len(patients)}
    identifier = column_of(table, ["patient_id", "case_id", "case", "patient"])
    where: dict[str, str] = {}
    for number, patient in enumerate(table[identifier].map(safe_id) if identifier else [], 2):
        where.setdefault(str(patient), f"{clinical.name} row {number}")
    check_survival(patients, report, where, drop=not keep_without_survival)
    rows = _slides(table, identifier, slides, clinical.name, report)
    matrix = None
    if expression is not None:
        matrix = read_cohort_matrix(expression, unit, {p: p for p in patients}, report)
    write_cohort(out, report, patients, rows, matrix)
    return report


def _slides(
    table: pd.DataFrame, identifier: str | None, folder: Path | None, source: str, report: ImportReport
) -> list[dict[str, Any]]:
    column = column_of(table, SLIDE_COLUMNS)
    if folder is None or column is None or identifier is None:
        if column is not None:
            report.choose("no folder of slides was given: no slides.tsv rows")
        return []
    if not folder.is_dir():
        raise InputError.of("--slides", f"no folder {folder}", "give the folder of the whole-slide images")
    # of two files with one stem the first
    files = {path.stem: path for path in reversed(files_with_ending(folder, SLIDE_ENDING))}
    rows = SlideRows(report)
    for number, (patient, name) in enumerate(table[[identifier, column]].itertuples(index=False), 2):
        where, key, owner = f"{source} row {number}", safe_id(name), safe_id(patient)
        path = files.get(Path(name).stem if name.lower().endswith(SLIDE_ENDING) else name)
        if key is None or owner is None:
            report.drop("slide", name, where, "no slide id")
        elif path is None:
            report.drop("slide", key, where, "no such file in the folder of slides")
        else:
            rows.add(key, owner, path.resolve(), where)
    return rows.ordered()
