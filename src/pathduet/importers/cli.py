"""``pathduet import``: cohorts as people download them -> patients.tsv, slides.tsv, expression, and a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    help="Turn a downloaded cohort into the input sheets; what is left out is listed with the reason.",
)

Out = Annotated[Path, typer.Option(help="Folder of the sheets; several cohorts may share one.")]
Cohort = Annotated[str, typer.Option(help="Name of the cohort.")]
Labels = Annotated[
    list[Path] | None,
    typer.Option(
        help="Table with molecular facts (.tsv, .csv, .xlsx); repeatable, the first that knows a fact wins."
    ),
]


@app.command()
def tcga(
    out: Out,
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
    cohort: Cohort = "tcga",
) -> None:
    """TCGA from a GDC download or a cBioPortal study."""
    from pathduet.core.errors import InputError, Problem
    from pathduet.importers.tcga import QUANTITIES, import_tcga

    if quantity not in QUANTITIES:
        raise InputError([Problem("--quantity", quantity, f"use {', '.join(QUANTITIES)}")])
    report = import_tcga(
        out, cohort=cohort, downloads=downloads, sample_sheet=sample_sheet, metadata=metadata,
        clinical=clinical or (), labels=labels or (), cbioportal=cbioportal, quantity=quantity, frozen=frozen,  # type: ignore[arg-type]
    )  # fmt: skip
    typer.echo(report.text())


@app.command()
def ivygap(
    folder: Annotated[Path, typer.Argument(help="Folder with the Allen Institute's tables.")],
    out: Out,
    slides: Annotated[Path | None, typer.Option(help="Folder of slides named by specimen.")] = None,
    slide_table: Annotated[Path | None, typer.Option(help="Or a table: path, sub_block_name.")] = None,
    labels: Labels = None,
    assume_died: Annotated[
        bool, typer.Option(help="The tables have no vital status: take all patients to have died.")
    ] = False,
    cohort: Cohort = "ivygap",
) -> None:
    """IvyGAP: laser-dissected RNA samples and slides, matched by specimen block."""
    from pathduet.importers.ivygap import import_ivygap

    report = import_ivygap(
        out,
        folder,
        cohort=cohort,
        slides=slides,
        slide_table=slide_table,
        labels=labels or (),
        assume_died=assume_died,
    )
    typer.echo(report.text())


@app.command()
def cptac(
    clinical: Annotated[Path, typer.Argument(help="Clinical sheet (.xlsx, .tsv, .csv).")],
    out: Out,
    expression: Annotated[Path | None, typer.Option(help="Genes x samples.")] = None,
    unit: Annotated[str, typer.Option(help="counts, tpm, fpkm, log2_tpm or zscore.")] = "",
    slides: Annotated[Path | None, typer.Option(help="Folder of the whole-slide images.")] = None,
    keep_without_survival: Annotated[
        bool, typer.Option(help="Keep patients without a usable survival for the other tasks.")
    ] = False,
    cohort: Cohort = "cptac",
) -> None:
    """CPTAC: expression matrix and clinical sheet; survival of 0 days or less, or none, is refused by row."""
    from pathduet.core.errors import InputError, Problem
    from pathduet.expression.table_checks import UNITS
    from pathduet.importers.cptac import import_cptac

    if expression is not None and unit not in UNITS:
        raise InputError([Problem("--unit", repr(unit), f"declare one of {', '.join(UNITS)}")])
    report = import_cptac(
        out, clinical, cohort=cohort, expression=expression, unit=unit, slides=slides,
        keep_without_survival=keep_without_survival,
    )  # fmt: skip
    typer.echo(report.text())


@app.command()
def table(
    patients: Annotated[Path, typer.Argument(help="Table of patients (.tsv, .csv, .xlsx).")],
    out: Out,
    cohort: Cohort,
    column: Annotated[
        list[str] | None, typer.Option(help="OURS=THEIRS, e.g. survival_days=OS.time; repeatable.")
    ] = None,
    expression: Annotated[Path | None, typer.Option(help="Genes x samples.")] = None,
    unit: Annotated[str, typer.Option(help="counts, tpm, fpkm, log2_tpm or zscore.")] = "",
    samples_in_rows: Annotated[bool, typer.Option(help="The matrix has samples in rows.")] = False,
    standardise: Annotated[
        bool, typer.Option(help="Standardise genes over the samples and declare z-scores (external cohorts).")
    ] = False,
    samples: Annotated[Path | None, typer.Option(help="Table: sample_id, patient_id.")] = None,
    slides: Annotated[Path | None, typer.Option(help="Table: slide_id, patient_id, path.")] = None,
) -> None:
    """Any other cohort: a table of patients, a matrix, a list of slides."""
    from pathduet.core.errors import InputError, Problem
    from pathduet.importers.table import import_table

    pairs = [text.split("=", 1) for text in column or []]
    if any(len(pair) != 2 for pair in pairs):
        raise InputError([Problem("--column", str(column), "write OURS=THEIRS")])
    report = import_table(
        out, patients, cohort=cohort, columns=dict(pairs), expression=expression, unit=unit,
        samples_in_rows=samples_in_rows, standardise=standardise, samples=samples, slides=slides,
    )  # fmt: skip
    typer.echo(report.text())


def run_entry(entry: Mapping[str, Any], *, cohort: str, out: Path) -> None:
    """Run one import described by values: what a workflow's configuration holds for it.

    Parameters
    ----------
    entry : mapping
        ``importer`` (a command of this module), optional ``source`` (its argument) and ``options`` (long option
        names without dashes; a list repeats the option, true and false are its switches).
    cohort, out
        As the commands' options.

    Raises
    ------
    InputError
        If the importer or an option is unknown, or the import itself refuses.
    """
    from pathduet.core.errors import InputError, Problem

    words = [str(entry["importer"])]
    for name, value in (entry.get("options") or {}).items():
        for one in value if isinstance(value, list) else [value]:
            words += (
                [f"--{name}" if one else f"--no-{name}"] if isinstance(one, bool) else [f"--{name}", str(one)]
            )
    words += ["--cohort", cohort, "--out", str(out)]
    if entry.get("source"):
        words += ["--", str(entry["source"])]
    try:
        typer.main.get_command(app).main(args=words, prog_name="pathduet import", standalone_mode=False)
    except Exception as error:
        # typer brings a click of its own in newer releases; what its usage errors share is this method
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        raise InputError([Problem(f"imports.{cohort}", message(), "see pathduet import --help")]) from None
