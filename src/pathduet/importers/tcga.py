"""TCGA from a GDC download (UUID folders, sample sheet, clinical tables) or from a cBioPortal study folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pathduet.cohort.tcga_barcode import parse_barcode, patient_of
from pathduet.core.errors import InputError
from pathduet.importers.cbioportal import read_study_expression, read_study_tables
from pathduet.importers.clinical_values import (
    NO_CHOICES,
    PATIENT_ID,
    Choices,
    Patients,
    ReadPatients,
    column_of,
    is_missing,
    merge_values,
    read_table,
    read_values,
)
from pathduet.importers.cohort_sheets import check_survival, drop_without_material, write_cohort
from pathduet.importers.ids import safe_id
from pathduet.importers.options import Cohort, Column, EventMeans, Labels, Out, SampleTypes
from pathduet.importers.outcomes import Outcome, settle
from pathduet.importers.report import ImportReport
from pathduet.importers.sample_types import PRIMARY
from pathduet.importers.slide_rows import SlideRows, files_with_ending
from pathduet.importers.star_counts import QUANTITIES, find_star_files, read_star_files

if TYPE_CHECKING:
    import pandas as pd

SLIDE_ENDING = (".svs", ".tif", ".tiff")
#: Endpoints of the TCGA Pan-Cancer Clinical Data Resource (Liu et al., Cell 2018).
ENDPOINTS = ("os", "dss", "dfi", "pfi")


def import_tcga(
    out: Out,
    *,
    cohort: Cohort = "tcga",
    downloads: Annotated[Path | None, typer.Option(help="Folder of a GDC download (UUID folders).")] = None,
    sample_sheet: Annotated[Path | None, typer.Option(help="The GDC's sample sheet.")] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="Metadata JSON of the GDC cart, with the aliquots.")
    ] = None,
    clinical: Annotated[
        list[Path] | None, typer.Option(help="GDC clinical.tsv or biotab; repeatable.")
    ] = None,
    labels: Labels = None,
    cbioportal: Annotated[
        Path | None, typer.Option(help="Folder of a cBioPortal study, in place of --downloads.")
    ] = None,
    quantity: Annotated[
        str, typer.Option(help="Numbers to take from STAR-counts files: counts, tpm, fpkm or fpkm_uq.")
    ] = "tpm",
    frozen: Annotated[bool, typer.Option(help="Also use frozen sections (TS, BS, MS).")] = False,
    endpoints: Annotated[
        Path | None,
        typer.Option(
            help="Endpoints by barcode, such as TCGA-CDR (.xlsx, .tsv, .csv): OS, OS.time, DSS, DFI, PFI ..."
        ),
    ] = None,
    sample_type: SampleTypes = None,
    column: Column = None,
    event_means: EventMeans = None,
) -> ImportReport:
    """Convert a download of any TCGA project to sheets.

    STAR-counts files need the sample sheet or the cart's metadata, which name their patients. If several clinical tables have a
    value, the first one counts; for survival, the latest follow-up of all tables. A table of endpoints adds os_days, os_event and
    so on, and its other columns, for patients with slides or expression.

    Raises
    ------
    InputError
        If nothing usable is found.
    """
    if quantity not in QUANTITIES:
        raise InputError.of("--quantity", quantity, f"use {', '.join(QUANTITIES)}")
    if (downloads is None) == (cbioportal is None):
        raise InputError.of(
            "pathduet import tcga",
            "needs --downloads or --cbioportal",
            "give one of them; for tables alone use `pathduet import table`",
        )
    report = ImportReport(cohort)
    types, choices = sample_type or [PRIMARY], Choices.of(column, event_means)
    tables = [(path.name, _patients_only(read_table(path))) for path in clinical or ()]
    slides: list[dict[str, Any]] = []
    expression = None
    if downloads is not None:
        slides = find_slides(downloads, report, types, frozen=frozen)
        files = find_star_files(downloads, sample_sheet, metadata, report, types)
        expression = read_star_files(files, quantity, report) if files else None
    elif cbioportal is not None:
        tables += read_study_tables(cbioportal).items()
        expression = read_study_expression(cbioportal, report, types)
    findings = [(path.name, read_table(path)) for path in labels or ()]
    choices.check([table for _, table in [*tables, *findings]], "--column")
    patients: Patients = {}
    for name, table in tables:
        told = read_values(table, name, report, patient=patient_of, choices=choices)
        report.counts[f"patients in {name}"] = len(told)
        patients = merge_values(patients, told, report, new_patients=True)
    for name, table in findings:
        told = read_values(table, name, report, patient=patient_of, choices=choices)
        patients = merge_values(patients, told, report, new_patients=not patients)
    sampled = [] if expression is None else list(expression.samples["patient_id"])
    for patient in [*(slide["patient_id"] for slide in slides), *sampled]:
        if patient not in patients:
            patients[patient] = {}
            report.choose("patients with slides or expression but no clinical row are kept without values")
    drop_without_material(patients, slides, expression, report, "clinical tables")
    if endpoints is not None:
        patients = merge_values(patients, read_endpoints(endpoints, patients, report, choices), report)
    check_survival(patients, report)
    write_cohort(out, report, patients, slides, expression)
    return report


def find_slides(
    folder: Path, report: ImportReport, sample_types: Sequence[str], *, frozen: bool = False
) -> list[dict[str, Any]]:
    """Return the rows of slides.tsv for a download's whole-slide images (path absolute), sorted by id."""
    rows = SlideRows(report)
    found = files_with_ending(folder, SLIDE_ENDING)
    report.counts["slide files"] = len(found)
    for path in found:
        barcode = parse_barcode(path.name.split(".", 1)[0])
        identifier = safe_id(path.stem)
        where = str(path.relative_to(folder))
        if barcode is None or identifier is None:
            report.drop("slide", path.name, where, "its name does not begin with a TCGA barcode")
        elif barcode.sample_type not in sample_types:
            report.drop("slide", identifier, where, f"another sample type: {barcode.sample_type_name}")
        elif not barcode.rest.startswith("DX") and not frozen:
            report.drop("slide", identifier, where, "frozen section (diagnostic slides are DX)", barcode.rest)
        else:
            rows.add(identifier, barcode.patient, path.resolve(), where, site=barcode.site)
    return rows.ordered()


def read_endpoints(
    path: Path, patients: ReadPatients, report: ImportReport, choices: Choices = NO_CHOICES
) -> Patients:
    """Return the endpoints (TCGA-CDR) of these patients, days and event of each, and the table's other columns.

    A time that is not a number, or not above 0, leaves the endpoint unknown.

    Raises
    ------
    InputError
        If the table has no barcodes, or no endpoint.
    """
    table = read_table(path)
    identifier = column_of(table, ["bcr_patient_barcode", *PATIENT_ID])
    pairs = [(name, column_of(table, [f"{name}_time"]), column_of(table, [name])) for name in ENDPOINTS]
    there = [(name, time, event) for name, time, event in pairs if time is not None and event is not None]
    if identifier is None or not there:
        advice = "needs bcr_patient_barcode, and OS with OS.time, or DSS, DFI, PFI alike"
        raise InputError.of(path.name, f"columns {', '.join(table.columns[:12])}", advice)
    owner = table[identifier].map(patient_of)
    table = table[owner.isin(set(patients))]
    columns = [column for _, time, event in there for column in (time, event)]
    known = read_values(table.drop(columns=columns), path.name, report, patient=patient_of, choices=choices)
    report.columns[path.name]["read"] |= {column: column for column in columns}
    endpoints: dict[tuple[str, str], list[Outcome]] = {}
    for number, patient, row in zip(table.index, owner[table.index], table.to_dict("records")):
        where = f"{path.name} row {number}"
        for name, time, event in there:
            if is_missing(row[time]) or is_missing(row[event]):
                continue
            found = f"{time} {row[time]}, {event} {row[event]}"
            try:
                days, happened = float(row[time]), float(row[event])
            except ValueError:
                report.drop("value", f"{patient}.{name}", where, f"{name} is not a number", found)
                continue
            if not days > 0 or happened not in (0, 1):
                reason = f"{name}: time not above 0, or event neither 0 nor 1"
                report.drop("value", f"{patient}.{name}", where, reason, found)
                continue
            endpoints.setdefault((patient, name), []).append(Outcome(where, happened, days))
    for (patient, name), outcomes in endpoints.items():
        settled, status, contradiction = settle(outcomes)
        if name == "os":
            report.outcomes.setdefault(patient, []).extend(outcomes)
        if status is None:
            found = "; ".join(map(str, outcomes))
            report.drop("value", f"{patient}.{name}", outcomes[0].where, f"{name}: {contradiction}", found)
        else:
            known[patient] |= {f"{name}_days": settled, f"{name}_event": int(status)}
    for name, time, _ in there:
        days_of = [row[f"{name}_days"] for row in known.values() if f"{name}_days" in row]
        report.counts[f"patients with {name.upper()}"] = len(days_of)
        if days_of:
            report.choose(f"{path.name}, {time}: {min(days_of):g} to {max(days_of):g} days")
    return known


def _patients_only(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the two lines below a biotab file's header: repeated names, and CDE ids."""
    return table.iloc[2:] if len(table) > 1 and str(table.iloc[1, 0]).startswith("CDE_ID") else table
