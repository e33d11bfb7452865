"""TCGA from a GDC download (UUID folders, sample sheet, clinical tables) or from a cBioPortal study folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pathduet.cohort.tcga_barcode import parse_barcode, patient_of
from pathduet.core.errors import InputError
from pathduet.importers.cbioportal import read_study_clinical, read_study_expression
from pathduet.importers.clinical_values import (
    ALIASES,
    Patients,
    ReadPatients,
    column_of,
    is_missing,
    merge_values,
    read_table,
    read_values,
)
from pathduet.importers.cohort_sheets import check_survival, drop_without_material, safe_id, write_cohort
from pathduet.importers.options import Cohort, Labels, Out
from pathduet.importers.report import ImportReport
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
    metadata: Annotated[Path | None, typer.Option(help="The cart's metadata JSON; knows aliquots.")] = None,
    clinical: Annotated[
        list[Path] | None, typer.Option(help="GDC clinical.tsv or biotab; repeatable.")
    ] = None,
    labels: Labels = None,
    cbioportal: Annotated[Path | None, typer.Option(help="A cBioPortal study folder instead.")] = None,
    quantity: Annotated[str, typer.Option(help="counts, tpm, fpkm or fpkm_uq.")] = "tpm",
    frozen: Annotated[bool, typer.Option(help="Frozen sections (TS, BS, MS), too.")] = False,
    endpoints: Annotated[
        Path | None,
        typer.Option(
            help="TCGA-CDR or alike (.xlsx, .tsv, .csv): OS, OS.time, DSS, DFI, PFI ... by barcode."
        ),
    ] = None,
    sample_type: Annotated[
        list[str] | None,
        typer.Option(
            help="Sample types to take, the preferred first; repeatable. Default 01, primary solid tumour; 03 blood (LAML), "
            "06 metastatic (SKCM)."
        ),
    ] = None,
) -> ImportReport:
    """Turn downloads of any TCGA project into sheets.

    Whose a STAR-counts file is stands in the sample sheet or in the cart's metadata: at least one of them is needed where there
    are such files. Of several clinical tables the first wins where two know a value. A table of endpoints adds os_days,
    os_event and so on, and what else it knows of patients with slides or expression.

    Raises
    ------
    InputError
        If nothing usable is found.
    """
    if quantity not in QUANTITIES:
        raise InputError.of("--quantity", quantity, f"use {', '.join(QUANTITIES)}")
    if (downloads is None) == (cbioportal is None):
        raise InputError.of("pathduet import tcga", "needs --downloads or --cbioportal", "give one of them")
    report = ImportReport(cohort)
    types = sample_type or ["01"]
    patients: Patients = {}
    for path in clinical or ():
        patients = merge_values(patients, read_clinical(path, report), new_patients=True)
    slides: list[dict[str, Any]] = []
    expression = None
    if downloads is not None:
        slides = find_slides(downloads, report, types, frozen=frozen)
        files = find_star_files(downloads, sample_sheet, metadata, report, types)
        expression = read_star_files(files, quantity, report) if files else None
    elif cbioportal is not None:
        patients = merge_values(patients, read_study_clinical(cbioportal, report), new_patients=True)
        expression = read_study_expression(cbioportal, report, types)
    for path in labels or ():
        told = read_values(read_table(path), path.name, report, patient=patient_of)
        patients = merge_values(patients, told, new_patients=not patients)
    sampled = [] if expression is None else list(expression.samples["patient_id"])
    for patient in [*(slide["patient_id"] for slide in slides), *sampled]:
        if patient not in patients:
            patients[patient] = {}
            report.choose("patients with slides or expression but no clinical row are kept without values")
    drop_without_material(patients, slides, expression, report, "clinical tables")
    if endpoints is not None:
        patients = merge_values(patients, read_endpoints(endpoints, patients, report))
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


def read_endpoints(path: Path, patients: ReadPatients, report: ImportReport) -> Patients:
    """Return what a table of endpoints (TCGA-CDR) says of these patients: days and event of each, and its further columns.

    A time that is no number, or not above 0, leaves the endpoint unknown.

    Raises
    ------
    InputError
        If the table has no barcodes, or no endpoint.
    """
    table = read_table(path)
    identifier = column_of(table, ["bcr_patient_barcode", *ALIASES["patient_id"]])
    pairs = [(name, column_of(table, [f"{name}_time"]), column_of(table, [name])) for name in ENDPOINTS]
    there = [(name, time, event) for name, time, event in pairs if time is not None and event is not None]
    if identifier is None or not there:
        advice = "needs bcr_patient_barcode, and OS with OS.time, or DSS, DFI, PFI alike"
        raise InputError.of(path.name, f"columns {', '.join(table.columns[:12])}", advice)
    owner = table[identifier].map(patient_of)
    table = table[owner.isin(set(patients))]
    columns = [column for _, time, event in there for column in (time, event)]
    known = read_values(table.drop(columns=columns), path.name, report, patient=patient_of)
    for patient, row in zip(owner[table.index], table.to_dict("records")):
        for name, time, event in there:
            if is_missing(row[time]) or is_missing(row[event]):
                continue
            found = f"{time} {row[time]}, {event} {row[event]}"
            try:
                days, happened = float(row[time]), float(row[event])
            except ValueError:
                report.drop("value", f"{patient}.{name}", path.name, f"{name} is no number", found)
                continue
            if not days > 0 or happened not in (0, 1):
                reason = f"{name}: time not above 0, or event neither 0 nor 1"
                report.drop("value", f"{patient}.{name}", path.name, reason, found)
                continue
            known[patient] |= {f"{name}_days": days, f"{name}_event": int(happened)}
    for name, _, _ in there:
        report.counts[f"patients with {name.upper()}"] = sum(f"{name}_days" in row for row in known.values())
    for patient, values in known.items():
        for name in ("survival_days", "event"):
            values.pop(name, None)
        # OS under the name of the clinical tables' survival, whole or not at all; theirs comes first
        if "os_days" in values and not {"survival_days", "event"} & set(patients[patient]):
            values |= {"survival_days": values["os_days"], "event": float(values["os_event"])}
    return known


def read_clinical(path: Path, report: ImportReport) -> Patients:
    """Return the clinical values of a GDC clinical.tsv, a biotab file or any table with the usual columns.

    Survival: days to death of the dead, else days to last follow-up (the largest, where follow-ups have rows of their own).
    """
    table = read_table(path)
    if len(table) > 1 and str(table.iloc[1, 0]).startswith("CDE_ID"):
        # biotab: names, names again, CDE ids, then patients
        table = table.iloc[2:]
    patients = read_values(_without_age_in_days(table), path.name, report, patient=patient_of)
    _survival_of_rows(table, patients, path.name, report)
    report.counts[f"patients in {path.name}"] = len(patients)
    return patients


def _without_age_in_days(table: pd.DataFrame) -> pd.DataFrame:
    """Drop GDC's age in days where the age in years stands beside it."""
    years, days = column_of(table, ["age_at_index"]), column_of(table, ["age_at_diagnosis"])
    return table.drop(columns=[days]) if years and days else table


def _survival_of_rows(table: pd.DataFrame, patients: Patients, source: str, report: ImportReport) -> None:
    death = column_of(table, ["days_to_death", "death_days_to"])
    last = column_of(table, ["days_to_last_follow_up", "days_to_last_followup", "last_contact_days_to"])
    identifier = column_of(table, ["case_submitter_id", "submitter_id", "bcr_patient_barcode", "patient_id"])
    if identifier is None or (death is None and last is None):
        return
    longest: dict[tuple[str, str], float] = {}
    for number, (_, row) in enumerate(table.iterrows(), 2):
        patient = patient_of(str(row[identifier]))
        if patient is None:
            continue
        for name, column in (("death", death), ("last", last)):
            if column is None or is_missing(row[column]):
                continue
            try:
                days = float(row[column])
            except ValueError:
                where = f"{source} row {number}"
                report.drop("value", f"{patient}.{column}", where, "days are no number", row[column])
                continue
            longest[patient, name] = max(days, longest.get((patient, name), -math.inf))
    for patient, known in patients.items():
        if "survival_days" in known:
            continue
        followed = longest.get((patient, "death" if known.get("event") == 1 else "last"))
        if followed is not None:
            known["survival_days"] = followed
