"""Checksums of artifacts: written beside them by the job that made them, compared by every job that reads them.

A job's output ``x.tsv`` gets ``.x.tsv.sha256``. Files without one (the user's own sheets and slides) are not looked
at. The slides' own artifacts have theirs in the stage's status, see :mod:`pathduet.slides.status`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pathduet.core.errors import PathDuetError
from pathduet.core.files import remove_leftovers, sha256_file, write_text


class CorruptArtifact(PathDuetError):
    """A file is no longer what the job that made it wrote."""


def checksum_path(path: str | os.PathLike[str]) -> Path:
    """Return where a file's checksum is kept."""
    path = Path(path)
    return path.with_name(f".{path.name}.sha256")


def forget(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Remove the checksums of files that are about to be made again, and what killed writers left of both."""
    for path in paths:
        checksum_path(path).unlink(missing_ok=True)
        remove_leftovers(path)
        remove_leftovers(checksum_path(path))


def record(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Write the checksums of finished files."""
    for path in paths:
        if Path(path).is_file():
            write_text(checksum_path(path), sha256_file(path) + "\n")


def recorded(paths: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """Return the checksums that :func:`record` wrote."""
    kept = {str(path): checksum_path(path) for path in paths}
    return {name: file.read_text(encoding="ascii").strip() for name, file in kept.items() if file.is_file()}


def verify(paths: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """Compare files with their checksums; remove those that differ, so that the next run makes them again.

    Returns
    -------
    dict
        Every file and its SHA-256, those without a checksum (the user's own) too.

    Raises
    ------
    CorruptArtifact
        Naming every file that differs.
    """
    broken = []
    found = {}
    for path in map(Path, paths):
        if not path.is_file():
            continue
        found[str(path)] = sha256_file(path)
        kept = checksum_path(path)
        if kept.is_file() and kept.read_text(encoding="ascii", errors="replace").strip() != found[str(path)]:
            path.unlink()
            kept.unlink()
            broken.append(path)
    if broken:
        raise CorruptArtifact(
            "not what was written (a damaged disk, or edited by hand), and therefore removed: "
            f"{', '.join(map(str, broken))}; start the run again, it is made anew"
        )
    return found
