"""``pathduet import``: turns downloaded cohorts into patients.tsv, slides.tsv, expression, and a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import typer.core

from pathduet.core.errors import InputError, shown

if TYPE_CHECKING:
    from pathduet.importers.report import ImportReport

_IMPORTERS = {
    "tcga": "TCGA: a GDC download or a cBioPortal study.",
    "ivygap": "IvyGAP: laser-microdissected RNA samples and slides, matched by specimen block.",
    "cptac": "CPTAC: a clinical sheet, an expression matrix, slides.",
    "table": "Any other cohort: a table of patients; optionally an expression matrix and a table of slides.",
}


def _importer(name: str) -> Callable[..., ImportReport]:
    match name:
        case "tcga":
            from pathduet.importers.tcga import import_tcga

            return import_tcga
        case "ivygap":
            from pathduet.importers.ivygap import import_ivygap

            return import_ivygap
        case "cptac":
            from pathduet.importers.cptac import import_cptac

            return import_cptac
    from pathduet.importers.table import import_table

    return import_table


class _Importers(typer.core.TyperGroup):
    """Importers by name, each imported on request: together they would take a third of the start time."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_IMPORTERS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _IMPORTERS:
            return None
        single = typer.Typer(add_completion=False)
        single.command(cmd_name, help=_IMPORTERS[cmd_name])(_importer(cmd_name))
        return typer.main.get_command(single)


def _print(report: ImportReport) -> None:
    typer.echo(shown(report.text()))


app = typer.Typer(
    cls=_Importers,
    no_args_is_help=True,
    help="Convert a downloaded cohort to input sheets. Reports list what was left out, and why.",
    result_callback=_print,
)


@app.callback()
def _group() -> None:
    """Make Typer accept a group without registered commands."""


def run_entry(entry: Mapping[str, Any], *, cohort: str, out: Path) -> None:
    """Run one import described by values, as in a workflow's configuration.

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
        If the importer or an option is unknown, or the import itself refuses its input.
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
        # newer releases of typer vendor click; usage errors of both have this method
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        raise InputError.of(f"imports.{cohort}", message(), "see pathduet import --help") from None
