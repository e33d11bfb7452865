"""What a run says at its end: where the report is, the headline numbers, how many slides were used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.catalogue import named
from pathduet.cohort.ledger import lost_slides, read_ledger, summarise
from pathduet.evaluation.metrics import METRIC_NAMES, metric_names
from pathduet.evaluation.predictions import TASKS
from pathduet.evaluation.table_sections import with_spread


def read_table(path: Path) -> pd.DataFrame | None:
    """Read one of ``results/tables/*.tsv``; None if it is not there or empty."""
    if not path.is_file():
        return None
    text = {"variant": str, "protocol": str, "unit": str, "holes": str}
    table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype=text)
    return table.fillna(dict.fromkeys(text, "")) if len(table) else None


def _task_lines(name: str, title: str, table: pd.DataFrame) -> list[str]:
    metric = metric_names("survival" if name == "external" else name)[0]
    rows = table[table["metric"] == metric].to_dict("records")
    width = max(len(named(row["model"]).full_title) for row in rows)
    lines = [f"{title}, {METRIC_NAMES[metric]}"]
    for row in rows:
        text = with_spread(row)
        if row.get("ensemble") is not None and not pd.isna(row.get("ensemble")):
            text += f", ensemble {row['ensemble']:.3f}"
        if row["holes"]:
            text += f"  ({row['holes']})"
        lines.append(f"  {named(row['model']).full_title:<{width}}  {text}")
    return lines


def headline(results: str | os.PathLike[str]) -> list[str]:
    """Return the last lines of a run: ledger counts, the first metric of each table, where the report is.

    Missing pieces are named, never skipped silently.
    """
    folder = Path(results)
    lines = []
    ledger = _ledger(folder)
    lines.append(f"Slides: {summarise(ledger)}" if ledger is not None else "Slides: no ledger was written")
    spread = False
    for name in (*TASKS, "external"):
        table = read_table(folder / "tables" / f"{name}.tsv")
        if table is not None:
            title = "External cohort, survival" if name == "external" else name.capitalize()
            lines += _task_lines(name, title, table)
            spread = True
    if spread:
        lines.append("(mean ± SD over folds [95 % patient bootstrap interval])")
    else:
        lines.append("Tables: none was written")
    report = folder / "report" / "report.html"
    lines.append(f"Report: {report}" if report.is_file() else "Report: not written")
    return lines


def _ledger(folder: Path) -> pd.DataFrame | None:
    path = folder / "ledger.tsv"
    return read_ledger(path) if path.is_file() else None


def lost_in(results: str | os.PathLike[str]) -> int:
    """Return how many slides of a results folder's ledger failed; 0 without a ledger."""
    ledger = _ledger(Path(results))
    return 0 if ledger is None else len(lost_slides(ledger))


def closing_lines(results: str | os.PathLike[str], succeeded: bool) -> tuple[list[str], int]:
    """Return what the workflow prints when it ends, and how many slides failed.

    Parameters
    ----------
    results : path
        The results folder.
    succeeded : bool
        Whether the workflow finished; if not, only the slides and the advice to read the logs are given.
    """
    folder = Path(results)
    ledger = _ledger(folder)
    lost: Any = lost_slides(ledger) if ledger is not None else []
    if succeeded:
        lines = headline(folder)
        if len(lost):
            lines.append(f"{len(lost)} slides failed: reasons in {folder / 'ledger.tsv'}")
        return lines, len(lost)
    lines = [f"Slides: {summarise(ledger)}"] if ledger is not None else []
    lines.append(
        f"The run did not finish: see the error above and {folder / 'logs'}; start it again to go on."
    )
    return lines, len(lost)
