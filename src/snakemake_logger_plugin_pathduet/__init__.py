"""Where Snakemake looks for the logger that ``logger: pathduet`` names in ``profiles/``."""

from pathduet.workflow.console import RunConsole as LogHandler

__all__ = ["LogHandler"]
