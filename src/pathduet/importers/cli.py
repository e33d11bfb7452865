"""``pathduet import``: cohorts as people download them -> patients.tsv, slides.tsv, expression, and a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from pathduet.core.errors import InputError, shown
from pathduet.importers.cptac import import_cptac
from pathduet.importers.ivygap import import_ivygap
from pathduet.importers.report import ImportReport
from pathduet.importers.table import import_table
from pathduet.importers.tcga import import_tcga


def _print(report: ImportReport) -> None:
    typer.echo(shown(report.text()))


app = typer.Typer(
    no_args_is_help=True,
    help="Turn a downloaded cohort into the input sheets; what is left out is listed with the reason.",
    result_callback=_print,
)
app.command("tcga", help="TCGA from a GDC download or a cBioPortal study.")(import_tcga)
app.command("ivygap", help="IvyGAP: laser-dissected RNA samples and slides, matched by specimen block.")(
    import_ivygap
)
app.command(
    "cptac",
    help="CPTAC: expression matrix and clinical sheet; survival of 0 days or less, or none, is refused by row.",
)(import_cptac)
app.command("table", help="Any other cohort: a table of patients, a matrix, a list of slides.")(import_table)


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
        raise InputError.of(f"imports.{cohort}", message(), "see pathduet import --help") from None
