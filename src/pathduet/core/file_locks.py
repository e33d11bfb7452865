"""The operating system's file locks, which the kernel releases when a process dies."""

from __future__ import annotations

from types import ModuleType

from pathduet.core.errors import PathDuetError


def file_locks() -> ModuleType:
    """Return :mod:`fcntl`.

    Raises
    ------
    PathDuetError
        On Windows, which has none.
    """
    try:
        import fcntl
    except ImportError:
        raise PathDuetError(
            "Windows has no POSIX file locks, which keep two runs or downloads from overwriting each other's files: "
            "use Linux, macOS or WSL 2 (Windows Subsystem for Linux)"
        ) from None
    return fcntl
