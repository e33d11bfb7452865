"""The check of one slide by ``pathduet check``: whether a library reads it, its size and pixel size."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import SlideError
from pathduet.core.faults import MachineFault
from pathduet.slides.isolation import WorkerDied, Workers
from pathduet.slides.settings import LimitSettings, SlideSettings
from pathduet.slides.status import StageStatus

STAGE = "check"
LONGEST_S = 120.0  # opening takes well under a second


def check_slide(slide: SlideRow, default_mpp: float | None) -> StageStatus:
    """Open one slide and find its pixel size; never raises for a bad slide."""
    from pathduet.slides.given_mask import given_mask
    from pathduet.slides.readers.frame import declared_bounds
    from pathduet.slides.readers.pixel_size import pixel_size
    from pathduet.slides.readers.reader import SlideReader

    if slide.exclude:
        return StageStatus(slide.slide_id, STAGE, "excluded", "excluded", slide.exclude)
    try:
        with SlideReader(slide.slide_id, slide.path, slide.scene) as reader:
            size = pixel_size(slide.slide_id, reader.properties, slide.mpp, default_mpp)
            width, height = reader.dimensions
            levels = len(reader.level_downsamples)
            if slide.mask is not None:
                bounds = declared_bounds(reader.properties)
                given_mask(slide.slide_id, slide.mask, (width, height), (256, 256), slide.mask_frame, bounds)
    except SlideError as error:
        return StageStatus(slide.slide_id, STAGE, "failed", error.reason, error.message)
    message = f"{width} x {height} px, {levels} levels, {size.x:.4g} um/px from {size.source}"
    return StageStatus(slide.slide_id, STAGE, "ok", message=message, mpp_source=size.source)


def check_slides(slides: Sequence[SlideRow], settings: SlideSettings) -> Generator[StageStatus, None, None]:
    """Yield :func:`check_slide` of each slide, run in a worker process: a hang or crash costs only that slide.

    Raises
    ------
    MachineFault
        If no slide is the cause.
    """
    limits = LimitSettings(LONGEST_S, settings.limits.memory_limit_mib)
    workers = Workers([STAGE], Path(), replace(settings, limits=limits), 1)
    try:
        for slide in slides:
            try:
                yield workers.run(slide, STAGE)
            except WorkerDied as died:
                if died.reason == "fault":
                    raise MachineFault(f"slide {slide.slide_id}: {died}") from None
                yield StageStatus(slide.slide_id, STAGE, "failed", died.reason, f"opening it: {died}")
    finally:
        workers.end(stop=True)
