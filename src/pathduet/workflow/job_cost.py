"""What a job took: time, CPU time and memory of its process and of those it started."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pathduet.core.files import write_text
from pathduet.core.hardware import peak_memory_mib, resident_bytes

_LOOK_EVERY_S = 1.0


@contextmanager
def measured(path: Path) -> Iterator[None]:
    """Write what the body took to a table of one row, unless it fails.

    Its columns are named as in Snakemake's benchmark files: s (seconds), max_rss (MiB; of all processes together, seen once a
    second, and this one's own peak) and cpu_time (CPU seconds since this process started). Snakemake's own samples cost
    more and miss a job's end.
    """
    started, peaks, ended = time.monotonic(), [0], threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_EVERY_S):
            peaks[0] = max(peaks[0], resident_bytes(os.getpid()))

    watching = threading.Thread(target=look, daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()
    seconds, cpu = time.monotonic() - started, sum(os.times()[:4])
    memory = max(peaks[0] / 2**20, peak_memory_mib())
    write_text(path, f"s\tmax_rss\tcpu_time\n{seconds:.2f}\t{memory:.1f}\t{cpu:.2f}\n")
