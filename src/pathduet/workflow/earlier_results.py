"""What earlier runs left in a results folder, looked at before the next one: what they were started with, and whether changes can be told."""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

from pathduet.core.errors import InputError
from pathduet.results import Results

#: Where Snakemake keeps what each file was made with, under the working directory.
RECORDS = Path(".snakemake/metadata")


def plan_path(results: Path) -> Path:
    """Return where a run writes what it is going to make."""
    return results / ".plan.json"


def started_with(results: Path, what: str) -> dict[str, Any]:
    """Return what the last run was started with: ``batches`` (ids of slides), ``limits``, ``checked`` (what was read), or ``inputs`` (the user's files, by hash)."""
    try:
        return dict(json.loads(plan_path(results).read_text(encoding="utf-8"))[what])
    except (OSError, ValueError, KeyError):
        return {}


def refuse_unrecorded(results: Results) -> None:
    """Refuse results of which Snakemake has no record here: no change of settings or inputs could be told.

    The records are in the folder that a run was started from, under the paths that it used; they do not move with the results.

    Raises
    ------
    InputError
        With the ways out.
    """
    # a killed run may lack the record of one of them
    made = [path for path in (results.folds, results.ledger, results.provenance) if path.is_file()]
    if len(made) < 2 or not plan_path(results.root).is_file() or RECORDS.with_suffix(".db").exists():
        return
    names = [urlsafe_b64encode(str(path).encode()).decode() for path in made]
    if any(len(name) > 250 or (RECORDS / name).is_file() for name in names):
        return
    found = f"Snakemake has no record of how they were made in {Path.cwd() / RECORDS}, so no change could be noticed"
    advice = (
        "start in the same folder as before, with `results` spelled the same; or set another results folder; or add "
        "--forceall to make everything again, or --forceall --touch to accept the results"
    )
    raise InputError.of(f"results in {results.root}", found, advice)


def set_back_dates(results: Results) -> None:
    """Give results that are dated ahead of the disk's own clock today's date: Snakemake fails every job that reads them.

    Their content is compared with its checksum by whoever reads it. Slides' own artifacts are no job's input.
    """
    now = plan_path(results.root).stat().st_mtime_ns  # written when this run was started
    for folder, folders, files in os.walk(results.root):
        if Path(folder) == results.root:
            folders[:] = [
                name for name in folders if name not in ("slides", "logs", "benchmarks", "provenance")
            ]
        for name in files:
            path = Path(folder, name)
            if path.lstat().st_mtime_ns > now:
                os.utime(path, ns=(now, now), follow_symlinks=False)
