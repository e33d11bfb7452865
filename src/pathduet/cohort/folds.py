"""Read, check and write folds.tsv: the fold whose test part holds each internal patient."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pathduet.cohort.labels import known_labels
from pathduet.core.checksums import checked
from pathduet.core.errors import InputError, Problems
from pathduet.core.files import write_tsv
from pathduet.core.text_table import read_columns

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("patient_id", "cohort", "fold", "stratum")


def write_folds(path: str | PathLike[str], folds: pd.DataFrame) -> None:
    """Write folds.tsv atomically."""
    write_tsv(path, folds[list(COLUMNS)])


def read_folds(path: str | PathLike[str]) -> pd.DataFrame:
    """Read a folds.tsv that :func:`write_folds` wrote.

    Raises
    ------
    InputError
        If columns are missing, a patient appears twice, or the folds are not 0, 1, ... K - 1.
    """
    return read_fold_numbers(checked(path), COLUMNS)


def read_fold_numbers(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read and check some columns of a table, including patient_id and fold."""
    table = read_columns(path, columns, advice="give a TSV with patient_id and fold")
    problems = Problems()
    for row, patient, fold in zip(table.index, table["patient_id"], table["fold"]):
        if not patient:
            problems.add(f"{path.name} row {row}, patient_id", "empty", "give the patient's id")
        if not (fold.isascii() and fold.isdigit() and len(fold) < 5):
            problems.add(f"{path.name} row {row}, fold", repr(fold), "use a whole number from 0")
    for patient in sorted(set(table.loc[table["patient_id"].duplicated(), "patient_id"])):
        problems.add(f"{path.name}, patient {patient}", "more than one row", "keep one")
    if not problems:
        table["fold"] = table["fold"].astype(np.int64)
        numbers = sorted(set(table["fold"]))
        if len(numbers) < 2 or numbers != list(range(len(numbers))):
            shown = ", ".join(map(str, numbers)) or "none"
            problems.add(path.name, f"folds {shown}", "number them 0, 1, ... without gaps, at least two")
    problems.check()
    return table.reset_index(drop=True)


def fold_parts(folds: pd.DataFrame, fold: int) -> dict[str, str]:
    """Return ``train`` or ``test`` for each patient in the cross-validation; all others are ``external``."""
    numbers = folds["fold"].astype(int).tolist()
    if fold not in numbers:
        raise InputError.of("folds", f"no fold {fold}", f"the folds are {sorted(set(numbers))}")
    parts = ("test" if number == fold else "train" for number in numbers)
    return dict(zip(map(str, folds["patient_id"].tolist()), parts, strict=True))


def fitted_labels(labels: pd.DataFrame, folds: pd.DataFrame, fold: int, protocol: str) -> pd.DataFrame:
    """Return the known labels for a fold's survival intervals, means and SDs.

    ``strict``: labels of the training part; ``paper``: labels of all patients in the cross-validation.
    """
    parts, known = fold_parts(folds, fold), known_labels(labels)
    wanted = ("train", "test") if protocol == "paper" else ("train",)
    return known.loc[[parts.get(str(patient)) in wanted for patient in known.index]]
