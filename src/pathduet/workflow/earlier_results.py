"""Checks of a results folder before the next run: what earlier runs were started with, and whether changes can be detected."""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

from pathduet.core.errors import InputError
from pathduet.results import Results

#: Where Snakemake records what each file was made with, under the working directory.
RECORDS = Path(".snakemake/metadata")


def plan_path(results: Path) -> Path:
    """Return the path at which a run writes its plan."""
    return results / ".plan.json"


def started_with(results: Path, what: str) -> dict[str, Any]:
    """Return an entry of the last run's plan: ``batches`` (slide ids), ``limits``, ``checked`` (what was read) or ``inputs`` (hashes)."""
    try:
        return dict(json.loads(plan_path(results).read_text(encoding="utf-8"))[what])
    except (OSError, ValueError, KeyError):
        return {}


def refuse_unrecorded(results: Results) -> None:
    """Refuse results without Snakemake's records: changes of settings or inputs could not be detected.

    The records are in the folder that a run was started from, under the paths it used; they do not move with the results.

    Raises
    ------
    InputError
        Listing the possible remedies.
    """
    # after a killed run, one of them may have no record
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
    """Set results dated ahead of the disk's clock to the current time: Snakemake fails every job that reads them.

    Readers compare their content with its checksum. Slides' own artifacts are not inputs of jobs.
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
