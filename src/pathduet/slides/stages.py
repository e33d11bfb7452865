"""One slide through one stage: skip what is current, turn every failure into a status, write the status last."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from pathduet.cohort.sheets import SlideRow
from pathduet.core.checksums import CorruptArtifact, remedy
from pathduet.core.errors import PathDuetError, SlideError
from pathduet.core.faults import raise_machine_fault
from pathduet.core.files import remove_leftovers
from pathduet.results import STAGE_ARTIFACTS, Results
from pathduet.slides.cache_keys import stage_keys
from pathduet.slides.settings import SlideSettings
from pathduet.slides.source import SOURCE, read_content, slide_files
from pathduet.slides.status import (
    STAGES,
    TOO_LITTLE_TISSUE,
    StageResult,
    StageStatus,
    artifact_checksums,
    broken_artifacts,
    read_status,
    remove_artifacts,
    write_status,
)


def run_stage(
    slide: SlideRow, stage: str, results: Path, settings: SlideSettings, threads: int = 1
) -> StageStatus:
    """Run one stage of one slide, unless its artifacts are current.

    A slide that fails gets a status with a reason; older artifacts of the stage are removed, so that they are not read.
    A slide that failed or was excluded before keeps that reason.

    Parameters
    ----------
    slide : SlideRow
    stage : {"tile", "stain", "features"}
    results : Path
        The results folder.
    settings : SlideSettings
    threads : int
        Threads for reading tiles (features).

    Raises
    ------
    CorruptArtifact
        If the previous stage's artifacts are missing, damaged, or from another state of the slide.
    PathDuetError
        For errors of the whole run, such as unavailable encoder weights, or of the machine.
    """
    place = Results(results)
    folder = place.slide(slide.slide_id)
    for path in (
        *(folder / name for name in (*STAGE_ARTIFACTS[stage], SOURCE, TOO_LITTLE_TISSUE)),
        place.slide_status(slide.slide_id, stage),
    ):
        remove_leftovers(path)
    if stage == STAGES[-1]:  # the slide may have had another tool's features
        place.feature_pointer(slide.slide_id).unlink(missing_ok=True)
    before = read_status(results, slide.slide_id, stage)
    status = _run(slide, stage, results, settings, threads, before)
    if status.status != "ok":
        remove_artifacts(results, slide.slide_id, stage)
    if status != before:
        write_status(results, status)
    return status


def _run(
    slide: SlideRow,
    stage: str,
    results: Path,
    settings: SlideSettings,
    threads: int,
    before: StageStatus | None,
) -> StageStatus:
    """Do the stage's work if needed, and return its status."""
    folder = Results(results).slide(slide.slide_id)
    if slide.exclude:
        (folder / TOO_LITTLE_TISSUE).unlink(missing_ok=True)
        return StageStatus(slide.slide_id, stage, "excluded", "excluded", slide.exclude, failed_stage="tile")
    upstream = _upstream(slide, stage, results)
    if upstream is not None and upstream.status != "ok":
        return replace(upstream, stage=stage, key="", counts={}, notes="", sha256={})
    key = ""
    try:
        identity = _identity(slide, folder)
        keys = stage_keys(slide, identity, settings, stage)
        key = keys[stage]
        if upstream is not None and upstream.key != keys[upstream.stage]:
            found = f"{STAGE_ARTIFACTS[upstream.stage][0]} is from another state of the slide, or from other settings"
            raise _corrupt(slide, upstream.stage, results, found)
        if before is not None and _is_current(before, key, results):
            return before
        remove_artifacts(results, slide.slide_id, stage)
        if stage == "tile":
            (folder / TOO_LITTLE_TISSUE).unlink(missing_ok=True)
        result = _work(slide, stage, settings, folder, key, threads)
        if _identity(slide, folder) != identity:
            found = "the file changed while it was read"
            raise SlideError(slide.slide_id, "unreadable", found, "start the run again")
        return _finished(slide, stage, results, key, result, upstream)
    except Exception as error:
        raise_machine_fault(error, f"slide {slide.slide_id}, {stage}")
        if isinstance(error, PathDuetError) and not isinstance(error, SlideError):
            raise
        if isinstance(error, SlideError):
            reason, message = error.reason, error.message
        else:
            traceback.print_exc(file=sys.stderr)
            reason = "failed"
            text = str(error).replace(str(slide.path.parent), "").replace(str(results), "")
            message = f"{type(error).__name__}: {text}; the log has the details"
    return StageStatus(
        slide.slide_id, stage, "failed", reason, message, key, failed_stage=stage,
        mpp=upstream.mpp if upstream else None, mpp_source=upstream.mpp_source if upstream else "",
    )  # fmt: skip


def _upstream(slide: SlideRow, stage: str, results: Path) -> StageStatus | None:
    """Return the status of the previous stage; None for the first stage."""
    if stage == STAGES[0]:
        return None
    earlier = STAGES[STAGES.index(stage) - 1]
    status = read_status(results, slide.slide_id, earlier)
    if status is None:
        raise _corrupt(slide, earlier, results, f"{earlier}.status.json is missing or damaged")
    if status.status == "ok" and (problems := broken_artifacts(results, status)):
        raise _corrupt(slide, earlier, results, "; ".join(problems))
    return status


def _corrupt(slide: SlideRow, stage: str, results: Path, found: str) -> CorruptArtifact:
    return CorruptArtifact(
        f"slide {slide.slide_id}: {found}; {remedy(Results(results).slide_status(slide.slide_id, stage))}"
    )


def _is_current(before: StageStatus, key: str, results: Path) -> bool:
    if before.status != "ok" or before.key != key:
        return False
    problems = broken_artifacts(results, before)
    if problems:
        print(f"slide {before.slide_id}: {'; '.join(problems)}: made again", file=sys.stderr, flush=True)
    return not problems


def _identity(slide: SlideRow, folder: Path) -> str:
    """Return a hash of the slide's content.

    Raises
    ------
    SlideError
        ``unreadable`` if the file does not exist, or its permissions forbid reading.
    """
    try:
        if slide.path.is_file():
            return read_content(slide_files(slide.path), folder / SOURCE)
        found, advice = f"no file {slide.path.name}".rstrip(), "check the path in slides.tsv"
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM):  # those are the file's own
            raise_machine_fault(error, f"slide {slide.slide_id}, {slide.path.name}")
        found = f"{slide.path.name}: {os.strerror(error.errno or errno.EIO)}"
        advice = "check its permissions"
    raise SlideError(slide.slide_id, "unreadable", found, advice)


def _work(
    slide: SlideRow, stage: str, settings: SlideSettings, folder: Path, key: str, threads: int
) -> StageResult:
    # A stage loads its libraries only when a slide needs it: torch alone takes seconds.
    if stage == "tile":
        from pathduet.slides.tile_stage import tile_slide

        return tile_slide(slide, settings.tile, folder, key)
    if stage == "stain":
        from pathduet.slides.stain_stage import stain_slide

        return stain_slide(slide, settings, folder, key)
    from pathduet.slides.features_stage import encode_slide

    return encode_slide(slide, settings, folder, key, threads)


def _finished(
    slide: SlideRow,
    stage: str,
    results: Path,
    key: str,
    found: StageResult,
    upstream: StageStatus | None,
) -> StageStatus:
    known = upstream or StageStatus(slide.slide_id, stage, "ok", mpp=found.mpp, mpp_source=found.mpp_source)
    return StageStatus(
        slide.slide_id, stage, "ok", key=key, counts=found.counts, mpp=known.mpp, mpp_source=known.mpp_source,
        notes="; ".join(note for note in (known.notes, *found.notes) if note),
        sha256=artifact_checksums(results, slide.slide_id, stage),
    )  # fmt: skip
