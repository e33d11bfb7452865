"""Features that were damaged after they were made: named and made again by the job that is about to read them.

The same slide gives the same features, so models that were finished before stay as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pathduet.cohort.sheets import read_slides
from pathduet.core.errors import PathDuetError
from pathduet.core.run_lock import alone
from pathduet.slides.settings import SlideSettings
from pathduet.slides.status import broken_artifacts, read_status, slide_folder


def damage(results: Path, slide_id: str) -> list[str]:
    """Return what is wrong with a slide's features; empty if they are whole.

    A slide without a checksum in its status (features from elsewhere) is taken as it is.
    """
    status = read_status(results, slide_id, "features")
    if status is None or not status.sha256:
        return []
    return broken_artifacts(slide_folder(results, slide_id), status)


def mend(results: Path, slide_ids: Iterable[str], sheet: str, settings: Mapping[str, Any]) -> list[str]:
    """Compare every slide's features with the checksum in their status; make again what is gone or differs.

    Several jobs may find the same slide: one mends it, the others wait.

    Parameters
    ----------
    results : Path
    slide_ids : iterable of str
        Slides that are about to be read.
    sheet : path
        slides.tsv, for where the raw slides are.
    settings : mapping
        Sections ``slides``, ``stain`` and ``encoder`` of the configuration.

    Returns
    -------
    list of str
        The slides that were mended, by this job or while it waited.

    Raises
    ------
    PathDuetError
        Naming the slides that cannot be made again.
    """
    broken = {slide_id: problems for slide_id in slide_ids if (problems := damage(results, slide_id))}
    if not broken:
        return []
    from pathduet.slides.engine import run_slide

    rows = {slide.slide_id: slide for slide in read_slides(sheet)}
    lost = []
    for slide_id, problems in broken.items():
        print(f"slide {slide_id}: {'; '.join(problems)}: made again", file=sys.stderr, flush=True)
        with alone(results, f"repair/{slide_id}"):
            if damage(results, slide_id):
                parts = SlideSettings.from_mapping(settings)
                status = run_slide(rows[slide_id], "features", results, parts)
                if status.status != "ok":
                    lost.append(f"{slide_id}: {status.message}")
    if lost:
        raise PathDuetError(
            "features that were there before cannot be made again: " + "; ".join(lost) + "; bring the slide "
            "back, or give its row in slides.tsv a reason in `exclude`"
        )
    return list(broken)
