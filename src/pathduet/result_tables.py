"""The tables of a run's results: one per task, one per task on the external cohorts, and tables of variations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pathduet.cohort.tasks import tasks_of
from pathduet.variations import VARIATION_TABLES

_VARIATION_TITLES = {
    "ablation": "Ablation",
    "hvg": "Gene selection",
    "findings": "Findings: modality, gene input, attention and magnification",
}


@dataclass(frozen=True)
class ResultTable:
    """One table.

    Attributes
    ----------
    name : str
        Name in files: a task's name, ``external_<task>``, or one of the tables of variations.
    title : str
        Title for readers.
    task : str
        The task of its rows; empty for all tasks (variations).
    external : bool
        Whether its numbers are for the external cohorts.
    """

    name: str
    title: str
    task: str = ""
    external: bool = False


def external_table(task: str) -> str:
    """Return the name of a task's table on the external cohorts."""
    return f"external_{task}"


def result_tables(config: Mapping[str, Any]) -> dict[str, ResultTable]:
    """Return every table that can be requested by name; for a whole run, see :func:`whole_run_tables`."""
    tables = []
    for task in tasks_of(config).values():
        tables.append(ResultTable(task.name, f"{task.title}, cross-validated", task.name))
        if config["cohorts"]["external"] and task.external:
            title = (
                f"{task.title} on the external cohort{'s' if len(config['cohorts']['external']) > 1 else ''}"
            )
            tables.append(ResultTable(external_table(task.name), title, task.name, external=True))
    tables += [ResultTable(name, _VARIATION_TITLES[name]) for name in VARIATION_TABLES]
    return {table.name: table for table in tables}


def whole_run_tables(config: Mapping[str, Any]) -> dict[str, ResultTable]:
    """Return the tables of a whole run: the tasks', then those on the external cohorts, then the configured variations."""
    every = result_tables(config)
    wanted = sorted((table for table in every.values() if table.task), key=lambda table: table.external)
    return {
        table.name: table for table in [*wanted, *(every[name] for name in config["comparison"]["tables"])]
    }
