"""What failed in a run: the job, its reason, its log, and the command to rerun it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathduet.core.errors import shown

#: Prefix in a job's log of the message that ended the job.
ERROR = "ERROR: "
_LINES = 6


@dataclass(frozen=True)
class FailedJob:
    """A failed job, as Snakemake reports it."""

    rule: str
    outputs: tuple[str, ...]
    logs: tuple[str, ...]

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> FailedJob:
        """Return the job of an error record from Snakemake."""
        return cls(record["rule_name"], tuple(record["output"]), tuple(record["log"]))

    def reason(self) -> list[str]:
        """Return the message that ended the job, from its log."""
        if not self.logs:
            return []
        try:
            text = Path(self.logs[0]).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ["it wrote no log: it was killed before it started"]
        lines = shown(text).splitlines()
        began = [number for number, line in enumerate(lines) if line.startswith(ERROR)]
        if began:
            lines[began[-1]] = lines[began[-1]].removeprefix(ERROR)
            return lines[began[-1] :][:_LINES]
        last = next((line for line in reversed(lines) if line.strip()), "")
        return [f"killed; its log ends with: {last}" if last else "killed; its log is empty"]

    def line(self) -> str:
        """Return one line: rule, output, reason, log."""
        parts = [f"failed: {self.rule} ({', '.join(self.outputs[:1])})", *self.reason()[:1]]
        return "; ".join([*parts, *([f"log: {', '.join(self.logs)}"] if self.logs else [])])


def failed_jobs(*snakemake_logs: str | os.PathLike[str]) -> list[FailedJob]:
    """Read the failed jobs from a run's own logs, each once, in the order they failed."""
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
    """Return the arguments that a command needs besides its target to belong to the same run.

    Parameters
    ----------
    folder : Path
        Where the run works. If the Snakefile is elsewhere, all paths are absolute and the command works anywhere.
    snakefile : Path
    configfiles : sequence of Path
        As given to the run, absolute paths.
    settings : sequence of str
        Values of ``--config``.
    deployment : sequence of str
        Values of ``--sdm``.
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


def failure_lines(jobs: Iterable[FailedJob], options: Sequence[str] = (), most: int = 5) -> list[str]:
    """Return for each failed job its reason, its log and the command to rerun it.

    Parameters
    ----------
    jobs : iterable of FailedJob
    options : sequence of str
        Arguments that this run needs besides the target, e.g. ``["--configfile", "mine.yaml"]``.
    most : int
        Largest number of jobs shown.
    """
    jobs = list(jobs)
    lines: list[str] = []
    for job in jobs[:most]:
        lines.append(f"FAILED: {job.rule} ({', '.join(job.outputs[:1])})")
        lines += [f"  {line}" for line in job.reason()]
        lines += [f"  log: {log}" for log in job.logs]  # also a cluster's own log
        if job.outputs:
            # the target comes first: --configfile takes every argument that follows
            words = ["snakemake", "--cores", "1", job.outputs[0], *options]
            lines.append(f"  run it alone again: {shlex.join(words)}")
    if len(jobs) > most:
        lines.append(f"and {len(jobs) - most} more")
    return lines
