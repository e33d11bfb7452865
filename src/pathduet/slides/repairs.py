"""Features that were damaged after they were made: noticed by the job that reads them, made again by the next run.

A reader that finds a slide's features gone or changed notes the slide in ``results/repairs.tsv`` and fails. The next
run's `verify` job, which training waits for, makes noted slides again. Models that were finished before stay
as they are: the same slide gives the same features.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pathduet.checksums import CorruptArtifact
from pathduet.errors import PathDuetError
from pathduet.progress import track
from pathduet.sheets import SlideRow
from pathduet.slides.settings import SlideSettings
from pathduet.slides.status import broken_artifacts, read_status, slide_folder


def repairs_path(results: Path) -> Path:
    """Return where slides that need repair are noted, one line for each time one was found broken."""
    return results / "repairs.tsv"


def require_intact(results: Path, slide_ids: Iterable[str]) -> None:
    """Compare every slide's features with the checksum in their status.

    A slide without a checksum in its status (features from elsewhere) is taken as it is.

    Raises
    ------
    CorruptArtifact
        Naming all slides whose features are gone or differ; they are noted in :func:`repairs_path` before.
    """
    broken = []
    for slide_id in slide_ids:
        status = read_status(results, slide_id, "features")
        if status is not None and status.sha256:
            problems = broken_artifacts(slide_folder(results, slide_id), status)
            broken += [(slide_id, problem) for problem in problems]
    if not broken:
        return
    lines = "".join(f"{slide_id}\t{problem}\n" for slide_id, problem in broken)
    # one write, so that lines of several jobs never mix
    handle = os.open(repairs_path(results), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, lines.encode())
    finally:
        os.close(handle)
    named = ", ".join(f"slide {slide_id}: {problem}" for slide_id, problem in broken)
    raise CorruptArtifact(
        f"{named}; start the run again, they are made anew (noted in {repairs_path(results)})"
    )


def noted(results: Path) -> set[str]:
    """Return the slides that were ever found broken."""
    try:
        lines = repairs_path(results).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return set()
    return {line.partition("\t")[0] for line in lines}


def repair(slides: Sequence[SlideRow], results: Path, settings: SlideSettings, threads: int = 1) -> list[str]:
    """Make again what is damaged or gone of the noted slides; return the ids of those looked at.

    Raises
    ------
    PathDuetError
        If a slide that had features cannot be made again.
    """
    from pathduet.slides.engine import run_slide

    wanted = noted(results)
    chosen = [slide for slide in slides if slide.slide_id in wanted]
    lost = []
    for slide in track(chosen, len(chosen), "repair", "slides"):
        status = run_slide(slide, "features", results, settings, threads)
        if status.status != "ok":
            lost.append(f"{slide.slide_id}: {status.message}")
    if lost:
        raise PathDuetError(
            "features that were there before cannot be made again: " + "; ".join(lost) + "; bring the slide "
            "back, or give its row in slides.tsv a reason in `exclude`"
        )
    return [slide.slide_id for slide in chosen]
