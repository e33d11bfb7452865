"""The process that runs slides for :mod:`pathduet.slides.batch`: one JSON line in per slide and stage, one out.

It is a separate process so that a crash inside a native library costs one slide and not the batch.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pathduet.cohort.sheets import SlideRow
from pathduet.core import parent_process
from pathduet.core.errors import PathDuetError
from pathduet.core.faults import MachineFault
from pathduet.core.hardware import keep_freed_memory, limit_threads
from pathduet.slides import opening
from pathduet.slides.settings import SlideSettings
from pathduet.slides.stages import run_stage

# loaded before the first slide, as a slide's time is limited
_LIBRARIES = {
    "check": ("readers.reader",),
    "tile": ("tile_stage",),
    "stain": ("stain_stage",),
    "features": ("features_stage", "encoders"),
}


def answer(request: dict[str, Any], results: Path, settings: SlideSettings, threads: int) -> Any:
    """Run a stage of one slide; return ``{"status": ...}``, ``{"fault": ...}`` of the machine, or ``{"error": ...}``, which ends the batch."""
    row, stage = request["slide"], request["stage"]
    try:
        slide = SlideRow.from_plain(row)
        if stage == opening.STAGE:
            status = opening.check_slide(slide, settings.tile.default_mpp)
        else:
            status = run_stage(slide, stage, results, settings, threads)
    except MachineFault as error:
        return {"error" if error.unwritable else "fault": str(error)}
    except PathDuetError as error:
        return {"error": str(error)}
    except Exception as error:  # outside a slide's own work, for example if its status cannot be written
        traceback.print_exc()
        return {"error": f"slide {row.get('slide_id')}, {stage}: {type(error).__name__}: {error}"}
    return {"status": asdict(status)}


def main() -> None:
    """Run slides until standard input ends (also when the parent dies); its first line names the stages."""
    # If the batch is killed, a slide in progress would otherwise be written after the batch has restarted.
    parent_process.end_with(os.getppid())
    # Libraries may print: their standard output goes to the log, the replies to the pipe.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    order = json.loads(sys.stdin.readline())
    stages, threads = order["stages"], order["threads"]
    results, settings = Path(order["results"]), SlideSettings.from_plain(order["settings"])
    for name in (name for stage in stages for name in _LIBRARIES[stage]):
        importlib.import_module(f"pathduet.slides.{name}")
    if "features" in stages:
        limit_threads(threads)
    else:
        keep_freed_memory()
    print("ready", file=answers)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), results, settings, threads)), file=answers)


if __name__ == "__main__":
    main()
