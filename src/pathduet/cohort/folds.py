"""folds.tsv: in which fold's test part each internal patient is; read, checked and written."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pathduet.core.errors import Problems
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
    return read_fold_numbers(Path(path), COLUMNS)


def read_fold_numbers(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read and check some columns of a table, patient_id and fold among them."""
    table = read_columns(path, columns, advice="give a TSV with patient_id and fold")
    problems = Problems()
    for row, (patient, fold) in enumerate(zip(table["patient_id"], table["fold"]), 2):
        if not patient:
            problems.add(f"{path.name} row {row}, patient_id", "empty", "give the patient's id")
        if not (fold.isascii() and fold.isdigit()):
            problems.add(f"{path.name} row {row}, fold", repr(fold), "use a whole number from 0")
    for patient in sorted(set(table.loc[table["patient_id"].duplicated(), "patient_id"])):
        problems.add(f"{path.name}, patient {patient}", "more than one row", "keep one")
    if not problems:
        table["fold"] = table["fold"].astype(np.int64)
        numbers = sorted(set(table["fold"]))
        if len(numbers) < 2 or numbers != list(range(len(numbers))):
            shown = ", ".join(map(str, numbers)) or "none"
            problems.add(path.name, f"folds {shown}", "number them 0, 1, ... without a gap, at least two")
    problems.check()
    return table
