"""The contents of a released folder and their verification: manifest.json and SHA256SUMS.

The checksums detect damage and edits; they are not a signature: whoever rewrites a file can rewrite its checksum. The
release's id is the manifest's own SHA-256: compare it with the id that its authors publish. Nothing in the folder is
ever executed or unpickled: weights are safetensors, everything else is JSON, text or a picture.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pathduet.core.errors import InputError, Problem
from pathduet.core.files import sha256_file, write_json, write_text

FORMAT = 2
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
#: File types that a release may contain; none of them can carry code that loading would run.
SUFFIXES = (".json", ".safetensors", ".md", ".tsv", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ADVICE = "download or export the release again"


def write_manifest(folder: Path, more: Mapping[str, Any]) -> None:
    """List every file of a folder with size and SHA-256; `more` (JSON-ready) is written with the list."""
    listed = {
        name: {"sha256": sha256_file(folder / name), "bytes": (folder / name).stat().st_size}
        for name in _contents(folder)
    }
    write_json(folder / MANIFEST, {**more, "format": FORMAT, "kind": "pathduet release", "files": listed})
    write_text(folder / SUMS, _sums(listed, sha256_file(folder / MANIFEST)))


def _contents(folder: Path) -> list[str]:
    """Return the files of a release, without the two lists and hidden files, as left by file browsers."""
    found = (path for path in folder.rglob("*") if not path.is_dir() and not path.name.startswith("."))
    return sorted({path.relative_to(folder).as_posix() for path in found} - {MANIFEST, SUMS})


def _sums(listed: Mapping[str, Mapping[str, Any]], manifest: str) -> str:
    """Return SHA256SUMS in the format of sha256sum."""
    sums = {name: entry["sha256"] for name, entry in listed.items()} | {MANIFEST: manifest}
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def is_release(folder: Path) -> bool:
    """Return whether a folder looks like a release (it has a manifest)."""
    return (folder / MANIFEST).is_file()


def verify(folder: Path) -> dict[str, Any]:
    """Compare the manifest with SHA256SUMS and all files with the manifest; return it with `id` (its SHA-256).

    Raises
    ------
    InputError
        Naming every file that is missing, altered, not listed, of a forbidden type, or outside the folder.
    """
    where = f"release {folder}"
    try:
        data = (folder / MANIFEST).read_bytes()
        manifest = json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError.of(f"{where}, {MANIFEST}", f"cannot be read ({error})", _ADVICE) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else "no mapping"
        raise InputError.of(
            f"{where}, {MANIFEST}", f"format {found!r}, not {FORMAT}", "use the PathDuet that wrote it"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise InputError.of(f"{where}, {MANIFEST}", "lists no files", _ADVICE)
    problems = [
        Problem(f"{where}, {str(name)!r}", found, _ADVICE)
        for name, entry in files.items()
        if (found := _fault(folder, name, entry))
    ]
    unknown = sorted(set(_contents(folder)) - set(files))
    problems += [Problem(f"{where}, {name!r}", "not in the manifest", "remove it") for name in unknown]
    if problems:
        raise InputError(problems)
    identity = hashlib.sha256(data).hexdigest()
    try:
        sums = (folder / SUMS).read_bytes()
    except OSError:
        raise InputError.of(f"{where}, {SUMS}", "missing", _ADVICE) from None
    if sums != _sums(files, identity).encode():
        raise InputError.of(f"{where}, {MANIFEST}", f"altered: its checksum is not that of {SUMS}", _ADVICE)
    return {**manifest, "id": identity}


def _fault(folder: Path, name: str, entry: Any) -> str:
    """Return the fault of one listed file; empty if it has none."""
    path = PurePosixPath(name)
    plain = re.fullmatch(r"[A-Za-z0-9._/+ -]+", name) and not path.is_absolute() and name == path.as_posix()
    if not plain or any(part in ("..", ".") for part in path.parts):
        return "no path inside the folder"
    if path.suffix.lower() not in SUFFIXES:
        return f"a kind of file that a release does not contain ({', '.join(SUFFIXES)})"
    if not isinstance(entry, dict) or not _SHA256.fullmatch(str(entry.get("sha256"))):
        return "listed without a SHA-256"
    file = folder / path
    if not file.is_file():
        return "missing"
    if not file.resolve().is_relative_to(folder.resolve()):
        return "a link that leaves the folder"
    if file.stat().st_size != entry.get("bytes") or sha256_file(file) != entry["sha256"]:
        return "altered: its checksum is not the manifest's"
    return ""


def read_json(folder: Path, manifest: Mapping[str, Any], name: str) -> Any:
    """Read a JSON file of a verified release; only files that the manifest lists are opened."""
    if name not in manifest["files"]:
        raise InputError.of(f"release {folder}, {name}", "not in the manifest", _ADVICE)
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError.of(f"release {folder}, {name}", f"no JSON ({error})", _ADVICE) from None
