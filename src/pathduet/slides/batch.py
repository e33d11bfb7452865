"""A batch of slides through one or more stages.

A slide that ends its worker process, or hits a machine fault, is retried once, alone, after the others are done.
If it crashes its worker again, it is marked ``failed``; if the fault persists, the batch ends and no slide is marked.
A slide that exceeds the configured time or memory is stopped and not retried.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import SlideError
from pathduet.core.faults import MachineFault
from pathduet.core.files import write_tsv
from pathduet.core.progress import track
from pathduet.results import STAGE_ARTIFACTS
from pathduet.slides.isolation import WorkerDied, Workers
from pathduet.slides.settings import SlideSettings
from pathduet.slides.status import STAGES, StageStatus, remove_artifacts, stages_to, write_status

COLUMNS = (
    "slide_id", "status", "stage", "reason", "message", "mpp", "mpp_source", "n_10x", "n_20x", "notes", "key",
    "features_sha256",
)  # fmt: skip


def run_batch(
    slides: Sequence[SlideRow],
    stages: Sequence[str],
    results: Path,
    settings: SlideSettings,
    manifest: Path | None = None,
    workers: int = 1,
) -> list[StageStatus]:
    """Run stages one after another for a batch of slides and write the batch manifest last.

    Slides that are current are skipped; each finished slide is written at once, so an interrupted batch resumes where
    it stopped. The tile and stain stages share `workers` processes; the features stage uses one process (one copy of
    the encoder) with `workers` threads, or with `workers` reader processes if the encoder is on a GPU.

    Parameters
    ----------
    slides : sequence of SlideRow
    stages : sequence of {"tile", "stain", "features"}
        In this order, at least one.
    results : Path
        The results folder.
    settings : SlideSettings
    manifest : Path, optional
        TSV to write, one row per slide in the order of `slides`: the statuses of the last stage.
    workers : int
        Number of processes or threads, at least 1.

    Returns
    -------
    list of StageStatus
        Of the last stage, in the order of `slides`.

    Raises
    ------
    PathDuetError
        For errors of the whole run (encoder weights, settings, artifacts of an earlier stage) or of the machine; no manifest
        is then written.
    """
    if not stages or not set(stages) <= set(STAGES):
        raise ValueError(f"unknown stages {stages!r}; known: {STAGES}")
    workers = max(1, workers)
    encoding = [stage for stage in stages if stage == STAGES[-1]]
    preparing = [stage for stage in stages if stage not in encoding]
    statuses: list[StageStatus] = []
    for shared, processes, threads in (
        (preparing, min(workers, len(slides)) or 1, 1),
        (encoding, 1, workers),
    ):
        pool = Workers(shared, results, settings, threads)
        try:
            for stage in shared:
                statuses = _run_stage(slides, stage, results, pool, processes)
        finally:
            pool.end(stop=True)
    if manifest is not None:
        write_manifest(manifest, statuses)
    return statuses


def make_artifact(
    slide: SlideRow, artifact: str, results: Path, settings: SlideSettings, workers: int = 1
) -> StageStatus:
    """Run the stages of one slide up to the one that writes `artifact` (a file name such as ``stain.json``).

    Raises
    ------
    SlideError
        If the slide cannot be used.
    """
    makers = [stage for stage, names in STAGE_ARTIFACTS.items() if artifact in names]
    if not makers:
        raise ValueError(f"no stage writes {artifact!r}")
    (status,) = run_batch([slide], stages_to(makers[0]), results, settings, workers=workers)
    if status.status != "ok":
        raise SlideError(slide.slide_id, status.reason, status.message)
    return status


def _run_stage(
    slides: Sequence[SlideRow], stage: str, results: Path, pool: Workers, processes: int
) -> list[StageStatus]:
    """Run one stage of all slides; those that end their worker process are run again, alone."""
    ended: dict[str, StageStatus] = {}
    crashed = _run_all(slides, stage, pool, processes, ended, stage)
    if crashed:
        pool.end()  # a retried slide has the machine to itself
    faults = []
    for slide, cause in crashed:
        again = [(slide, cause)]
        if cause.reason in ("failed", "fault"):  # a limit would be exceeded again
            again = _run_all([slide], stage, pool, 1, ended, f"{stage}, {slide.slide_id} again, alone")
        for lost, last in again:
            if last.reason == "fault":
                faults.append(f"{lost.slide_id}: {last}")
            else:
                ended[lost.slide_id] = _lost(lost, stage, results, last)
    if faults:
        raise MachineFault(
            f"{stage}: a fault of the machine, also with one slide at a time: {'; '.join(faults)}. Nothing is marked as lost: "
            "fix the cause and start the run again. If one slide needs too much memory, lower slides.memory_limit_mib to give it up; if its "
            "file is the cause, exclude it in slides.tsv (`exclude`)"
        )
    return [ended[slide.slide_id] for slide in slides]


def _run_all(
    slides: Sequence[SlideRow],
    stage: str,
    pool: Workers,
    processes: int,
    ended: dict[str, StageStatus],
    label: str,
) -> list[tuple[SlideRow, WorkerDied]]:
    """Run slides, put their statuses in `ended`, and return those that ended their worker process."""
    crashed = []
    with ThreadPoolExecutor(processes) as threads:
        running = {threads.submit(pool.run, slide, stage): slide for slide in slides}
        try:
            for future in track(as_completed(running), len(slides), label, "slides"):
                slide = running[future]
                try:
                    status = ended[slide.slide_id] = future.result()
                except WorkerDied as error:
                    crashed.append((slide, error))
                else:
                    if status.status == "failed" and status.failed_stage == status.stage:
                        _tell(status)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            pool.end(stop=True)
            raise
    return crashed


def _tell(status: StageStatus) -> None:
    print(f"slide {status.slide_id}: {status.reason}: {status.message}", file=sys.stderr, flush=True)


def _lost(slide: SlideRow, stage: str, results: Path, cause: WorkerDied) -> StageStatus:
    """Record that a slide ended its worker process."""
    if cause.reason == "failed":
        message = f"it crashed its worker process twice ({cause}); the file is probably damaged"
    else:
        key = {"time_limit": "slides.time_limit_s", "memory_limit": "slides.memory_limit_mib"}[cause.reason]
        message = f"stopped: {cause}; raise {key} if the file is intact"
    status = StageStatus(slide.slide_id, stage, "failed", cause.reason, message, failed_stage=stage)
    remove_artifacts(results, slide.slide_id, stage)
    write_status(results, status)
    _tell(status)
    return status


def write_manifest(path: Path, statuses: Sequence[StageStatus]) -> None:
    """Write the batch manifest: one row per slide, no times, so unchanged results give unchanged bytes."""
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
            "features_sha256": s.sha256.get("features.h5", s.sha256.get("features.json", "")),
        }
        for s in statuses
    ]
    write_tsv(path, pd.DataFrame(rows, columns=list(COLUMNS)))
