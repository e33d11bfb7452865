"""A worker that crashes, hangs, hoards or dawdles on slides whose id says so; otherwise the real one."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from pathduet.slides import worker

really_run = worker.run_stage


def run_stage(slide: Any, stage: str, *args: Any) -> Any:
    """Crash like a native library on ``killer*``, on ``faint-killer`` only at its stain, once on ``flaky*``; wait on ``slow*``."""
    if slide.slide_id.startswith("killer") or (slide.slide_id, stage) == ("faint-killer", "stain"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if slide.slide_id.startswith("flaky"):
        mark = slide.path.with_suffix(".crashed")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if slide.slide_id.startswith("hang"):
        time.sleep(600)
    if slide.slide_id.startswith("greedy"):
        hoard = bytearray(2 * 2**30)
        hoard[::4096] = b"1" * len(hoard[::4096])
        time.sleep(600)
    if slide.slide_id.startswith("slow"):
        time.sleep(3)
    return really_run(slide, stage, *args)


if __name__ == "__main__":
    worker.run_stage = run_stage  # type: ignore[assignment]
    worker.main()
