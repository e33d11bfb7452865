"""One slide through one stage: skip what is current, turn every failure into a status, write the status last."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from pathlib import Path

from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import PathDuetError, SlideError
from pathduet.core.files import remove_leftovers
from pathduet.slides import cache_keys
from pathduet.slides.settings import SlideSettings
from pathduet.slides.status import (
    ARTIFACTS,
    REFUSED,
    STAGES,
    StageStatus,
    artifact_checksums,
    broken_artifacts,
    read_status,
    slide_folder,
    status_path,
    write_status,
)

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def run_slide(
    slide: SlideRow, stage: str, results: Path, settings: SlideSettings, threads: int = 1
) -> StageStatus:
    """Run one stage of one slide, unless its artifacts are current.

    A slide that fails gets a status with a reason; older artifacts of the stage are removed, so that nobody reads them.
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

    Returns
    -------
    StageStatus

    Raises
    ------
    PathDuetError
        Only for what is wrong with the whole run, such as encoder weights that cannot be had.
    """
    if stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}; known: {STAGES}")
    folder = slide_folder(results, slide.slide_id)
    for name in (*ARTIFACTS[stage], status_path(results, slide.slide_id, stage).name):
        remove_leftovers(folder / name)
    before = read_status(results, slide.slide_id, stage)
    status = _run(slide, stage, results, settings, threads, before)
    if status != before:
        write_status(results, status)
    return status


def run_to_artifact(
    slide: SlideRow, artifact: str, results: Path, settings: SlideSettings, threads: int = 1
) -> StageStatus:
    """Run the stages of one slide up to the one that writes `artifact` (a file name such as ``stain.json``).

    Raises
    ------
    SlideError
        If the slide cannot be used.
    """
    makers = [stage for stage, names in ARTIFACTS.items() if artifact in names]
    if not makers:
        raise ValueError(f"no stage writes {artifact!r}")
    for stage in STAGES[: STAGES.index(makers[0]) + 1]:
        status = run_slide(slide, stage, results, settings, threads)
        if status.status != "ok":
            raise SlideError(slide.slide_id, status.reason, status.message)
    return status


def _run(
    slide: SlideRow,
    stage: str,
    results: Path,
    settings: SlideSettings,
    threads: int,
    before: StageStatus | None,
) -> StageStatus:
    folder = slide_folder(results, slide.slide_id)
    if slide.exclude:
        _remove_artifacts(folder, stage)
        (folder / REFUSED).unlink(missing_ok=True)
        return StageStatus(slide.slide_id, stage, "excluded", "excluded", slide.exclude, failed_stage="tile")
    upstream: StageStatus | None = None
    key = ""
    try:
        if stage != "tile":
            # current as a rule; where its artifacts are damaged, or the slide has changed, made again first
            upstream = run_slide(slide, STAGES[STAGES.index(stage) - 1], results, settings, threads)
            if upstream.status != "ok":
                _remove_artifacts(folder, stage)
                return StageStatus(
                    slide.slide_id, stage, upstream.status, upstream.reason, upstream.message,
                    failed_stage=upstream.failed_stage, mpp=upstream.mpp, mpp_source=upstream.mpp_source,
                )  # fmt: skip
        key = _key(slide, stage, settings, upstream)
        if before is not None and before.status == "ok" and before.key == key:
            problems = broken_artifacts(folder, before)
            if not problems:
                return before
            _say_broken(slide, problems)
        _remove_artifacts(folder, stage)
        if stage == "tile":
            (folder / REFUSED).unlink(missing_ok=True)
        read = cache_keys.slide_identity(slide.path)
        status = _compute(slide, stage, settings, folder, key, upstream, threads)
        if cache_keys.slide_identity(slide.path) != read:
            raise SlideError(
                slide.slide_id, "unreadable", "the file changed while it was read", "start the run again"
            )
        return status
    except SlideError as error:
        reason, message = error.reason, "; ".join(part for part in (error.found, error.advice) if part)
    except PathDuetError:
        raise
    except Exception as error:
        _raise_if_disk(error, results)
        traceback.print_exc(file=sys.stderr)
        reason = "failed"
        text = str(error).replace(str(slide.path.parent), "").replace(str(results), "")
        message = f"{type(error).__name__}: {text}; the log has the details"
    _remove_artifacts(folder, stage)
    return StageStatus(
        slide.slide_id, stage, "failed", reason, message, key, failed_stage=stage,
        mpp=upstream.mpp if upstream else None, mpp_source=upstream.mpp_source if upstream else "",
    )  # fmt: skip


def _raise_if_disk(error: Exception, results: Path) -> None:
    """A disk that takes no more is no fault of the slide in hand: it ends the batch, and no slide is marked."""
    found = re.search(r"errno = (\d+)", str(error))  # HDF5 gives the number in its text alone
    number = getattr(error, "errno", None) or (int(found[1]) if found else None)
    if number in _DISK_ERRORS:
        raise PathDuetError(
            f"cannot write to {results}: {os.strerror(number)}; make room (or access), then start the run again"
        ) from error


def _say_broken(slide: SlideRow, problems: list[str]) -> None:
    print(f"slide {slide.slide_id}: {'; '.join(problems)}: made again", file=sys.stderr, flush=True)


def _remove_artifacts(folder: Path, stage: str) -> None:
    for name in ARTIFACTS[stage]:
        (folder / name).unlink(missing_ok=True)


def _key(slide: SlideRow, stage: str, settings: SlideSettings, upstream: StageStatus | None) -> str:
    if upstream is None:
        try:
            if not slide.path.is_file():
                raise SlideError(
                    slide.slide_id, "unreadable", f"no file {slide.path.name}", "check the path in slides.tsv"
                )
            return cache_keys.tile_key(slide, settings)
        except OSError as error:  # no permission, a network disk that is gone
            raise SlideError(
                slide.slide_id,
                "unreadable",
                f"{slide.path.name}: {os.strerror(error.errno or errno.EIO)}",
                "check its permissions and the disk it lies on",
            ) from error
    if stage == "stain":
        return cache_keys.stain_key(upstream.key, settings)
    from pathduet.slides.encoders.encoder import find_weights

    return cache_keys.features_key(upstream.key, settings, find_weights(settings.encoder).sha256)


def _compute(
    slide: SlideRow,
    stage: str,
    settings: SlideSettings,
    folder: Path,
    key: str,
    upstream: StageStatus | None,
    threads: int,
) -> StageStatus:
    # A stage loads its libraries only when a slide needs it: torch alone takes seconds.
    if upstream is None:
        from pathduet.slides.tile_stage import tile_slide

        counts, size = tile_slide(slide, settings.tile, folder, key)
        mpp = (size.x + size.y) / 2
        inferred = (
            "pixel size inferred from the objective's nominal power" if "inferred" in size.source else ""
        )
        notes = _joined(inferred, size.note)
        if slide.mask is not None:
            notes = _joined(notes, f"tissue as marked in {slide.mask.name}")
        return StageStatus(
            slide.slide_id, stage, "ok", key=key, counts=counts, mpp=mpp, mpp_source=size.source, notes=notes,
            sha256=artifact_checksums(folder, stage),
        )  # fmt: skip
    notes = upstream.notes
    if stage == "stain":
        from pathduet.slides.stain_stage import stain_slide

        counts, found = stain_slide(slide, settings, folder, key)
        notes = _joined(notes, found)
    else:
        from pathduet.slides.encoders.encoder import load_encoder
        from pathduet.slides.features import encode_slide

        counts = encode_slide(slide, settings, load_encoder(settings.encoder), folder, key, threads)
        for what, n in {
            "tiles could not be decoded": counts["failed_tiles"],
            "blurred tiles left out": counts["rejected_blurred_10x"] + counts["rejected_blurred_20x"],
            "blank tiles left out": counts["rejected_blank_10x"] + counts["rejected_blank_20x"],
        }.items():
            notes = _joined(notes, f"{n} {what}" if n else "")
    return StageStatus(
        slide.slide_id, stage, "ok", key=key, counts=counts, mpp=upstream.mpp,
        mpp_source=upstream.mpp_source, notes=notes, sha256=artifact_checksums(folder, stage),
    )  # fmt: skip


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
