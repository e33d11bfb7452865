"""The module in which Snakemake finds the logger for ``logger: pathduet`` in ``profiles/``."""

from pathduet.workflow.console import RunConsole as LogHandler

__all__ = ["LogHandler"]
