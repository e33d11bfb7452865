"""What a run says at its end: where the report is, the headline numbers, what was left out, how many slides were used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.catalogue import Model, catalogue_of, named
from pathduet.cohort.ledger import lost_slides, read_ledger, summarise
from pathduet.cohort.tasks import tasks_of
from pathduet.core.checksums import checked
from pathduet.core.errors import InputError
from pathduet.core.provenance import read_run_record
from pathduet.evaluation.metrics import METRIC_NAMES, metric_names
from pathduet.evaluation.table_sections import with_spread
from pathduet.result_tables import whole_run_tables
from pathduet.results import Results


def read_table(path: Path) -> pd.DataFrame | None:
    """Read one of ``results/tables/*.tsv``; None if it is not there or empty."""
    if not checked(path).is_file():
        return None
    text = {"variant": str, "protocol": str, "unit": str, "holes": str}
    table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype=text)
    return table.fillna(dict.fromkeys(text, "")) if len(table) else None


def read_left_out(results: Path) -> pd.DataFrame:
    """Return the models that a run could not train: model and reason; none where no file says so."""
    path = Results(results).left_out
    if not checked(path).is_file():
        return pd.DataFrame(columns=["model", "reason"], dtype=str)
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def recorded_config(results: Path) -> dict[str, Any] | None:
    """Return the configuration that a finished run was made with; None without ``provenance.json``, or of another version."""
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


def _table_lines(title: str, metric: str, table: pd.DataFrame, catalogue: Mapping[str, Model]) -> list[str]:
    rows = table[table["metric"] == metric].to_dict("records")
    titles = [named(row["model"], catalogue).full_title for row in rows]
    lines = [f"{title}, {METRIC_NAMES[metric]}"]
    for name, row in zip(titles, rows, strict=True):
        text = with_spread(row)
        if row.get("ensemble") is not None and not pd.isna(row.get("ensemble")):
            text += f", ensemble {row['ensemble']:.3f}"
        if row["holes"]:
            text += f"  ({row['holes']})"
        lines.append(f"  {name:<{max(map(len, titles))}}  {text}")
    return lines


def headline(results: str | os.PathLike[str], config: Mapping[str, Any] | None) -> list[str]:
    """Return the last lines of a run: ledger counts, the first metric of each table, what was left out, where the report is.

    Missing pieces are named, never skipped silently.

    Parameters
    ----------
    results : path
        The results folder.
    config : mapping or None
        The run's complete configuration (:func:`recorded_config`); without it the tables cannot be told.
    """
    folder = Path(results)
    lines = _slide_lines(folder) or ["Slides: no ledger was written"]
    spread, left_out = False, ""
    if config is not None:
        tasks, catalogue = tasks_of(config), catalogue_of(config)
        left_out = left_out_text(read_left_out(folder), catalogue)
        for wanted in (one for one in whole_run_tables(config).values() if one.task):
            table, task = read_table(Results(folder).table(wanted.name)), tasks[wanted.task]
            if table is not None:
                title = wanted.title if wanted.external else task.title
                lines += _table_lines(title, metric_names(task)[0], table, catalogue)
                spread = True
    if spread:
        lines.append("(mean ± SD over folds [95 % patient bootstrap interval])")
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
    """Return what became of the slides, in a line; none where no ledger was written."""
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
    """Return what the workflow prints when it ends, and how many slides failed.

    Parameters
    ----------
    results : path
        The results folder.
    config : mapping
        The run's complete configuration.
    succeeded : bool
        Whether the workflow finished; if not, only the slides and the advice to read the logs are given.
    """
    folder = Path(results)
    ledger = _ledger(folder)
    lost: Any = lost_slides(ledger) if ledger is not None else []
    if succeeded:
        lines = headline(folder, config)
        if len(lost):
            lines.append(f"{len(lost)} slides failed: reasons in {folder / 'ledger.tsv'}")
        return lines, len(lost)
    lines = _slide_lines(folder)
    lines.append(
        f"The run did not finish: see the error above and {folder / 'logs'}; start it again to go on."
    )
    return lines, len(lost)
