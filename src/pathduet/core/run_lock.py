"""Locks that the kernel releases when a process dies, so that no killed run leaves one behind.

Each results folder has one file, ``.lock``. The workflow locks its first byte: two runs in one folder would overwrite
each other's files. Each job locks another byte, derived from its log's name: if a killed cluster workflow is
restarted while its jobs still run elsewhere, the new job waits for the old one, then finds the work done.
Record locks (``fcntl``) also work between the machines of an NFS or Lustre disk.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import stat
import sys
from pathlib import Path

from pathduet.core.errors import PathDuetError
from pathduet.core.file_locks import file_locks

_BUSY = (errno.EACCES, errno.EAGAIN)
_RECORD_BYTES = 512
_held: dict[str, int] = {}


class FolderInUse(PathDuetError):
    """Another run writes to the same results folder."""


def _open(results: Path, flags: int = os.O_CREAT) -> int:
    """Open the lock file; refuse a link or any file that PathDuet did not write, since it is written to."""
    path = results / ".lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PathDuetError(f"{path} is a symbolic link, not a lock file: remove it") from None
        raise
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or (found.st_size and not _owner(handle)):
        os.close(handle)
        raise PathDuetError(
            f"{path} is not a lock file of PathDuet's: move it away, or choose other `results`"
        )
    return handle


def _open_or_make(results: Path) -> int:
    try:
        results.mkdir(parents=True, exist_ok=True)
        return _open(results)
    except OSError as error:
        raise PathDuetError(
            f"the results folder {results} cannot be written ({error.strerror}): choose another one (`results`)"
        ) from None


def _owner(handle: int) -> str:
    """Return the run that wrote the lock file, empty if none did."""
    try:
        owner = json.loads(os.pread(handle, _RECORD_BYTES + 1, 0))
        return f"process {int(owner['pid'])} on {owner['host']}" if set(owner) == {"pid", "host"} else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _without_locks(error: OSError) -> None:
    print(
        f"this disk does not support locks ({error.strerror}): start only one run at a time", file=sys.stderr
    )


def hold_run(results: str | os.PathLike[str]) -> None:
    """Lock a results folder until this process ends.

    Raises
    ------
    FolderInUse
        If another run holds it; names that run's process and machine.
    PathDuetError
        If the folder cannot be written, or on Windows, which has no record locks.
    """
    locks, folder = file_locks(), Path(results)
    handle = _open_or_make(folder)
    try:
        locks.lockf(handle, locks.LOCK_EX | locks.LOCK_NB, 1, 0)
    except OSError as error:
        if error.errno not in _BUSY:
            _without_locks(error)
            return
        who = _owner(handle) or "an unknown process"
        os.close(handle)
        raise FolderInUse(
            f"another run is active in {folder} ({who}): wait for it, stop it, or set another `results`"
        ) from None
    # fixed length: no reader sees a part of it, and no old text remains
    owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname()[:255]})
    os.pwrite(handle, owner.encode().ljust(_RECORD_BYTES), 0)
    _held[str(folder.resolve())] = handle


def hold_job(results: str | os.PathLike[str], name: str) -> None:
    """Lock one job's outputs until this process ends; wait for a job of the same name that is still running."""
    locks, handle = file_locks(), _handle(Path(results))
    try:
        try:
            locks.lockf(handle, locks.LOCK_EX | locks.LOCK_NB, 1, _place(name))
        except OSError as error:
            if error.errno not in _BUSY:
                raise
            print("a job of an earlier run still writes these outputs: waiting for it", file=sys.stderr)
            locks.lockf(handle, locks.LOCK_EX, 1, _place(name))
    except OSError as error:
        _without_locks(error)


def _place(name: str) -> int:
    return 1 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:5], "big")


def _handle(results: Path) -> int:
    # one handle per file and process: closing any of several would release all record locks of the file
    key = str(results.resolve())
    if key not in _held:
        _held[key] = _open_or_make(results)
    return _held[key]


def run_owner(results: str | os.PathLike[str]) -> str | None:
    """Return the run that is active in a results folder (``process 7 on node3``), None if none is."""
    try:
        locks, handle = file_locks(), _open(Path(results), 0)
    except (OSError, PathDuetError):
        return None
    try:
        locks.lockf(handle, locks.LOCK_EX | locks.LOCK_NB, 1, 0)
    except OSError as error:
        return (_owner(handle) or None) if error.errno in _BUSY else None
    finally:
        os.close(handle)
    return None
