"""Read and write folds in the field's ``splits_k.csv`` format: by patient (MCAT, SurvPath) or by slide (CLAM)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from pathduet.core.errors import InputError, Problems
from pathduet.core.files import atomic_path
from pathduet.core.plural import plural

if TYPE_CHECKING:
    import pandas as pd

#: If more patients than this share a fault, they are one problem that names some of them.
_NAMED = 5
#: CLAM selects models on separate slides: one in this many patients of the training part.
_CHOOSING = 10


def export_splits(
    folder: str | PathLike[str], folds: pd.DataFrame, patient_of: Mapping[str, str] | None = None
) -> list[Path]:
    """Write folds as ``splits_0.csv``, ``splits_1.csv`` ..., one per fold.

    Each file has an unnamed index column and columns that list ids. By patient, for MCAT, SurvPath and their successors:
    `train` and `val`; `val` holds the patients of this fold's test part, since these projects report their validation
    results. By slide, for CLAM: `train`, `val` and `test`; `val` is every tenth patient of the training part,
    since CLAM does not train without it.

    Parameters
    ----------
    folder : path
    folds : DataFrame
        patient_id, fold.
    patient_of : mapping, optional
        Patient of each slide; if given, the files list slides.
    """
    import pandas as pd

    written = []
    for fold in sorted(set(folds["fold"])):
        tested = folds["fold"] == fold
        train, test = sorted(folds.loc[~tested, "patient_id"]), sorted(folds.loc[tested, "patient_id"])
        parts = {"train": train, "val": test}
        if patient_of is not None:
            chosen = set(train[::_CHOOSING])
            by_patient = {"train": set(train) - chosen, "val": chosen, "test": set(test)}
            parts = {name: [s for s, p in patient_of.items() if p in ids] for name, ids in by_patient.items()}
        table = pd.DataFrame({name: pd.Series(ids, dtype=object) for name, ids in parts.items()})
        path = Path(folder) / f"splits_{fold}.csv"
        with atomic_path(path) as temporary:
            table.to_csv(temporary, lineterminator="\n")
        written.append(path)
    return written


def import_splits(folder: str | PathLike[str], patient_of: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read ``splits_0.csv`` ... of a folder (see :func:`export_splits`).

    If a file has a `test` column with ids (CLAM's layout), those patients are tested and `val` joins the training part:
    PathDuet selects nothing on it.

    Parameters
    ----------
    folder : path
    patient_of : mapping, optional
        Patient of each slide, if the files list slide ids. Slides without an entry are skipped.

    Returns
    -------
    pandas.DataFrame
        patient_id, fold; sorted by patient_id.

    Raises
    ------
    InputError
        Lists every problem: missing files or columns, a patient in two parts of a fold, tested twice or never, or
        missing from a fold's training part.
    """
    import pandas as pd

    folder = Path(folder)
    paths = {int(p.stem.split("_")[1]): p for p in folder.glob("splits_*.csv") if p.stem[7:].isdigit()}
    if sorted(paths) != list(range(len(paths))) or len(paths) < 2:
        found = ", ".join(p.name for _, p in sorted(paths.items())) or "no splits_k.csv"
        raise InputError.of(folder.name, found, "needs splits_0.csv, splits_1.csv, ... without gaps")
    problems = Problems()
    train: dict[int, list[str]] = {}
    tested: dict[int, list[str]] = {}
    for fold, path in sorted(paths.items()):
        table = pd.read_csv(path, dtype=str)
        parts = {name: _patients(table, name, patient_of) for name in ("train", "val", "test")}
        name = "test" if parts["test"] else "val"
        if name == "test":
            parts["train"] += parts["val"]
        for part in ("train", name):
            if not parts[part]:
                advice = "needs columns train and val, or train, val and test"
                advice += "; of slide ids, name their sheet (--slides)" if patient_of is None else ""
                problems.add(f"{path.name}, {part}", "no patient", advice)
        listed = parts["train"] + parts[name]
        twice = sorted(p for p, count in Counter(listed).items() if count > 1)
        _add(
            problems,
            path.name,
            twice,
            "appears twice",
            "keep one: each patient, with all slides, in one part only",
        )
        train[fold], tested[fold] = parts["train"], parts[name]
    everyone = {patient for patients in [*train.values(), *tested.values()] for patient in patients}
    times = Counter(patient for patients in tested.values() for patient in set(patients))
    for count in sorted({times[patient] for patient in everyone} - {1}):
        wrong = sorted(patient for patient in everyone if times[patient] == count)
        advice = "test each exactly once: splits drawn anew for each file are not a cross-validation"
        _add(problems, folder.name, wrong, f"tested in {plural(count, 'fold')}", advice)
    for fold, path in sorted(paths.items()):
        left_out = sorted(everyone - set(train[fold]) - set(tested[fold]))
        _add(problems, path.name, left_out, "in neither part", "add it to train")
    problems.check()
    rows = [(patient, fold) for fold, patients in tested.items() for patient in patients]
    return pd.DataFrame(rows, columns=["patient_id", "fold"]).sort_values("patient_id", ignore_index=True)


def _patients(table: pd.DataFrame, part: str, patient_of: Mapping[str, str] | None) -> list[str]:
    """Return the patients that a column lists, once for several slides."""
    if part not in table.columns:
        return []
    ids = [str(one).strip() for one in table[part].dropna()]
    if patient_of is None:
        return ids
    return list(dict.fromkeys(patient_of[one] for one in ids if one in patient_of))


def _add(problems: Problems, where: str, patients: Collection[str], found: str, advice: str) -> None:
    """Add a fault of some patients: one problem each, or one for all."""
    if len(patients) <= _NAMED:
        for patient in patients:
            problems.add(f"{where}, patient {patient}", found, advice)
        return
    some = ", ".join(list(patients)[:_NAMED])
    problems.add(f"{where}, {plural(len(patients), 'patient')} ({some}, ...)", found, advice)
