"""Why a job runs again: only for what can change its results, in one form however it is written down."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """What a rule's job is given.

    Attributes
    ----------
    settings : Any
        What its script reads. Nothing of it is a reason to run again.
    files : dict
        The user's files that it reads, by what they are: each a path or a list of paths. The job refuses to start on one that
        has changed since the run was planned.
    decided_by : Any
        What decides its results, from :func:`decisive`: another value makes it run again.
    """

    settings: Any = None
    files: Mapping[str, Any] = field(default_factory=dict)
    decided_by: Any = None


def decisive(value: Any, content: Callable[[str | Path], str], own: Collection[str]) -> Any:
    """Return plain values in one form: keys sorted, whole numbers alike (1, 1.0), a path, or the name of one of the user's own files, by content."""
    if isinstance(value, Path) or (isinstance(value, str) and value in own):
        return content(value)
    if isinstance(value, Mapping):
        return {str(key): decisive(value[key], content, own) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [decisive(part, content, own) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
