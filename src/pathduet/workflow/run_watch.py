"""Progress of a run at work, from its files alone: a page in a terminal, or lines per stage and minute in a file."""

from __future__ import annotations

import atexit
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from pathduet.results import Results
from pathduet.workflow.status import StageProgress, read_progress

if TYPE_CHECKING:
    from pathduet.workflow.console import RunConsole

#: Seconds between updates, in a terminal and in a file.
TERMINAL_S, LOG_S = 2.0, 60.0
#: Largest share of the time that updates may take: with 30,000 slides on a slow server one takes seconds.
_SHARE = 0.02


def moving(steps: list[StageProgress], before: dict[str, int]) -> list[StageProgress]:
    """Return the steps that advanced since `before` (done by name), or are started and unfinished."""
    return [s for s in steps if s.done != before.get(s.name, 0) or (s.recent and s.done < s.total)]


def page(steps: list[StageProgress]) -> Table:
    """Return all steps with a bar each."""
    table = Table.grid(padding=(0, 1))
    for step in steps:
        table.add_row(ProgressBar(total=max(step.total, 1), completed=step.done, width=24), step.line())
    return table


class RunWatch:
    """Shows the progress of a results folder from its own thread, until :meth:`stop`.

    Parameters
    ----------
    results : Path
        Where the run that just started has written its plan.
    console : RunConsole, optional
        Where it is shown; as lines on stderr if not given.
    every : float, optional
        Seconds between updates; default 2 on a page, 60 in a file. More if an update takes long.
    """

    def __init__(self, results: Path, console: RunConsole | None = None, every: float | None = None) -> None:
        self._results, self._console = results, console
        self._screen = console.screen if console else Console(file=sys.stderr, highlight=False)
        paged = console is not None and not console.complete and self._screen.is_terminal
        self._live = Live(console=self._screen, auto_refresh=False, redirect_stderr=False) if paged else None
        self._every = every or (TERMINAL_S if paged else LOG_S)
        self._over = threading.Event()
        # a daemon thread does not delay the end of a workflow
        self._thread = threading.Thread(target=self._run, name="run-watch", daemon=True)
        self._before = {step.name: step.done for step in read_progress(results)}

    def start(self) -> RunWatch:
        """Start updating."""
        if self._console:
            self._console.start_jobs(Results(self._results).log("run"))
        if self._live:
            self._live.start()
        self._thread.start()
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Show changes since the last update, and stop."""
        atexit.unregister(self.stop)
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._live:
            self._live.stop()
        if self._console:
            self._console.end_jobs()

    def _run(self) -> None:
        wait = 0.0 if self._live else self._every
        while not self._over.wait(wait):
            wait = max(self._every, self._look() / _SHARE)
        self._look()

    def _look(self) -> float:
        began = time.monotonic()
        try:
            steps = read_progress(self._results, until=time.time())
            if self._live:
                self._live.update(page(steps), refresh=True)
            else:
                for step in moving(steps, self._before):
                    self._screen.print(f"progress: {step.line()}", soft_wrap=True, markup=False)
            self._before = {step.name: step.done for step in steps}
        except (OSError, ValueError):  # a hanging file server or a closed terminal must not disturb the run
            pass
        return time.monotonic() - began
