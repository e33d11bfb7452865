"""One line a stage while a run is at work, told from its files alone: bars in a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from pathduet.workflow.status import StageProgress, read_progress

#: Seconds between looks, in a terminal and in a log.
TERMINAL_S, LOG_S = 15.0, 60.0
#: A look may take this share of the time at most: with 30,000 slides on a slow file server it takes seconds.
_SHARE = 0.02


def moving(steps: list[StageProgress], before: dict[str, int]) -> list[StageProgress]:
    """Return the steps that went on since `before` (done by name), or are begun and not finished."""
    return [s for s in steps if s.done != before.get(s.name, 0) or (s.recent and s.done < s.total)]


def show(steps: list[StageProgress], stream: TextIO) -> None:
    """Print one line a step; with a bar where `stream` is a terminal."""
    if not stream.isatty():
        for step in steps:
            print(f"progress: {step.line()}", file=stream, flush=True)
        return
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    for step in steps:
        table.add_row(
            "progress", ProgressBar(total=max(step.total, 1), completed=step.done, width=24), step.line()
        )
    Console(file=stream).print(table)


class RunWatch:
    """Shows the progress of a results folder from a thread of its own, until :meth:`stop`.

    Parameters
    ----------
    results : Path
        Where the run that just started has written its plan.
    stream : TextIO, optional
        stderr.
    every : float, optional
        Seconds between looks; default 15 in a terminal, 60 in a log. More where a look takes long.
    """

    def __init__(self, results: Path, stream: TextIO | None = None, every: float | None = None) -> None:
        self._results, self._stream = results, stream or sys.stderr
        self._every = every or (TERMINAL_S if self._stream.isatty() else LOG_S)
        self._over = threading.Event()
        # a daemon: a workflow that ends in any way is not held up by it
        self._thread = threading.Thread(target=self._run, name="run-watch", daemon=True)
        self._before = {step.name: step.done for step in read_progress(results)}

    def start(self) -> RunWatch:
        """Begin to look."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Show what changed since the last look, and end."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        wait = self._every
        while not self._over.wait(wait):
            wait = max(self._every, self._look() / _SHARE)
        self._look()

    def _look(self) -> float:
        began = time.monotonic()
        try:
            steps = read_progress(self._results)
            show(moving(steps, self._before), self._stream)
            self._before = {step.name: step.done for step in steps}
        except (OSError, ValueError):  # a file server that hiccups, a closed terminal: not the run's concern
            pass
        return time.monotonic() - began
