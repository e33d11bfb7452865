"""Progress of long loops: a bar with rate and time left in a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 10.0


def _clock(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"


def track(
    items: Iterable[T], total: int, label: str, unit: str = "it", stream: TextIO | None = None
) -> Iterator[T]:
    """Yield from `items` while showing ``done/total``, rate and time left on `stream` (stderr).

    In a terminal this is a rich bar; elsewhere a line at most every ten seconds, and one at the end.
    """
    stream = stream or sys.stderr
    if stream.isatty():
        yield from _bar(items, total, label, unit, stream)
        return
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES and done < total:
            rate = done / (now - start)
            left = _clock((total - done) / rate)
            print(
                f"{label}: {done}/{total} {unit}, {rate:.2f} {unit}/s, {left} left", file=stream, flush=True
            )
            last = now
    seconds = time.monotonic() - start
    speed = f", {done / seconds:.2f} {unit}/s" if done and seconds > 0.005 else ""
    print(f"{label}: {done}/{total} {unit} in {_clock(seconds)}{speed}", file=stream, flush=True)


def _bar(items: Iterable[T], total: int, label: str, unit: str, stream: TextIO) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=stream)) as progress:
        task = progress.add_task(label, total=total, rate="")
        start = time.monotonic()
        for done, item in enumerate(items, 1):
            yield item
            rate = f"{done / max(time.monotonic() - start, 1e-9):.2f} {unit}/s"
            progress.update(task, advance=1, rate=rate)
