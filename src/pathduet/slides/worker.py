"""The process that runs slides for :mod:`pathduet.slides.batches`: one JSON request a line in, one JSON answer a line out.

A process of its own, so that a crash inside a native library costs one slide and not the batch.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from pathduet.cohort.sheets import SlideRow
from pathduet.core import parent_process
from pathduet.core.errors import PathDuetError
from pathduet.slides.batches import READY
from pathduet.slides.engine import run_slide
from pathduet.slides.settings import EncoderSettings, SlideSettings, StainSettings, TileSettings

# loaded before the first slide, whose time is limited
_LIBRARIES = {"tile": ("tile_stage",), "stain": ("stain_stage",), "features": ("features", "encoders")}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run one slide; ``{"status": ...}``, or ``{"error": ...}`` for what must end the whole batch."""
    slide = SlideRow.from_plain(request["slide"])
    parts = request["settings"]
    settings = SlideSettings(
        TileSettings(**parts["tile"]), StainSettings(**parts["stain"]), EncoderSettings(**parts["encoder"])
    )
    try:
        status = run_slide(slide, request["stage"], Path(request["results"]), settings, request["threads"])
    except PathDuetError as error:
        return {"error": str(error)}
    return {"status": status.to_dict()}


def main() -> None:
    """Serve requests until standard input ends (also when the parent dies)."""
    # A slide in work when the batch is killed would be written after the batch's next start.
    parent_process.end_with(os.getppid())
    # Libraries may print: what they send to standard output goes to the log, the answers to the pipe.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    for name in _LIBRARIES.get(sys.argv[1] if len(sys.argv) > 1 else "", ()):
        importlib.import_module(f"pathduet.slides.{name}")
    print(READY, file=answers)
    threads_set = False
    for line in sys.stdin:
        request = json.loads(line)
        if request["stage"] == "features" and not threads_set:
            from pathduet.core.hardware import limit_threads

            limit_threads(request["threads"])
            threads_set = True
        print(json.dumps(answer(request)), file=answers)


if __name__ == "__main__":
    main()
