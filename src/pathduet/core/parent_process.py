"""End a process together with another one, so that no job of a killed run keeps writing."""

from __future__ import annotations

import os
import select
import signal
import threading
from pathlib import Path

#: The workflow's process sets this to its id; its jobs end when it ends.
VARIABLE = "PATHDUET_WORKFLOW_PID"


def ancestors() -> list[int]:
    """Return the ids of this process's parent, its parent's parent and so on."""
    found = []
    pid = os.getppid()
    while pid > 0:
        found.append(pid)
        try:
            # the name in parentheses may hold anything, so count from its end
            pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return found


def end_with(pid: int) -> bool:
    """Kill this process as soon as process `pid`, one of its ancestors, ends for any reason.

    Returns
    -------
    bool
        False if `pid` cannot be watched: not Linux, another process namespace, or not an ancestor.
    """
    if not hasattr(os, "pidfd_open") or pid not in ancestors():
        return False
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False

    def watch() -> None:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()
    return True


def end_with_workflow() -> bool:
    """End this job with the workflow that started it, if that runs on this machine."""
    pid = os.environ.get(VARIABLE, "")
    return pid.isdigit() and end_with(int(pid))
