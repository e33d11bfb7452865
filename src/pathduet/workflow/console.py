"""What a run prints: Snakemake's messages without its job blocks, and one line per failed job.

A Snakemake logger plugin. Snakemake's own log, ``.snakemake/log``, has the blocks; ``--verbose`` and ``--dry-run`` print them.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import ClassVar

from rich.console import Console
from rich.text import Text
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from pathduet.workflow.failures import FailedJob

_STYLES = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


class RunConsole(LogHandlerBase):
    """The terminal or file that a run prints to.

    Attributes
    ----------
    complete : bool
        Whether all of Snakemake's messages are printed.
    screen : rich.console.Console
    """

    #: The console of this process; None where Snakemake runs with another logger.
    active: ClassVar[RunConsole | None] = None

    writes_to_stream = True
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        settings = self.common_settings
        self.complete = settings.verbose or settings.dryrun
        self.screen = Console(
            file=sys.stdout if settings.stdout else sys.stderr, no_color=settings.nocolor, highlight=False
        )
        self._jobs_run = False
        RunConsole.active = self

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message from Snakemake."""
        try:
            text = self.format(record) if self.complete else self._brief(record)
            if text and text != "None":
                self.screen.print(Text(text, style=_STYLES.get(record.levelno, "")), soft_wrap=True)
        except Exception:  # the contract of logging handlers
            self.handleError(record)

    def _brief(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", None)
        if not self._jobs_run and event in (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR):
            return self.format(record)  # from another workflow; nothing else reports its failures
        if event == LogEvent.JOB_ERROR:
            return FailedJob.of_record(vars(record)).line()
        if event == LogEvent.GROUP_ERROR:
            return "\n".join(FailedJob.of_record(job).line() for job in vars(record)["job_error_info"])
        if event not in (None, LogEvent.ERROR) or (self._jobs_run and record.levelno < logging.WARNING):
            return ""
        if getattr(record, "exception", "") == "RuleException":  # the job's own line reports it
            return ""
        return self.format(record)

    def start_jobs(self, log: Path) -> None:
        """Reserve the console for this process: jobs print to `log` until :meth:`end_jobs`."""
        if self.complete:
            return
        log.parent.mkdir(parents=True, exist_ok=True)
        sys.stderr.flush()
        self._stream = self.screen.file
        self.screen.file = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
        with log.open("w", encoding="utf-8") as handle:
            os.dup2(handle.fileno(), 2)
        self._jobs_run = True

    def end_jobs(self) -> None:
        """Let jobs print to the console again."""
        if self._jobs_run:
            sys.stderr.flush()
            os.dup2(self.screen.file.fileno(), 2)
            self.screen.file, terminal = self._stream, self.screen.file
            terminal.close()
            self._jobs_run = False
