"""Why a job runs again: only changes that can alter its results, however values are written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """What a rule's job receives.

    Attributes
    ----------
    settings : Any
        What its script reads. Changes here do not rerun the job.
    files : dict
        The user's files that it reads, by purpose: each a path or a list of paths. The job refuses to start if one
        has changed since the run was planned.
    decided_by : Any
        What decides its results, from :func:`decisive`: a different value reruns it.
    """

    settings: Any = None
    files: Mapping[str, Any] = field(default_factory=dict)
    decided_by: Any = None


def decisive(value: Any, content: Callable[[str | Path], str], own: Collection[str]) -> Any:
    """Return plain values in one form: sorted keys, whole numbers as int (1.0 as 1), paths and names of the user's files by content."""
    if isinstance(value, str):
        return content(value) if value in own else value
    if value is None or isinstance(value, int):  # asking for a mapping takes ten times as long
        return value
    if isinstance(value, Path):
        return content(value)
    if isinstance(value, Mapping):
        return {str(key): decisive(value[key], content, own) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [decisive(part, content, own) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
