"""Folds in the field's ``splits_k.csv`` format (MCAT, PORPOISE, CLAM), read and written."""

from __future__ import annotations

from collections import Counter
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from pathduet.core.errors import InputError, Problems
from pathduet.core.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd


def export_splits(folder: str | PathLike[str], folds: pd.DataFrame) -> list[Path]:
    """Write folds as ``splits_0.csv``, ``splits_1.csv`` ..., one a fold, as MCAT, PORPOISE and their heirs read them.

    Each file has an unnamed running number and the columns `train` and `val`, each a list of patient ids; `val`
    holds the patients of this fold's test part. There is no third part: what these projects call validation is what they
    report.
    """
    import pandas as pd

    written = []
    for fold in sorted(set(folds["fold"])):
        tested = folds["fold"] == fold
        parts = {
            "train": sorted(folds.loc[~tested, "patient_id"]),
            "val": sorted(folds.loc[tested, "patient_id"]),
        }
        table = pd.DataFrame({name: pd.Series(ids, dtype=object) for name, ids in parts.items()})
        path = Path(folder) / f"splits_{fold}.csv"
        with atomic_path(path) as temporary:
            table.to_csv(temporary, lineterminator="\n")
        written.append(path)
    return written


def import_splits(folder: str | PathLike[str]) -> pd.DataFrame:
    """Read ``splits_0.csv`` ... of a folder (see :func:`export_splits`).

    Where a file has a `test` column with patients in it (CLAM's layout), these are the tested ones, and `val` must be empty:
    patients who only choose a model have no place in folds that every patient is tested in once.

    Returns
    -------
    pandas.DataFrame
        patient_id, fold; sorted by patient_id.

    Raises
    ------
    InputError
        Listing everything wrong: files or columns missing, a patient in two parts of a fold, tested twice or never, or
        left out of a fold's training part.
    """
    import pandas as pd

    folder = Path(folder)
    paths = {int(p.stem.split("_")[1]): p for p in folder.glob("splits_*.csv") if p.stem[7:].isdigit()}
    if sorted(paths) != list(range(len(paths))) or len(paths) < 2:
        found = ", ".join(p.name for _, p in sorted(paths.items())) or "no splits_k.csv"
        raise InputError.of(folder.name, found, "needs splits_0.csv, splits_1.csv, ... without a gap")
    problems = Problems()
    train: dict[int, list[str]] = {}
    tested: dict[int, list[str]] = {}
    for fold, path in sorted(paths.items()):
        table = pd.read_csv(path, dtype=str)
        parts = {
            name: [str(patient).strip() for patient in table[name].dropna()] if name in table.columns else []
            for name in ("train", "val", "test")
        }
        name = "test" if parts["test"] else "val"
        if name == "test" and parts["val"]:
            problems.add(path.name, "both val and test hold patients", "join one of them to train")
        for part in ("train", name):
            if not parts[part]:
                problems.add(f"{path.name}, {part}", "no patient", "needs columns train and val")
        listed = parts["train"] + parts[name]
        for patient in sorted(p for p, count in Counter(listed).items() if count > 1):
            problems.add(f"{path.name}, patient {patient}", "stands twice", "keep one")
        train[fold], tested[fold] = parts["train"], parts[name]
    everyone = {patient for patients in [*train.values(), *tested.values()] for patient in patients}
    times = Counter(patient for patients in tested.values() for patient in set(patients))
    for patient in sorted(everyone):
        if times[patient] != 1:
            found = f"tested in {times[patient]} folds"
            problems.add(f"{folder.name}, patient {patient}", found, "test each exactly once")
    for fold, path in sorted(paths.items()):
        for patient in sorted(everyone - set(train[fold]) - set(tested[fold])):
            problems.add(f"{path.name}, patient {patient}", "in neither part", "add it to train")
    problems.check()
    rows = [(patient, fold) for fold, patients in tested.items() for patient in patients]
    return pd.DataFrame(rows, columns=["patient_id", "fold"]).sort_values("patient_id", ignore_index=True)
