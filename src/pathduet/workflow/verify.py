"""Checks every file of a results folder against the checksum recorded when it was written."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pathduet.core.checksums import CorruptArtifact, is_damaged, read_sealed, recorded, remedy
from pathduet.core.errors import InputError
from pathduet.core.plural import plural
from pathduet.release.contents import is_release, verify
from pathduet.results import STATUS

#: Folders whose files have no checksum: records of a run, not results.
_DIARY = ("logs", "benchmarks", "tensorboard")


@dataclass
class Verified:
    """What :func:`verify_results` found; files relative to the results folder.

    Attributes
    ----------
    files : int
        Files and pyramids that were compared.
    damaged : list of str
        Files that differ from what was written, each with the way to recreate it.
    missing : list of str
        Files with a recorded checksum that are gone.
    unknown : list of str
        Files without a recorded checksum.
    """

    files: int = 0
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the counts, then one line per file."""
        found = {"damaged": self.damaged, "missing": self.missing, "unknown": self.unknown}
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in found.items())
        named = [f"  {kind}: {name}" for kind, names in found.items() for name in names]
        return [f"{plural(self.files, 'file')} compared with the recorded checksums: {counts}", *named]


def verify_results(results: Path) -> Verified:
    """Compare every file of a results folder with its checksum.

    Logs and benchmarks, the diary of a run, have no checksum.
    """
    found, wanted = Verified(), set()
    for place, names, files in os.walk(results):
        folder = Path(place)
        inside = folder.relative_to(results)
        # folders checked as a whole are not entered
        names[:] = sorted(n for n in names if n not in _DIARY and not _compared(folder / n, results, found))
        for path in (folder / name for name in sorted(files)):
            if path.name.endswith(".sha256"):
                wanted.add(path.with_name(path.name[1:].removesuffix(".sha256")))
            elif path.name.endswith(STATUS) and not is_damaged(path):
                found.files += 1
                wanted |= {folder / name for name in read_sealed(path).get("sha256", ())}
            elif not path.name.startswith(".") and not _compared(path, results, found):
                found.unknown.append((inside / path.name).as_posix())
    found.missing = sorted(p.relative_to(results).as_posix() for p in wanted if not p.exists())
    return found


def _compared(path: Path, results: Path, found: Verified) -> bool:
    """Compare a file or folder and record the result; False if it has no checksum."""
    name = path.relative_to(results).as_posix()
    if path.is_dir() and is_release(path):
        try:
            found.files += len(verify(path)["files"])
        except InputError as error:
            found.damaged += map(str, error.problems)
        return True
    sealed = path.name.endswith((STATUS, "features.json", "source.json")) or name.startswith("provenance/")
    try:
        if not recorded(path) and not (sealed and path.is_file()) and path.name != "refused.png":
            return False
        damaged = is_damaged(path)
    except CorruptArtifact:  # the status file that holds its checksum is reported itself
        damaged = False
    found.files += 1
    if damaged:
        found.damaged.append(f"{name}; {remedy(path)}")
    return True
