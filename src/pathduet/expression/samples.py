"""Which samples of the tables take part in a fold, and in which of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pathduet.core.errors import InputError, Problem, Problems
from pathduet.expression.tables import ExpressionTable

if TYPE_CHECKING:
    import pandas as pd


def check_tables(tables: Sequence[ExpressionTable], patients: pd.DataFrame) -> None:
    """Raise InputError unless the tables can be combined: one per cohort, on one scale, with its patients."""
    problems = Problems()
    cohorts = [table.cohort for table in tables]
    if not tables:
        problems.add("expression.tables", "none", "give one table per cohort")
    for cohort in sorted({cohort for cohort in cohorts if cohorts.count(cohort) > 1}):
        problems.add("expression.tables", f"cohort {cohort} twice", "give one table per cohort")
    scored = sorted({table.cohort for table in tables if table.unit == "zscore"})
    if scored and len(scored) < len(set(cohorts)):
        others = ", ".join(sorted(set(cohorts) - set(scored)))
        problems.add(
            "expression.tables",
            f"{', '.join(scored)} z-scored, {others} not",
            "z-scores share no scale with the others: give all z-scored, or none",
        )
    cohort_of = patients["cohort"].to_dict()
    for table in tables:
        for sample, patient in table.samples["patient_id"].items():
            if cohort_of.get(patient, table.cohort) != table.cohort:
                where = f"expression of {table.cohort}, sample {sample}"
                found = f"patient {patient} belongs to cohort {cohort_of[patient]}"
                problems.add(where, found, "correct the sample sheet or patients.tsv")
    problems.check()


def samples_of_fold(
    tables: Sequence[ExpressionTable], patients: pd.DataFrame, folds: pd.DataFrame, fold: int
) -> tuple[pd.DataFrame, int]:
    """Return one row per usable sample, ordered by table and sample id, and the number of unusable samples.

    Index sample_id; columns patient_id, slide_id, cohort, part (``train`` | ``test`` | ``external``).
    """
    import pandas as pd

    if not (folds["fold"] == fold).any():
        found = f"{fold}; there are {sorted(set(folds['fold']))}"
        raise InputError.of("fold", found, "give a fold of folds.tsv")
    tested = dict(zip(folds["patient_id"].tolist(), folds["fold"].tolist()))
    internal = set(folds["cohort"].unique())
    rows, unknown = [], 0
    for table in tables:
        for sample, patient, slide in table.samples.sort_index().itertuples():
            part = "external" if table.cohort not in internal else "train"
            if part == "train" and tested.get(patient) == fold:
                part = "test"
            if patient not in patients.index or (part == "train" and patient not in tested):
                unknown += 1
                continue
            rows.append((sample, patient, slide, table.cohort, part))
    names = ["sample_id", "patient_id", "slide_id", "cohort", "part"]
    obs = pd.DataFrame(rows, columns=names).set_index("sample_id")
    twice = obs.index[obs.index.duplicated()].unique()
    if len(twice):
        raise InputError(
            [Problem(f"sample {sample}", "is in the tables of two cohorts", "rename one") for sample in twice]
        )
    return obs, unknown
