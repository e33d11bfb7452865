"""The largest resident set a process has had."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_memory_mib() -> float:
    """Return this process's peak resident memory in MiB, all libraries included.

    Notes
    -----
    Linux' ``VmHWM`` where there is one: ``getrusage`` carries the memory a parent had when it started this process
    through the ``exec``, so that a small job of a large workflow would be counted as large.
    """
    if STATUS.is_file():
        return int(STATUS.read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) / 2**10
    # kibibytes elsewhere, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
