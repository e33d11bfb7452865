"""Checksums of artifacts: the job that writes a file records one beside it, and every reader compares it.

A job's output ``x.tsv`` gets ``.x.tsv.sha256``; those of a slide's artifacts are in the stage's status file, which also
holds its own. Code that opens a file of a results folder opens the path that :func:`checked` returns. Files without a
checksum (the user's sheets and slides) are not checked. Checksums reveal damage and edits; they are not signatures.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pathduet.core.errors import PathDuetError
from pathduet.core.files import remove_leftovers, sha256_file, write_json, write_text
from pathduet.results import STAGE_ARTIFACTS, STATUS

DAMAGED = "is not what was written (the disk is damaged, or the file was edited)"
_OWN = "checksum"
#: Files that this process found intact, with size, date and inode at that time.
_intact: dict[Path, tuple[int, int, int]] = {}


class CorruptArtifact(PathDuetError):
    """A file differs from what its job wrote."""


def checksum_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file's checksum."""
    path = Path(path)
    return path.with_name(f".{path.name}.sha256")


def forget(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Remove the checksums of files that will be rebuilt, and temporary files that killed writers left."""
    for path in paths:
        checksum_path(path).unlink(missing_ok=True)
        remove_leftovers(path)
        remove_leftovers(checksum_path(path))


def record(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Write the checksums of finished files and folders."""
    for path in map(Path, paths):
        if path.exists():
            write_text(checksum_path(path), _sha256(path) + "\n")


def recorded(path: Path) -> str:
    """Return the checksum that a file had when it was written; empty if there is none.

    Raises
    ------
    CorruptArtifact
        If it is in a slide's status file, and that is damaged.
    """
    for stage, names in STAGE_ARTIFACTS.items():
        status = path.with_name(stage + STATUS)
        if path.name in names and status.is_file():
            return str(dict(read_sealed(status).get("sha256", {})).get(path.name, ""))
    kept = checksum_path(path)
    return kept.read_text(encoding="ascii", errors="replace").strip() if kept.is_file() else ""


def checked(path: str | os.PathLike[str]) -> Path:
    """Return a file's path after comparing its checksum; the file is read again only if its size or date changes.

    Raises
    ------
    CorruptArtifact
        If the file differs or is missing; names the file and the command that rebuilds it.
    """
    path = Path(path)
    if is_damaged(path):
        raise CorruptArtifact(f"{path} {DAMAGED}; {remedy(path)}")
    if not path.exists() and recorded(path):
        raise CorruptArtifact(f"{path} is missing; {remedy(path)}")
    return path


def is_damaged(path: Path) -> bool:
    """Whether a file, or a folder that a job wrote, differs from its recorded checksum."""
    try:
        found = path.stat()
    except OSError:
        return False
    now = (found.st_size, found.st_mtime_ns, found.st_ino)
    if _intact.get(path) == now:
        return False
    if kept := recorded(path):
        damaged = _sha256(path) != kept
    else:
        damaged = path.suffix == ".json" and not _holds_its_seal(path)
    if path.is_file() and not damaged:
        _intact[path] = now
    return damaged


def remedy(path: Path) -> str:
    """Return how to rebuild a damaged artifact."""
    stage = next((s for s, names in STAGE_ARTIFACTS.items() if path.name in (s + STATUS, *names)), None)
    if path.name == "features.json":
        command = "snakemake --cores 1 --forcerun foreign_features"
    elif stage:
        command = f"snakemake --cores 1 {path.with_name(STAGE_ARTIFACTS[stage][0])} --forcerun one_slide"
    else:
        command = f"snakemake --cores 1 {path} --force"
    return f"make it again with `{command}` (and the run's --configfile)"


def verify(paths: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """Compare a job's inputs with their checksums; remove those that differ, so that the next run rebuilds them.

    Returns
    -------
    dict
        SHA-256 of every file, also of files without a checksum (the user's own).

    Raises
    ------
    CorruptArtifact
        Names every file that differs.
    """
    broken = []
    found = {}
    for path in map(Path, paths):
        if not path.is_file():
            continue
        if is_damaged(path):
            path.unlink()
            checksum_path(path).unlink(missing_ok=True)
            broken.append(path)
        else:
            found[str(path)] = recorded(path) or sha256_file(path)
    if broken:
        raise CorruptArtifact(
            f"{', '.join(map(str, broken))} {DAMAGED}, and was removed: start the run again to make it anew"
        )
    return found


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON that holds its own checksum: for small files that are numerous."""
    write_json(path, {**value, _OWN: _seal(value)})


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what :func:`write_sealed` wrote.

    Raises
    ------
    CorruptArtifact
        If the file differs from it.
    FileNotFoundError
    """
    try:
        value = dict(json.loads(path.read_bytes()))
        if value.pop(_OWN, None) in (None, _seal(value)):
            return value
    except (ValueError, TypeError, RecursionError):
        pass
    raise CorruptArtifact(f"{path} {DAMAGED}; {remedy(path)}")


def _holds_its_seal(path: Path) -> bool:
    try:
        read_sealed(path)
    except CorruptArtifact:
        return False
    return True


def _seal(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's list of files with theirs, without hidden ones (Snakemake's)."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    listed = "".join(f"{sha256_file(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
    return hashlib.sha256(listed.encode()).hexdigest()
