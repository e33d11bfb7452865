"""Any cohort that comes as a table of patients, a matrix of genes and samples, and a folder or list of slides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pathduet.core.errors import InputError
from pathduet.core.text_table import require_columns
from pathduet.importers.clinical_values import column_of, read_table, read_values
from pathduet.importers.cohort_sheets import check_survival, safe_id, write_cohort
from pathduet.importers.matrix import read_cohort_matrix
from pathduet.importers.options import Cohort, Matrix, Out, Unit
from pathduet.importers.report import ImportReport
from pathduet.importers.slide_rows import SlideRows


def import_table(
    out: Out,
    patients: Annotated[Path, typer.Argument(help="Table of patients (.tsv, .csv, .xlsx).")],
    *,
    cohort: Cohort,
    column: Annotated[
        list[str] | None, typer.Option(help="OURS=THEIRS, e.g. survival_days=OS.time; repeatable.")
    ] = None,
    expression: Matrix = None,
    unit: Unit = "",
    samples_in_rows: Annotated[bool, typer.Option(help="The matrix has samples in rows.")] = False,
    standardise: Annotated[
        bool, typer.Option(help="Standardise genes over the samples and declare z-scores (external cohorts).")
    ] = False,
    samples: Annotated[Path | None, typer.Option(help="Table: sample_id, patient_id.")] = None,
    slides: Annotated[Path | None, typer.Option(help="Table: slide_id, patient_id, path.")] = None,
) -> ImportReport:
    """Turn a table of patients, an expression matrix and a list of slides into sheets.

    Patients have one or several rows; columns have their usual names, or those that `column` says. Without `samples` a sample is
    named like its patient. `standardise` looks at all samples of the cohort. The list of slides may also have mpp,
    scanner, site and exclude.

    Raises
    ------
    InputError
        If the tables lack what they must have.
    """
    pairs = [text.split("=", 1) for text in column or []]
    if any(len(pair) != 2 for pair in pairs):
        raise InputError.of("--column", str(column), "write OURS=THEIRS")
    report = ImportReport(cohort)
    table = read_table(patients)
    known = read_values(table, patients.name, report, patient=safe_id, columns=dict(pairs))
    report.counts |= {f"rows in {patients.name}": len(table), "patients listed": len(known)}
    check_survival(known, report)
    matrix = None
    if expression is not None:
        matrix = read_cohort_matrix(
            expression, unit, _owners(samples) if samples is not None else {p: p for p in known}, report,
            patients=set(known), exact=samples is not None, samples_in_rows=samples_in_rows, standardise=standardise,
        )  # fmt: skip
    rows = _slide_rows(slides, report) if slides is not None else []
    write_cohort(out, report, known, rows, matrix)
    return report


def _owners(path: Path) -> dict[str, str]:
    table = read_table(path)
    sample, patient = (
        column_of(table, ["sample_id", "sample"]),
        column_of(table, ["patient_id", "patient", "case_id"]),
    )
    if sample is None or patient is None:
        found = f"columns {', '.join(table.columns)}"
        raise InputError.of(path.name, found, "needs sample_id and patient_id")
    return dict(zip(table[sample], table[patient]))


def _slide_rows(path: Path, report: ImportReport) -> list[dict[str, Any]]:
    table = read_table(path)
    require_columns(table.columns, ("slide_id", "patient_id", "path"), path.name)
    rows = SlideRows(report)
    for number, (_, row) in enumerate(table.iterrows(), 2):
        where, key = f"{path.name} row {number}", safe_id(row["slide_id"])
        # an absolute path stays as it is
        file = path.resolve().parent / row["path"]
        if key is None:
            report.drop("slide", row["slide_id"], where, "not a usable id")
        elif not file.is_file() and not row.get("exclude"):
            report.drop("slide", key, where, "no such file", row["path"])
        else:
            optional = {c: row[c] for c in ("mpp", "scanner", "site", "scene", "exclude") if row.get(c)}
            rows.add(key, row["patient_id"], file, where, **optional)
    return rows.ordered()
