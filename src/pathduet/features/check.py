"""Feature files compared with the checksums that were taken when they were written."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pathduet.core.errors import Problems
from pathduet.core.files import sha256_file
from pathduet.results import Results


def verify_features(results: Results, slide_ids: Iterable[str]) -> None:
    """Compare slides' features.h5 with their recorded checksums.

    A slide without a recorded checksum (features from elsewhere) is taken as it is.

    Parameters
    ----------
    results : Results
    slide_ids : iterable of str
        Slides whose features are about to be read.

    Raises
    ------
    InputError
        Naming every file that is gone or differs, and the command that makes it again.
    """
    problems = Problems()
    for slide_id in slide_ids:
        path, written = results.features(slide_id), recorded_sha256(results, slide_id)
        if not path.is_file():
            found = "is gone"
        elif written and sha256_file(path) != written:
            found = "is not what was written (a damaged disk, or edited by hand)"
        else:
            continue
        problems.add(
            f"slide {slide_id}, {path.name}",
            found,
            f"make it again with `snakemake --cores 1 {path} --forcerun one_slide` (and the run's --configfile)",
        )
    problems.check()


def recorded_sha256(results: Results, slide_id: str) -> str:
    """Return the checksum that the slide's features had when they were written; empty if none is recorded."""
    status = results.slide_status(slide_id, "features")
    try:
        return str(json.loads(status.read_text(encoding="utf-8"))["sha256"]["features.h5"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
