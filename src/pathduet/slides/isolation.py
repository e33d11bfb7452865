"""Slides in supervised worker processes: a crash, a hang or too much memory costs one slide, never the batch.

A worker processes one slide at a time, so if it dies the slide is known.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import PathDuetError, shown
from pathduet.core.faults import MachineFault
from pathduet.core.hardware import resident_bytes
from pathduet.slides.settings import LimitSettings, SlideSettings
from pathduet.slides.status import StageStatus

_START_S = 600.0  # to load the libraries, on the slowest disk
_LOOK_EVERY_S = 0.1
_LONGEST_LOOK_S = 1.0  # a longer interval means that this process was suspended


#: Signals of a crashing decoder; any other comes from outside, such as the kernel's SIGKILL when memory is short.
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGTRAP}
_TAIL_LINES = 12  # of a worker's standard error, shown when it cannot start


class WorkerDied(Exception):
    """The worker process ended during a slide, or hit a machine fault.

    Attributes
    ----------
    reason : str
        ``time_limit`` or ``memory_limit`` if it exceeded one, ``fault`` for a machine fault, else ``failed``.
    """

    def __init__(self, message: str, reason: str = "failed") -> None:
        super().__init__(message)
        self.reason = reason


def worker_command() -> list[str]:
    """Return the command that starts a worker."""
    return [sys.executable, "-m", "pathduet.slides.worker"]


def is_suspended(pid: int) -> bool:
    """Return whether a process is stopped (SIGSTOP; a frozen cgroup is not detected); False without /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False


class Worker:
    """A process that runs one stage of one slide at a time.

    Parameters
    ----------
    stages : sequence of {"check", "tile", "stain", "features"}
        Those whose libraries it loads as it starts.
    results : Path
    settings : SlideSettings
    threads : int

    Raises
    ------
    MachineFault
        If no process can be started.
    """

    def __init__(self, stages: Sequence[str], results: Path, settings: SlideSettings, threads: int) -> None:
        self._limits = settings.limits
        self._order: dict[str, Any] | None = {
            "stages": list(stages),
            "results": str(results),
            "settings": asdict(settings),
            "threads": threads,
        }
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        blas = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        try:
            self._process = subprocess.Popen(
                worker_command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="backslashreplace",
                env={**os.environ, **blas},
            )
        except OSError as error:
            raise MachineFault(f"no slide worker can be started: {error}; no slide is the cause") from error
        self._relay = threading.Thread(target=self._pass_on_errors, daemon=True)
        self._relay.start()

    def _pass_on_errors(self) -> None:
        """Print the worker's standard error as it arrives, and keep its last lines."""
        assert self._process.stderr is not None
        with contextlib.suppress(OSError, ValueError):  # closed with the worker
            for line in self._process.stderr:
                self._tail.append(line)
                sys.stderr.write(shown(line))  # decoders quote a file's content
                sys.stderr.flush()

    def run(self, slide: SlideRow, stage: str) -> StageStatus:
        """Run a stage of a slide.

        Raises
        ------
        WorkerDied
            If the slide crashes the process or exceeds a limit, or the process hits a machine fault.
        PathDuetError
            For errors that must end the whole batch, also if the process cannot start.
        """
        if self._order is not None:  # a slide is not to blame for the loading of libraries
            limit = self._limits.time_limit_s
            try:
                self._ask(self._order, limit and max(limit, _START_S))
            except WorkerDied as died:
                self._relay.join(2)
                said = "".join(self._tail).strip() or "it said nothing"
                raise MachineFault(
                    f"the slide worker cannot start ({died}), no slide is the cause; its last output:\n{said}"
                ) from died
            self._order = None
        reply = json.loads(self._ask({"stage": stage, "slide": slide.to_plain()}, self._limits.time_limit_s))
        if "error" in reply:
            raise PathDuetError(reply["error"])
        if "fault" in reply:
            raise WorkerDied(reply["fault"], "fault")
        return StageStatus(**reply["status"])

    def _ask(self, request: Mapping[str, Any], limit_s: float) -> str:
        """Send a line and return the reply."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):  # it died: the reply will be empty
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        # Time counts only while both this process and the worker run: a suspended job has not hung.
        seconds, before = 0.0, time.monotonic()
        while not select.select([self._process.stdout], [], [], _LOOK_EVERY_S)[0]:
            now = time.monotonic()
            if not is_suspended(self._process.pid):
                seconds += min(now - before, _LONGEST_LOOK_S)
            before = now
            beyond = _beyond(self._limits, limit_s, seconds, self._process.pid)
            if beyond is not None:
                self._process.kill()
                raise beyond
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise _died(self._process.wait())
        return line

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def end(self) -> None:
        """End the process at once and release its resources."""
        self.kill()
        self._relay.join(2)  # for its last output
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()


def _beyond(limits: LimitSettings, limit_s: float, seconds: float, pid: int) -> WorkerDied | None:
    if limit_s and seconds > limit_s:
        return WorkerDied(f"not done after {limit_s:g} s", "time_limit")
    most = limits.memory_limit_mib
    if most and resident_bytes(pid) > most * 2**20:
        return WorkerDied(f"more than {most:,} MiB of memory", "memory_limit")
    return None


def _died(code: int) -> WorkerDied:
    """Return the error that a worker's exit status means."""
    if code >= 0:
        return WorkerDied(f"exit status {code}")
    name = f"signal {-code}"
    with contextlib.suppress(ValueError):
        name = f"signal {-code}, {signal.Signals(-code).name}"
    if -code in CRASHES:
        return WorkerDied(name)
    memory = "; usually too little memory" if -code == signal.SIGKILL else ""
    return WorkerDied(f"its worker was killed from outside ({name}{memory})", "fault")


class Workers:
    """Workers of some stages, started as needed, for the threads of a batch.

    Parameters
    ----------
    stages, results, settings, threads
        As for :class:`Worker`.
    """

    def __init__(self, stages: Sequence[str], results: Path, settings: SlideSettings, threads: int) -> None:
        self._order = (stages, results, settings, threads)
        self._busy: set[Worker] = set()
        self._idle: list[Worker] = []
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, slide: SlideRow, stage: str) -> StageStatus:
        """Run a stage of a slide in an idle worker; see :meth:`Worker.run`."""
        with self._lock:
            if self._stopped:
                raise WorkerDied("the batch was stopped")
            worker = self._idle.pop() if self._idle else Worker(*self._order)
            self._busy.add(worker)
        try:
            status = worker.run(slide, stage)
        except BaseException:
            worker.end()
            raise
        else:
            with self._lock:
                self._idle.append(worker)
            return status
        finally:
            with self._lock:
                self._busy.discard(worker)

    def end(self, stop: bool = False) -> None:
        """End the workers at once; with `stop` no new one is started."""
        with self._lock:
            self._stopped = stop
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for worker in idle:
            worker.end()
        for worker in busy:  # their threads notice
            worker.kill()
