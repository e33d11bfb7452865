"""CPTAC: a clinical spreadsheet with one row per slide, and an expression matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pathduet.core.errors import InputError
from pathduet.importers.clinical_values import PATIENT_ID, Choices, column_of, read_table, read_values
from pathduet.importers.cohort_sheets import check_survival, write_cohort
from pathduet.importers.ids import ids_of, patient_id, safe_id
from pathduet.importers.matrix import expression_of, read_matrix
from pathduet.importers.options import Cohort, Column, EventMeans, Matrix, Out, SampleTypes, Unit
from pathduet.importers.report import ImportReport
from pathduet.importers.sample_types import PRIMARY, types_of_rows, wrong_type
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
    column: Column = None,
    event_means: EventMeans = None,
    expression: Matrix = None,
    unit: Unit = "",
    sample_type: SampleTypes = None,
    slides: Annotated[Path | None, typer.Option(help="Folder of the whole-slide images.")] = None,
    keep_without_survival: Annotated[
        bool,
        typer.Option(
            help="Keep patients without survival above 0 days for other tasks; otherwise they are refused."
        ),
    ] = False,
) -> ImportReport:
    """Convert a clinical sheet, an expression matrix and a folder of slides to sheets.

    The clinical sheet has one row per slide or patient: Patient ID, WSI_ID, event, OS (days), molecular findings. Sample names
    are case ids (``C3L-00104``), or a case id with the kind of tissue (``C3L-00104-T``; ``.N``, ``-NAT`` and ``-A`` are normal tissue).
    One sample per patient is used. Each WSI_ID names a file. Patients without survival above 0 days are refused, because
    this cohort is used to test survival.

    Raises
    ------
    InputError
        If a required column is missing, or no patient is left.
    """
    report = ImportReport(cohort)
    table = read_table(clinical)
    # this spreadsheet names the days OS; elsewhere OS is the event
    explicit = ["survival_days=OS"] if {"OS", "event"} <= set(table.columns) else []
    choices = Choices.of([*explicit, *(column or ())], event_means)
    choices.check([table], clinical.name)
    of_slides = [column for column in [column_of(table, SLIDE_COLUMNS)] if column is not None]
    patients = read_values(table.drop(columns=of_slides), clinical.name, report, choices=choices)
    report.counts |= {f"rows in {clinical.name}": len(table), "patients listed": len(patients)}
    check_survival(patients, report, drop=not keep_without_survival)
    types = sample_type or [PRIMARY]
    rows = _slides(table, slides, clinical.name, report, types)
    matrix = None
    if expression is not None:
        owners, source = {p: p for p in patients}, expression.name
        matrix = expression_of(read_matrix(expression), unit, owners, report, types, source=source)
    write_cohort(out, report, patients, rows, matrix)
    return report


def _slides(
    table: pd.DataFrame, folder: Path | None, source: str, report: ImportReport, types: Sequence[str]
) -> list[dict[str, Any]]:
    column, identifier = column_of(table, SLIDE_COLUMNS), column_of(table, PATIENT_ID)
    if folder is None or column is None or identifier is None:
        if column is not None:
            report.choose("no folder of slides was given: no slides.tsv rows")
        return []
    if not folder.is_dir():
        raise InputError.of("--slides", f"no folder {folder}", "give the folder of the whole-slide images")
    # of two files with the same stem, use the first
    files = {path.stem: path for path in reversed(files_with_ending(folder, SLIDE_ENDING))}
    kinds, ids = types_of_rows(table), ids_of(table[column], source, report, safe_id)
    rows = SlideRows(report)
    for number, patient, name in table[[identifier, column]].itertuples():
        where, key, owner = f"{source} row {number}", ids[name], patient_id(patient)
        path = files.get(Path(name).stem if name.lower().endswith(SLIDE_ENDING) else name)
        if key is None or owner is None:
            report.drop("slide", name, where, "no slide id")
        elif kinds is not None and (reason := wrong_type(kinds[number], types)):
            report.drop("slide", key, where, reason)
        elif path is None:
            report.drop("slide", key, where, "no such file in the folder of slides")
        else:
            rows.add(key, owner, path.resolve(), where)
    return rows.ordered()
