"""Hashes of the user's files: content decides what reruns, never a date or a path."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from pathduet.core.checksums import CorruptArtifact, read_sealed, write_sealed
from pathduet.core.files import sha256_file, stamp

#: Smaller files are read whenever a run is planned, larger files only when their size or date changes.
ALWAYS_READ = 8 * 2**20
#: File of the hashes in a results folder.
CONTENTS = ".contents.json"


class FileContents:
    """Hashes of the user's files, each read once.

    Parameters
    ----------
    memory : Path
        File that keeps hashes of large files with size and date between runs: :data:`CONTENTS`.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._found: dict[str, str] = {}

    def of(self, path: str | os.PathLike[str]) -> str:
        """Return the SHA-256 of a file, or of a folder's names and files; ``absent`` if there is none."""
        path = Path(path)
        if str(path) not in self._found:
            self._found[str(path)] = self._hash(path)
        return self._found[str(path)]

    def _hash(self, path: Path) -> str:
        if path.is_dir():
            parts = [
                f"{file.relative_to(path).as_posix()} {self.of(file)}\n"
                for file in sorted(path.rglob("*"))
                if file.is_file()
            ]
            return hashlib.sha256("".join(parts).encode()).hexdigest()
        if not path.is_file():
            return "absent"
        if path.stat().st_size <= ALWAYS_READ:
            return sha256_file(path)
        kept, name, now = self._kept(), str(path.absolute()), stamp(path)
        if kept.get(name, ["", ""])[0] != now:
            kept[name] = [now, sha256_file(path)]
            if self._memory.parent.is_dir():
                with contextlib.suppress(OSError):  # a read-only results folder
                    write_sealed(self._memory, kept)
        return kept[name][1]

    def _kept(self) -> dict[str, list[str]]:
        try:
            return read_sealed(self._memory)
        except (OSError, CorruptArtifact):
            return {}
