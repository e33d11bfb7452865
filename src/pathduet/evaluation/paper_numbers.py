"""The publication's own numbers: of its own cohort (TCGA GBM-LGG with IvyGAP, 668 cases; external: CPTAC).

They stand beside ours in columns of their own and enter no mean, interval or test: other patients, slides and folds.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import pandas as pd

COHORT = "TCGA GBM-LGG + IvyGAP, 668 cases, 3 folds; external: CPTAC"


@cache
def paper_numbers() -> pd.DataFrame:
    """Return table (of the publication), task, model, metric, mean and sd (in [0, 1]), and cohort.

    `task` is ``diagnosis``, ``grading``, ``survival`` or ``external``; `model` is the name that the model has here, or the
    variation's in Tables III and IV; `sd` is empty where the publication gives none.
    """
    source = resources.files("pathduet.evaluation").joinpath("paper_numbers.tsv")
    with resources.as_file(source) as path:
        table = pd.read_csv(path, sep="\t", comment="#")
    table[["mean", "sd"]] = table[["mean", "sd"]] / 100
    return table


def paper_number(task: str, model: str, metric: str) -> dict[str, float | str | None]:
    """Return the columns that stand beside a row: paper_mean, paper_sd, paper_source; empty where there is none."""
    table = paper_numbers()
    rows = table[(table["task"] == task) & (table["model"] == model) & (table["metric"] == metric)]
    if rows.empty:
        return {"paper_mean": None, "paper_sd": None, "paper_source": ""}
    row = rows.iloc[0]
    sd = None if pd.isna(row["sd"]) else float(row["sd"])
    source = f"Table {row['table']}; {row['cohort']}"
    return {"paper_mean": float(row["mean"]), "paper_sd": sd, "paper_source": source}
