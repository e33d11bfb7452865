"""Any cohort given as a table of patients, a matrix of genes and samples, and a folder or list of slides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pathduet.core.errors import InputError
from pathduet.core.text_table import require_columns
from pathduet.importers.clinical_values import PATIENT_ID, Choices, column_of, read_table, read_values
from pathduet.importers.cohort_sheets import check_survival, write_cohort
from pathduet.importers.ids import ids_of, safe_id
from pathduet.importers.matrix import expression_of, read_matrix
from pathduet.importers.options import Cohort, Column, EventMeans, Matrix, Out, SampleTypes, Unit
from pathduet.importers.report import ImportReport
from pathduet.importers.sample_types import PRIMARY, type_of_sample, types_of_rows, wrong_type
from pathduet.importers.slide_rows import SlideRows


def import_table(
    out: Out,
    patients: Annotated[Path, typer.Argument(help="Table of patients (.tsv, .csv, .xlsx).")],
    *,
    cohort: Cohort,
    column: Column = None,
    event_means: EventMeans = None,
    expression: Matrix = None,
    unit: Unit = "",
    sample_type: SampleTypes = None,
    samples_in_rows: Annotated[
        bool, typer.Option(help="The matrix has samples in rows, genes in columns.")
    ] = False,
    standardise: Annotated[
        bool,
        typer.Option(
            help="Standardise each gene over all samples and declare z-scores; for external cohorts."
        ),
    ] = False,
    samples: Annotated[Path | None, typer.Option(help="Table of samples: sample_id, patient_id.")] = None,
    slides: Annotated[Path | None, typer.Option(help="Table of slides: slide_id, patient_id, path.")] = None,
) -> ImportReport:
    """Convert a table of patients, an expression matrix and a list of slides to sheets.

    A patient may have several rows. `column` names columns that are not recognised. Without `samples`, a sample's name is the
    patient's, or the patient's with the kind of tissue (``P1-T``, ``P1.N``); one sample per patient is used. `standardise` uses
    all samples of the cohort. The list of slides may also have the columns mpp, scanner, site, scene and exclude.

    Raises
    ------
    InputError
        If a required column is missing.
    """
    report = ImportReport(cohort)
    table = read_table(patients)
    choices = Choices.of(column, event_means)
    choices.check([table], patients.name)
    known = read_values(table, patients.name, report, choices=choices)
    report.counts |= {f"rows in {patients.name}": len(table), "patients listed": len(known)}
    check_survival(known, report)
    types = sample_type or [PRIMARY]
    matrix = None
    if expression is not None:
        owners = _owners(samples, report, types) if samples is not None else {p: p for p in known}
        matrix = expression_of(
            read_matrix(expression, samples_in_rows=samples_in_rows), unit, owners, report, types,
            source=expression.name + (" (transposed)" if samples_in_rows else ""),
            patients=set(known), exact=samples is not None, standardise=standardise,
        )  # fmt: skip
    rows = _slide_rows(slides, report, types) if slides is not None else []
    write_cohort(out, report, known, rows, matrix)
    return report


def _owners(path: Path, report: ImportReport, types: Sequence[str]) -> dict[str, str]:
    """Return {sample: patient} from a table of samples; samples of other types are recorded as left out."""
    table = read_table(path)
    sample, patient = column_of(table, ["sample_id", "sample"]), column_of(table, PATIENT_ID)
    if sample is None or patient is None:
        found = f"columns {', '.join(table.columns)}"
        raise InputError.of(path.name, found, "needs sample_id and patient_id")
    ids, kinds = ids_of(table[patient], path.name, report), types_of_rows(table)
    owners: dict[str, str] = {}
    for number, name, owner in table[[sample, patient]].itertuples():
        where, known = f"{path.name} row {number}", ids[owner]
        if known is None or not name:
            report.drop("sample", name, where, "no sample or patient id")
        elif kinds is not None and (reason := wrong_type(kinds[number], types)):
            report.drop("sample", name, where, reason)
        elif owners.setdefault(name, known) != known:
            raise InputError.of(
                where, f"sample {name} is of {owners[name]} and of {known}", "keep one row per sample"
            )
    return owners


def _slide_rows(path: Path, report: ImportReport, types: Sequence[str]) -> list[dict[str, Any]]:
    table = read_table(path)
    require_columns(table.columns, ("slide_id", "patient_id", "path"), path.name)
    optional = [
        column for column in ("mpp", "scanner", "site", "scene", "exclude") if column in table.columns
    ]
    read = {column: column for column in ("slide_id", "patient_id", "path", *optional)}
    unused = {
        column: "no column of an import's list of slides" for column in table.columns if column not in read
    }
    report.columns[path.name] = {"read": read, "copied": [], "not used": unused}
    owners = ids_of(table["patient_id"], path.name, report)
    keys = ids_of(table["slide_id"], path.name, report, safe_id)
    kinds = types_of_rows(table)
    rows = SlideRows(report)
    for number, row in zip(table.index, table.to_dict("records")):
        where, key, owner = f"{path.name} row {number}", keys[row["slide_id"]], owners[row["patient_id"]]
        # an absolute path stays as it is
        file = path.resolve().parent / row["path"]
        if key is None or owner is None:
            report.drop("slide", row["slide_id"], where, "not a usable id")
        elif reason := wrong_type(kinds[number] if kinds is not None else type_of_sample(key, key), types):
            report.drop("slide", key, where, reason)
        elif not file.is_file() and not row.get("exclude"):
            report.drop("slide", key, where, "no such file", row["path"])
        else:
            rows.add(key, owner, file, where, **{column: row[column] for column in optional if row[column]})
    return rows.ordered()
