"""How far a run is, told from its files alone: from any shell, while it runs or after it broke off."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


#: Steps after the slides, in the order of the work, and what each counts.
_UNITS = {
    "genes": "folds", "train": "models", "tables": "tables", "explain": "tasks", "heatmaps": "slides", "report": "report",
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
        What they took: from that start to the newest, or, once there are three, at the pace from the first to the newest.
    """

    name: str
    unit: str
    done: int
    total: int
    recent: int = 0
    seconds: float = 0.0

    def line(self) -> str:
        """Return one line: done/total, rate and time left where they can be told."""
        text = f"{self.name:<10} {self.done:>6}/{self.total:<6} {self.unit}"
        if self.recent and self.seconds > 0 and self.done < self.total:
            rate = self.recent / self.seconds
            left = (self.total - self.done) / rate
            speed = f"{rate:.2f}/s" if rate >= 1 else f"{60 * rate:.2f}/min"
            text += f", {speed}, {_clock(left)} left"
        return text


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def write_plan(plan: Plan, results: Path) -> None:
    """Write what the run that starts now is going to make; what failed in the last one is past."""
    failures_path(results).unlink(missing_ok=True)
    layout = plan.results
    chosen = [plan.genes_of(model, fold) for _, model in plan.trained for fold in plan.folds]
    matrices = {path for path in chosen if isinstance(path, Path)}
    paths = {
        "genes": sorted(matrices),
        "train": plan.of_folds(plan.trained, WEIGHTS),
        "tables": [layout.table(table) for table in plan.tables],
        "explain": [layout.explanations(task) / "summary.json" for task in plan.tasks],
        "heatmaps": [layout.heatmap(*target) / "viewer" / "index.html" for target in plan.heatmaps],
        "report": [layout.report],
    }
    files = {step: [path.relative_to(layout.root).as_posix() for path in paths[step]] for step in paths}
    write_json(plan_path(results), {"started": time.time(), "files": files, **plan.record})


def read_progress(results: Path) -> list[StageProgress]:
    """Return the progress of every step; empty if no run was ever started in `results`."""
    try:
        plan = json.loads(plan_path(results).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    steps: list[tuple[str, str, Iterable[Path], int]] = []
    for stage in STAGES:
        paths = [Results(results).slide_status(slide, stage) for slide in plan["slides"]]
        steps.append((stage, "slides", paths, len(paths)))
    for name, unit in _UNITS.items():
        if files := plan["files"].get(name):
            steps.append((name, unit, [results / file for file in files], len(files)))
    return [_progress(*step, plan["started"]) for step in steps]


def _progress(name: str, unit: str, paths: Iterable[Path], total: int, started: float) -> StageProgress:
    times = list(_times(paths))
    recent = [t for t in times if t >= started]
    seconds = max(recent, default=started) - started
    if len(recent) > 2 and max(recent) > min(recent):
        # a stage's pace counts from its own first file: it may have waited long for the stages before
        seconds = (max(recent) - min(recent)) * len(recent) / (len(recent) - 1)
    return StageProgress(name, unit, len(times), total, len(recent), seconds)


def _times(paths: Iterable[Path]) -> Iterator[float]:
    for path in paths:
        try:
            yield path.stat().st_mtime
        except OSError:
            continue


def failures_path(results: Path) -> Path:
    """Return where a run that failed leaves what failed, until the next one starts."""
    return results / ".failures.txt"


def status_lines(results: Path) -> list[str]:
    """Return what `pathduet status` prints before the headline; empty where no run was ever started."""
    steps = read_progress(results)
    owner = run_owner(results)
    lines = [step.line() for step in steps]
    if owner:
        lines.append(f"A run is at work: {owner}.")
    elif steps and any(step.done < step.total for step in steps):
        with contextlib.suppress(OSError):
            lines += failures_path(results).read_text(encoding="utf-8").splitlines()
        lines.append("No run is at work; start it again and it goes on where it stopped.")
    return lines


@dataclass(frozen=True)
class FailedJob:
    """A job that failed, as Snakemake's log tells it."""

    rule: str
    outputs: tuple[str, ...]
    logs: tuple[str, ...]


def failed_jobs(*snakemake_logs: str | os.PathLike[str]) -> list[FailedJob]:
    """Read the jobs that failed from a run's own logs; each once, in the order they failed."""
    text = ""
    for log in snakemake_logs:
        try:
            text += Path(log).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
    found: dict[tuple[str, ...], FailedJob] = {}
    for block in re.finditer(r"^Error in rule (\w+).*:\n((?:[ \t]+.*\n)+)", text, re.M):
        named: Mapping[str, str] = dict(re.findall(r"^\s+(output|log): (.*)$", block[2], re.M))
        outputs = tuple(filter(None, named.get("output", "").split(", ")))
        logs = tuple(filter(None, re.sub(r"\(check.*", "", named.get("log", "")).strip().split(", ")))
        found[(block[1], *outputs)] = FailedJob(block[1], outputs, logs)
    return list(found.values())


def same_run_words(
    folder: Path,
    snakefile: Path,
    configfiles: Sequence[Path] = (),
    settings: Sequence[str] = (),
    deployment: Sequence[str] = (),
) -> list[str]:
    """Return the words that a command needs beside its target to be one of the same run.

    Parameters
    ----------
    folder : Path
        Where the run works. If the Snakefile is not its own, the words name all by whole paths and hold from anywhere.
    snakefile : Path
    configfiles : sequence of Path
        As given to the run, whole paths.
    settings : sequence of str
        Of ``--config``.
    deployment : sequence of str
        Of ``--sdm``.
    """
    words = []
    elsewhere = snakefile != folder / "Snakefile"
    if elsewhere:
        words += ["--snakefile", str(snakefile), "--directory", str(folder)]
    if configfiles:
        short = [
            file.relative_to(folder) if not elsewhere and file.is_relative_to(folder) else file
            for file in configfiles
        ]
        words += ["--configfile", *map(str, short)]
    if deployment:
        words += ["--sdm", *sorted(deployment)]
    if settings:
        words += ["--config", *settings]
    return words


def failure_lines(
    jobs: Iterable[FailedJob], options: Sequence[str] = (), last: int = 12, most: int = 5
) -> list[str]:
    """Return for each failed job the end of its log and the command that runs it again.

    Parameters
    ----------
    jobs : iterable of FailedJob
    options : sequence of str
        Words of the command line that this run needs beside the target, e.g. ``["--configfile", "mine.yaml"]``.
    last, most : int
        Lines of a log, and jobs, that are shown.
    """
    jobs = list(jobs)
    lines: list[str] = []
    for job in jobs[:most]:
        lines.append(f"FAILED: {job.rule} ({', '.join(job.outputs[:1])})")
        for log in job.logs[:1]:
            lines.append(f"  the end of {log}:")
            lines += [f"    {line}" for line in _end(log, last)]
        if job.outputs:
            # the target first: --configfile takes every word that follows
            words = ["snakemake", "--cores", "1", job.outputs[0], *options]
            lines.append(f"  run it alone again: {shlex.join(words)}")
    if len(jobs) > most:
        lines.append(f"and {len(jobs) - most} more")
    return lines


def _end(log: str, last: int) -> list[str]:
    try:
        text = Path(log).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ["(there is none: it was killed before it began)"]
    return text.splitlines()[-last:] or ["(it is empty: it was killed before it said anything)"]
