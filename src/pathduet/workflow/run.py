"""``pathduet run``: the shipped Snakefile, run by Snakemake in the current folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from pathduet.core.errors import InputError
from pathduet.core.file_locks import file_locks
from pathduet.core.shipped import WORKFLOW


def run(
    arguments: Iterable[str],
    *,
    configfiles: Iterable[Path] = (),
    cores: int | None = None,
    profile: str | None = None,
    dry_run: bool = False,
) -> NoReturn:
    """Replace this process by Snakemake: same process id, signals and exit status.

    Parameters
    ----------
    arguments : iterable of str
        Snakemake targets and options.
    configfiles : iterable of Path
        Override the defaults, in this order.
    cores : int, optional
        Number of cores to use at most; default all.
    profile : str, optional
        Name of a shipped profile, or a folder.
    dry_run : bool
        Show what would run.

    Raises
    ------
    InputError
        If there is no such profile.
    PathDuetError
        On Windows.
    """
    file_locks()
    command = [sys.executable, "-m", "snakemake"]
    # not last: it would read the targets as more files
    if files := [str(file) for file in configfiles]:
        command += ["--configfile", *files]
    command += ["--snakefile", str(WORKFLOW / "Snakefile")]
    if profile is not None:
        command += ["--profile", str(_profile(profile))]
    if cores is not None or profile is None:
        command += ["--cores", str(cores or "all")]
    command += ["--dry-run"] if dry_run else []
    sys.stdout.flush()
    os.execv(sys.executable, [*command, *arguments])


def _profile(name: str) -> Path:
    folders = Path(name), WORKFLOW / "profiles" / name
    for folder in folders:
        if (folder / "config.yaml").is_file():
            return folder
    known = sorted(path.name for path in (WORKFLOW / "profiles").iterdir())
    raise InputError.of(
        "--profile", f"no profile {name}", f"give {' or '.join(known)}, or a folder with a config.yaml"
    )
