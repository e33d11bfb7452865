"""A batch of slides through one stage, in worker processes; a crash costs one slide, never the batch.

Each worker serves one slide at a time, so when it dies it is known which slide it died on. That slide is tried
once more, alone, when the others are done (it may have been the machine's memory); if it kills its worker again, it
is marked ``failed``. A slide that takes longer, or more memory, than configured is stopped from here and not tried again.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pathduet.cohort.sheets import SlideRow
from pathduet.core import progress
from pathduet.core.errors import PathDuetError
from pathduet.core.files import write_tsv
from pathduet.slides.settings import LimitSettings, SlideSettings
from pathduet.slides.status import ARTIFACTS, STAGES, StageStatus, slide_folder, write_status

#: What a worker says when it has loaded its libraries.
READY = "ready"
_START_S = 600.0  # for that, on the slowest disk
_LOOK_EVERY_S = 0.1
COLUMNS = (
    "slide_id", "status", "stage", "reason", "message", "mpp", "mpp_source", "n_10x", "n_20x", "notes", "key", "features_sha256",
)  # fmt: skip


class WorkerDied(Exception):
    """The worker process ended in the middle of a slide.

    Attributes
    ----------
    reason : str
        ``time_limit`` or ``memory_limit`` if it was ended for that, else ``failed``.
    """

    def __init__(self, message: str, reason: str = "failed") -> None:
        super().__init__(message)
        self.reason = reason


def worker_command() -> list[str]:
    """Return the command that starts a worker."""
    return [sys.executable, "-m", "pathduet.slides.worker"]


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its children (reader processes); 0 where there is no /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        lists = [path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (OSError, ValueError, IndexError):
        return 0
    children = sum(resident_bytes(int(child)) for one in lists for child in one.split())
    return pages * os.sysconf("SC_PAGE_SIZE") + children


class _Watch:
    """Ends a worker that takes too long or too much memory over one request."""

    def __init__(self, process: subprocess.Popen[str], limits: LimitSettings) -> None:
        self._process, self._limits = process, limits
        self._done = threading.Event()
        self.verdict: tuple[str, str] | None = None
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        started = time.monotonic()
        while not self._done.wait(_LOOK_EVERY_S):
            limit = self._limits.time_limit_s
            if limit and time.monotonic() - started > limit:
                self.verdict = ("time_limit", f"not done after {limit:g} s")
            most = self._limits.memory_limit_mib
            if most and resident_bytes(self._process.pid) > most * 2**20:
                self.verdict = ("memory_limit", f"more than {most:,} MiB of memory")
            if self.verdict:
                self._process.kill()
                return

    def __enter__(self) -> _Watch:
        if self._limits.time_limit_s or self._limits.memory_limit_mib:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()


class _Worker:
    def __init__(self, stage: str, threads: int, bounds: LimitSettings) -> None:
        self._bounds = bounds
        self._ready = False
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self._process = subprocess.Popen(
            [*worker_command(), stage],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **limits},
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        if not self._ready:  # loading libraries is nothing that a slide is to be blamed for
            limit = self._bounds.time_limit_s
            patient = replace(self._bounds, time_limit_s=limit and max(limit, _START_S))
            with _Watch(self._process, patient) as watch:
                self._ready = self._process.stdout.readline() == f"{READY}\n"
            if not self._ready:
                self._process.kill()
        line = ""
        if self._ready:
            with _Watch(self._process, self._bounds) as watch, contextlib.suppress(OSError):
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
        if not line.endswith("\n"):
            code = self._process.wait()
            if watch.verdict:
                raise WorkerDied(watch.verdict[1], watch.verdict[0])
            raise WorkerDied(_cause(code))
        return json.loads(line)

    def close(self, kill: bool = False) -> None:
        if kill:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
        self._process.wait()


def _cause(code: int) -> str:
    if code < 0:
        try:
            return f"signal {-code}, {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    return f"exit status {code}"


class _Crew:
    """Threads that hand slides to workers and collect the answers."""

    def __init__(self, stage: str, results: Path, settings: SlideSettings, threads: int) -> None:
        self._common: dict[str, Any] = {
            "stage": stage,
            "results": str(results),
            "settings": asdict(settings),
            "threads": threads,
        }
        self._threads, self._bounds = threads, settings.limits
        self._workers: set[_Worker] = set()
        self._lock = threading.Lock()
        self.stopping = False

    def serve(
        self,
        todo: queue.SimpleQueue[SlideRow],
        done: queue.SimpleQueue[tuple[SlideRow, StageStatus | Exception]],
    ) -> None:
        """Take slides from `todo` until it is empty; put a status, a :class:`WorkerDied` or another error in `done`."""
        worker: _Worker | None = None
        try:
            while not self.stopping:
                try:
                    slide = todo.get_nowait()
                except queue.Empty:
                    break
                try:
                    if worker is None:
                        worker = _Worker(self._common["stage"], self._threads, self._bounds)
                        with self._lock:
                            self._workers.add(worker)
                    reply = worker.ask({**self._common, "slide": slide.to_plain()})
                except WorkerDied as error:
                    self._drop(worker)
                    worker = None
                    done.put((slide, error))
                    continue
                except Exception as error:
                    done.put((slide, error))
                    break
                if "error" in reply:
                    done.put((slide, PathDuetError(reply["error"])))
                else:
                    done.put((slide, StageStatus(**reply["status"])))
        finally:
            self._drop(worker)

    def _drop(self, worker: _Worker | None) -> None:
        if worker is not None:
            with self._lock:
                self._workers.discard(worker)
            worker.close()

    def stop(self) -> None:
        """End the workers at once; slides in work are left as they were."""
        self.stopping = True
        with self._lock:
            workers = list(self._workers)
        for worker in workers:
            worker.close(kill=True)


def run_batch(
    slides: Sequence[SlideRow],
    stage: str,
    results: Path,
    settings: SlideSettings,
    manifest: Path,
    workers: int = 1,
) -> list[StageStatus]:
    """Run one stage for a batch of slides and write the batch manifest last.

    Slides that are current are skipped; each finished slide is on disk at once, so an interrupted batch goes on where
    it stopped. Tiles and stains use `workers` processes; features use one process (one copy of
    the encoder) with `workers` threads, or reader processes of its own where the encoder is on a GPU.

    Parameters
    ----------
    slides : sequence of SlideRow
    stage : {"tile", "stain", "features"}
    results : Path
        The results folder.
    settings : SlideSettings
    manifest : Path
        TSV to write, one row a slide in the order of `slides`.
    workers : int
        Processes or threads, at least 1.

    Returns
    -------
    list of StageStatus
        In the order of `slides`.

    Raises
    ------
    PathDuetError
        For what is wrong with the whole run (encoder weights, settings); no manifest is written then.
    """
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}; known: {STAGES}")
    workers = max(1, workers)
    processes, threads = (1, workers) if stage == "features" else (min(workers, max(1, len(slides))), 1)
    crew = _Crew(stage, results, settings, threads)
    statuses: dict[str, StageStatus] = {}
    suspects: list[SlideRow] = []

    def collect(batch: Sequence[SlideRow], number: int, label: str) -> list[tuple[SlideRow, WorkerDied]]:
        todo: queue.SimpleQueue[SlideRow] = queue.SimpleQueue()
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for slide in batch:
            todo.put(slide)
        crew_threads = [
            threading.Thread(target=crew.serve, args=(todo, done), daemon=True) for _ in range(number)
        ]
        for thread in crew_threads:
            thread.start()
        crashed = []
        for _ in progress.track(range(len(batch)), len(batch), label, "slides"):
            slide, outcome = done.get()
            if isinstance(outcome, WorkerDied):
                crashed.append((slide, outcome))
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                statuses[slide.slide_id] = outcome
                if outcome.status == "failed" and outcome.failed_stage == stage:
                    _tell(outcome)
        for thread in crew_threads:
            thread.join()
        return crashed

    try:
        suspects = []
        for slide, cause in collect(slides, processes, stage):
            if cause.reason == "failed":
                suspects.append(slide)
            else:  # it would take as long, or as much, again
                statuses[slide.slide_id] = _crashed(slide, stage, results, cause)
        for suspect in suspects:
            for slide, cause in collect([suspect], 1, f"{stage}, {suspect.slide_id} again, alone"):
                statuses[slide.slide_id] = _crashed(slide, stage, results, cause)
    except BaseException:
        crew.stop()
        raise
    ordered = [statuses[slide.slide_id] for slide in slides]
    write_manifest(manifest, ordered)
    return ordered


def _tell(status: StageStatus) -> None:
    print(f"slide {status.slide_id}: {status.reason}: {status.message}", file=sys.stderr, flush=True)


def _crashed(slide: SlideRow, stage: str, results: Path, cause: WorkerDied) -> StageStatus:
    if cause.reason == "failed":
        message = (
            f"it ended its worker process twice ({cause}); "
            "the file is probably damaged, or the machine's memory too small"
        )
    else:
        key = {"time_limit": "slides.time_limit_s", "memory_limit": "slides.memory_limit_mib"}[cause.reason]
        message = f"stopped: {cause}; raise {key} if the file is sound"
    status = StageStatus(slide.slide_id, stage, "failed", cause.reason, message, failed_stage=stage)
    for name in ARTIFACTS[stage]:
        (slide_folder(results, slide.slide_id) / name).unlink(missing_ok=True)
    write_status(results, status)
    _tell(status)
    return status


def write_manifest(path: Path, statuses: Sequence[StageStatus]) -> None:
    """Write the batch manifest: one row a slide, no times, so that unchanged results give unchanged bytes."""
    import pandas as pd

    rows = [
        {
            "slide_id": s.slide_id,
            "status": s.status,
            "stage": s.failed_stage or s.stage,
            "reason": s.reason,
            "message": " ".join(s.message.split()),
            "mpp": "" if s.mpp is None else f"{s.mpp:.6g}",
            "mpp_source": s.mpp_source,
            "n_10x": s.counts.get("n_10x", ""),
            "n_20x": s.counts.get("n_20x", ""),
            "notes": " ".join(s.notes.split()),
            "key": s.key,
            "features_sha256": s.sha256.get("features.h5", ""),
        }
        for s in statuses
    ]
    write_tsv(path, pd.DataFrame(rows, columns=list(COLUMNS)))
