"""Comparison of feature files with the checksums recorded when they were written or first read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pathduet.core.checksums import DAMAGED, is_damaged, remedy
from pathduet.core.errors import Problems
from pathduet.core.files import sha256_file, stamp
from pathduet.features.feature_file import features_of, read_pointer
from pathduet.results import Results


def verify_features(results: Results, slide_ids: Iterable[str]) -> None:
    """Compare slides' features with their recorded checksums.

    A features.h5 without a recorded checksum is accepted. Files of another tool are read again only if their size or date
    changed.

    Parameters
    ----------
    results : Results
    slide_ids : iterable of str
        Slides whose features are about to be read.

    Raises
    ------
    InputError
        If files are missing or differ; names each of them and the command that creates it again.
    """
    problems = Problems()
    for slide_id in slide_ids:
        path = features_of(results, slide_id)
        if path == results.feature_pointer(slide_id):
            _verify_foreign(slide_id, path, problems)
            continue
        if not path.is_file():
            problems.add(f"slide {slide_id}, {path.name}", "is gone", remedy(path))
        elif is_damaged(path):
            problems.add(f"slide {slide_id}, {path.name}", DAMAGED, remedy(path))
    problems.check()


def _verify_foreign(slide_id: str, pointer: Path, problems: Problems) -> None:
    try:
        known = read_pointer(pointer)
    except OSError as error:
        problems.add(f"slide {slide_id}", str(error), "remove it, and start the run again")
        return
    for magnification, name in known["files"].items():
        file, where = Path(name), f"slide {slide_id}, {Path(name).name}"
        if not file.is_file():
            problems.add(where, "is gone", "restore it, or correct slides.tsv")
        elif stamp(file) != known["stamps"][magnification] and (
            sha256_file(file) != known["sha256"][magnification]
        ):
            problems.add(where, "changed after the run read it", "start the run again")
