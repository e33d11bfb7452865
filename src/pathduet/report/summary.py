"""The final message of a run: where the report is, the headline numbers, what was left out, how many slides were used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.catalogue import Model, catalogue_of, named
from pathduet.cohort.ledger import lost_slides, read_ledger, summarise
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core.checksums import checked
from pathduet.core.errors import InputError
from pathduet.core.plural import plural
from pathduet.core.provenance import read_run_record
from pathduet.evaluation.metrics import METRIC_NAMES, metric_names
from pathduet.evaluation.table_sections import with_interval, with_spread
from pathduet.result_tables import whole_run_tables
from pathduet.results import Results


def read_table(path: Path) -> pd.DataFrame | None:
    """Read one of ``results/tables/*.tsv``; None if it is missing or empty."""
    if not checked(path).is_file():
        return None
    text = {"variant": str, "protocol": str, "unit": str, "holes": str}
    table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype=text)
    return table.fillna(dict.fromkeys(text, "")) if len(table) else None


def read_left_out(results: Path) -> pd.DataFrame:
    """Return the models that a run could not train: model and reason; none if the file is missing."""
    path = Results(results).left_out
    if not checked(path).is_file():
        return pd.DataFrame(columns=["model", "reason"], dtype=str)
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def recorded_config(results: Path) -> dict[str, Any] | None:
    """Return the configuration of a finished run; None without ``provenance.json``, or of another version."""
    try:
        return dict(read_run_record(Results(results).provenance)["config"])
    except InputError:
        return None


def left_out_text(left_out: pd.DataFrame, catalogue: Mapping[str, Model]) -> str:
    """Return the models that are left out, with the reason: ``Teacher, Distilled student (no expression)``; empty for none."""
    return "; ".join(
        f"{', '.join(named(str(model), catalogue).title for model in rows['model'])} ({reason})"
        for reason, rows in left_out.groupby("reason", sort=False)
    )


def _task_lines(
    task: Task, folds: pd.DataFrame | None, external: pd.DataFrame | None, catalogue: Mapping[str, Model]
) -> list[str]:
    """Return one line per model: its value over the folds, and its ensemble's value on external cohorts."""
    metric = metric_names(task)[0]
    cells: dict[str, list[str]] = {}
    holes: dict[str, str] = {}
    heads: list[str] = []
    for head, table, cell in (
        ("cross-validation", folds, with_spread),
        ("external cohort, ensemble", external, with_interval),
    ):
        if table is None:
            continue
        for row in table[table["metric"] == metric].to_dict("records"):
            cells.setdefault(row["model"], [""] * len(heads)).append(cell(row))
            holes[row["model"]] = holes.get(row["model"]) or row["holes"]
        heads.append(head)
        for texts in cells.values():
            texts += [""] * (len(heads) - len(texts))
    lines = [[f"{task.title}, {METRIC_NAMES[metric]}", *heads]]
    lines += [[f"  {named(model, catalogue).full_title}", *texts] for model, texts in cells.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    notes = ["", *(f"  ({holes[model]})" if holes[model] else "" for model in cells)]
    return [
        "  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip() + note
        for line, note in zip(lines, notes, strict=True)
    ]


def headline(results: str | os.PathLike[str], config: Mapping[str, Any] | None) -> list[str]:
    """Return the last lines of a run: ledger counts, the first metric of each table, what was left out, where the report is.

    Missing pieces are named, never silently skipped.

    Parameters
    ----------
    results : path
        The results folder.
    config : mapping or None
        The run's complete configuration (:func:`recorded_config`); without it the tables are unknown.
    """
    folder = Path(results)
    lines = _slide_lines(folder) or ["Slides: no ledger was written"]
    left_out = ""
    if config is not None:
        catalogue = catalogue_of(config)
        left_out = left_out_text(read_left_out(folder), catalogue)
        kept = [one for one in whole_run_tables(config).values() if one.task]
        for name, task in tasks_of(config).items():
            read = {
                one.external: read_table(Results(folder).table(one.name)) for one in kept if one.task == name
            }
            if any(table is not None for table in read.values()):
                lines += _task_lines(task, read.get(False), read.get(True), catalogue)
    if len(lines) > 1:
        lines.append("(mean ± SD over folds; [95 % patient bootstrap interval])")
    else:
        lines.append("Tables: none was written")
    if left_out:
        lines.append(f"Left out: {left_out}")
    report = folder / "report" / "report.html"
    lines.append(f"Report: {report}" if report.is_file() else "Report: not written")
    return lines


def _ledger(folder: Path) -> pd.DataFrame | None:
    path = folder / "ledger.tsv"
    return read_ledger(path) if checked(path).is_file() else None


def _slide_lines(folder: Path) -> list[str]:
    """Return the number of used and lost slides in one line; none if no ledger was written."""
    ledger = _ledger(folder)
    if ledger is None:
        return []
    return [f"Slides: {summarise(ledger)}" if len(ledger) else "Slides: none in this run"]


def lost_in(results: str | os.PathLike[str]) -> int:
    """Return how many slides of a results folder's ledger failed; 0 without a ledger."""
    ledger = _ledger(Path(results))
    return 0 if ledger is None else len(lost_slides(ledger))


def closing_lines(
    results: str | os.PathLike[str], config: Mapping[str, Any], succeeded: bool
) -> tuple[list[str], int]:
    """Return the workflow's final lines, and how many slides failed.

    Parameters
    ----------
    results : path
        The results folder.
    config : mapping
        The run's complete configuration.
    succeeded : bool
        Whether the workflow finished; if not, only the slides and the advice to read the logs are included.
    """
    folder = Path(results)
    ledger = _ledger(folder)
    lost: Any = lost_slides(ledger) if ledger is not None else []
    if succeeded:
        lines = headline(folder, config)
        if len(lost):
            lines.append(f"{plural(len(lost), 'slide')} failed: reasons in {folder / 'ledger.tsv'}")
        return lines, len(lost)
    lines = _slide_lines(folder)
    lines.append(
        f"The run did not finish: see the error above and {folder / 'logs'}; start it again to continue."
    )
    return lines, len(lost)
