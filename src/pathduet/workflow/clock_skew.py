"""Sheets and tables that are dated in the future: Snakemake fails every job whose output is older than its input."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from pathduet.core.errors import InputError, Problem


def refuse_future_inputs(paths: Iterable[str | os.PathLike[str]], now: float) -> None:
    """Say before the first job which inputs are dated later than what a run would write now.

    Parameters
    ----------
    paths : iterable of path
        Files; those that are not there are passed over.
    now : float
        Seconds since 1970, by the clock of the disk that the results are on: a file server's own, which may be
        ahead of this machine's without harm as long as it dates inputs and results alike.

    Raises
    ------
    InputError
        Naming every such file, how far ahead it is, and what to do.
    """
    problems = []
    for path in dict.fromkeys(map(Path, paths)):
        try:
            date = path.stat().st_mtime
        except OSError:
            continue
        if date > now:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(date))
            found = (
                f"is dated {when}, {date - now:.0f} s later than what is written to the results folder now"
            )
            problems.append(
                Problem(str(path), found, "set its date (`touch`), or work on a copy; or wait that long")
            )
    if problems:
        raise InputError(problems)
