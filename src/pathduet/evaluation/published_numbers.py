"""A publication's own numbers, on its own cohort, from a preset.

They have their own columns beside ours and enter no mean, interval or test: patients, slides and folds differ. They are shown
only if the run's patients are the publication's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.core.errors import InputError
from pathduet.core.shipped import WORKFLOW

_COLUMNS = ["table", "task", "model", "metric", "mean", "sd", "cohort"]


@dataclass(frozen=True)
class PublishedNumbers:
    """The numbers of a publication.

    Attributes
    ----------
    cohort : str
        Its description of its cohort.
    table : DataFrame
        table (of the publication), task, model, metric, mean and sd (as ours, not in per cent), cohort. `task` is a task's name
        or, on external cohorts, ``external_<task>``; `model` is the name of the model or variation here; `sd` is empty if the
        publication gives none.
    """

    cohort: str
    table: pd.DataFrame

    def columns(self, task: str, model: str, metric: str) -> dict[str, float | str | None]:
        """Return a row's published_mean, published_sd, published_source; empty if not published."""
        known = self.table
        rows = known[(known["task"] == task) & (known["model"] == model) & (known["metric"] == metric)]
        if rows.empty:
            return {"published_mean": None, "published_sd": None, "published_source": ""}
        row = rows.iloc[0]
        sd = None if pd.isna(row["sd"]) else float(row["sd"])
        source = f"Table {row['table']}; {row['cohort']}"
        return {"published_mean": float(row["mean"]), "published_sd": sd, "published_source": source}


NONE = PublishedNumbers("", pd.DataFrame(columns=_COLUMNS))


def published_numbers(published: Mapping[str, Any] | None) -> PublishedNumbers:
    """Return a publication's numbers, or :data:`NONE` if none are to be shown.

    Parameters
    ----------
    published : mapping or None
        The configuration's ``published`` with ``preset`` (the table is in the same folder) and ``shown``, whether the run's
        patients are the publication's.

    Raises
    ------
    InputError
        If the table cannot be read or lacks a column.
    """
    if not published or not published["shown"]:
        return NONE
    name, preset = published["numbers"], str(published["preset"])
    own = preset.endswith((".yaml", ".yml"))
    place = Path(preset).parent / name if own else WORKFLOW / "presets" / name
    try:
        with place.open(encoding="utf-8") as file:
            table = pd.read_csv(file, sep="\t", comment="#")
    except (OSError, ValueError) as error:
        raise InputError.of(
            f"published.numbers, {place}", f"cannot be read: {error}", "correct the preset"
        ) from None
    if missing := [column for column in _COLUMNS if column not in table]:
        found = f"no column {', '.join(missing)}"
        raise InputError.of(f"published.numbers, {place}", found, f"its columns are {', '.join(_COLUMNS)}")
    table[["mean", "sd"]] = table[["mean", "sd"]] / 100
    return PublishedNumbers(published.get("cohort", ""), table)
