"""Progress of a run, from its files alone: from any shell, while it runs or after it stopped."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pathduet.core.files import write_json
from pathduet.core.run_lock import run_owner
from pathduet.results import WEIGHTS, Results
from pathduet.slides.status import STAGES
from pathduet.workflow.earlier_results import plan_path

if TYPE_CHECKING:
    from pathduet.workflow.plan import Plan


#: Steps in the order of the work, and their units.
_UNITS = {
    "simulate": "slides", **dict.fromkeys(STAGES, "slides"), "genes": "folds", "train": "models", "tables": "tables",
    "explain": "tasks", "heatmaps": "slides", "report": "report",
}  # fmt: skip


@dataclass(frozen=True)
class StageProgress:
    """One step of the run.

    Attributes
    ----------
    name, unit : str
    done, total : int
    recent : int
        How many of `done` were finished since the run was last started.
    seconds : float
        Time they took, at the pace since the first; 0 until there are three.
    """

    name: str
    unit: str
    done: int
    total: int
    recent: int = 0
    seconds: float = 0.0

    def line(self) -> str:
        """Return one line: done/total, and rate and time left if they can be estimated."""
        text = f"{self.name:<10} {self.done:>6}/{self.total:<6} {self.unit}"
        if self.recent and self.seconds > 0 and self.done < self.total:
            rate = self.recent / self.seconds
            left = (self.total - self.done) / rate
            speed = f"{rate:.2f}/s" if rate >= 1 else f"{60 * rate:.2f}/min"
            text += f", {speed}, {_clock(left)} left"
        return text


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def write_plan(plan: Plan, results: Path) -> None:
    """Write the plan of the run that starts now; it removes the last run's failures."""
    failures_path(results).unlink(missing_ok=True)
    layout = plan.results
    chosen = [plan.genes_of(model, fold) for _, model in plan.trained for fold in plan.folds]
    matrices = {path for path in chosen if isinstance(path, Path)}
    paths = {
        "simulate": [slide.path for slide in plan.slides] if plan.drawn_from else [],
        "genes": sorted(matrices),
        "train": plan.of_folds(plan.trained, WEIGHTS),
        "tables": [layout.table(table) for table in plan.tables],
        "explain": [layout.explanations(task) / "summary.json" for task in plan.tasks],
        "heatmaps": [layout.heatmap(*target) / "viewer" / "index.html" for target in plan.heatmaps],
        "report": [layout.report],
    }
    files = {step: [os.path.relpath(path, layout.root) for path in paths[step]] for step in paths}
    write_json(plan_path(results), {"started": time.time(), "files": files, **plan.record})


def read_progress(results: Path, until: float | None = None) -> list[StageProgress]:
    """Return the progress of every step; empty if no run was started in `results`.

    Parameters
    ----------
    results : Path
    until : float, optional
        Seconds since the epoch: for a run at work, now. Otherwise a step's pace ends with its last file.
    """
    try:
        plan = json.loads(plan_path(results).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    steps = []
    for name, unit in _UNITS.items():
        paths = [results / file for file in plan["files"].get(name, [])]
        if name in STAGES:
            paths = [Results(results).slide_status(slide, name) for slide in plan["slides"]]
        if paths:
            steps.append(_progress(name, unit, paths, plan["started"], until))
    return steps


def _progress(name: str, unit: str, paths: list[Path], started: float, until: float | None) -> StageProgress:
    times = list(_times(paths))
    recent = [t for t in times if t >= started]
    seconds = 0.0
    if len(recent) > 2:
        # the pace counts from the step's own first file: it may have waited long for earlier steps
        seconds = (max(until or 0.0, *recent) - min(recent)) * len(recent) / (len(recent) - 1)
    return StageProgress(name, unit, len(times), len(paths), len(recent), seconds)


def _times(paths: Iterable[Path]) -> Iterator[float]:
    for path in paths:
        try:
            yield path.stat().st_mtime
        except OSError:
            continue


def failures_path(results: Path) -> Path:
    """Return the path where a failed run records its failures, until the next run starts."""
    return results / ".failures.txt"


def status_lines(results: Path) -> list[str]:
    """Return what `pathduet status` prints before the headline; empty if no run was started."""
    steps = read_progress(results)
    owner = run_owner(results)
    lines = [step.line() for step in steps]
    if owner:
        lines.append(f"A run is active: {owner}.")
    elif steps and any(step.done < step.total for step in steps):
        with contextlib.suppress(OSError):
            lines += failures_path(results).read_text(encoding="utf-8").splitlines()
        lines.append("No run is active; start it again to continue where it stopped.")
    return lines
