"""Cross-validation folds by patient: made, read, checked and written."""

from __future__ import annotations

from collections import Counter
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pathduet.cohort.tcga_barcode import parse_barcode
from pathduet.core.errors import InputError, Problem
from pathduet.core.files import atomic_path, write_tsv

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("patient_id", "cohort", "fold", "stratum")
#: Stratum of patients who have no diagnosis (they may have a grade or a survival time).
UNLABELLED = "unlabelled"


def make_folds(
    patients: pd.DataFrame,
    labels: pd.Series,
    *,
    folds: int = 3,
    seed: int = 42,
    protocol: Literal["strict", "paper"] = "strict",
    site_preserving: bool = False,
) -> pd.DataFrame:
    """Put each patient into the test part of one fold.

    ``strict``: the patients of each label and cohort are shuffled and dealt to the folds in turn, going on
    where the last group stopped, so that every cohort's share of a label, every label and the fold sizes
    are even to within one patient. ``paper``: scikit-learn's ``KFold(folds, shuffle=True,
    random_state=seed)`` over each cohort's sorted patient ids, not stratified. `site_preserving`: sites instead of
    patients are dealt, so that no site is on both sides of a fold (Howard et al., Nature Communications 2021);
    labels are then as even as whole sites allow.

    Parameters
    ----------
    patients : pandas.DataFrame
        The internal cohorts' patients: index patient_id, column `cohort`.
    labels : pandas.Series
        Diagnosis by patient_id; missing where unknown (such patients are dealt out as one more label).
    folds : int
        Number of folds, >= 2.
    seed : int
        The same patients, labels and seed give the same folds, whatever the order of the rows.
    protocol : {"strict", "paper"}
        See above.
    site_preserving : bool
        Keep the patients of a TCGA tissue source site (the barcode's second field) together; other patients count
        as a site each. Not with ``paper``.

    Returns
    -------
    pandas.DataFrame
        Columns patient_id, cohort, fold (0 ... folds - 1), stratum (``label|cohort``), sorted by patient_id.

    Raises
    ------
    InputError
        If there is no patient, an id appears twice, or a label has fewer patients (or sites) than folds.
    """
    import pandas as pd

    ids = [str(patient) for patient in patients.index]
    problems = []
    if folds < 2:
        problems.append(Problem("split.folds", str(folds), "use at least 2"))
    if site_preserving and protocol == "paper":
        problems.append(Problem("split.site_preserving", "with protocol paper", "use protocol strict"))
    if not ids:
        problems.append(Problem("split", "no patient in the internal cohorts", "check cohorts.internal"))
    for twice in sorted(patient for patient, count in Counter(ids).items() if count > 1):
        problems.append(Problem("split", f"patient {twice} twice", "patient ids are unique over all cohorts"))
    if problems:
        raise InputError(problems)
    label_of = labels.to_dict()
    table = pd.DataFrame({"patient_id": ids, "cohort": patients["cohort"].astype(str).to_numpy()})
    found = [label_of.get(patient) for patient in patients.index]
    table["label"] = [UNLABELLED if value is None or value != value else str(value) for value in found]
    table = table.sort_values("patient_id", ignore_index=True)
    for label, count in table["label"].value_counts().sort_index().items():
        if label != UNLABELLED and count < folds:
            problems.append(
                Problem(
                    f"split, class {label}",
                    f"{count} patient{'s' if count != 1 else ''} for {folds} folds",
                    "lower split.folds, add patients, give your own folds (split.file), or clear these "
                    "patients' facts (or `diagnosis`) so that they have no label",
                )
            )
    if problems:
        raise InputError(problems)
    if site_preserving:
        table["fold"] = _deal_sites(table, folds, seed)
    else:
        table["fold"] = _deal(table, folds, seed) if protocol == "strict" else _kfold(table, folds, seed)
    table["stratum"] = table["label"] + "|" + table["cohort"]
    return table[list(COLUMNS)]


def _deal(table: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    """Deal the patients, grouped by label and then cohort, to the folds in turn."""
    order: list[int] = []
    rng = np.random.default_rng(seed)
    # Groups of one label are neighbours in this order, so the turn evens out labels as well as cohorts.
    for _, rows in table.groupby(["label", "cohort"], sort=True):
        order.extend(rng.permutation(rows.index.to_numpy()))
    fold = np.empty(len(table), dtype=np.int64)
    fold[order] = np.arange(len(table)) % folds
    return fold


def _deal_sites(table: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    """Deal whole sites, the largest first, each to the fold whose labels it leaves most even."""
    import pandas as pd

    barcodes = [parse_barcode(patient) for patient in table["patient_id"]]
    site = [b.site if b else patient for b, patient in zip(barcodes, table["patient_id"])]
    counts = pd.crosstab(pd.Series(site, name="site"), table["label"])
    fewest = (counts > 0).sum()
    problems = [
        Problem(f"split, class {label}", f"patients of {sites} sites for {folds} folds",
                "lower split.folds, or set split.site_preserving: false")
        for label, sites in fewest.items() if label != UNLABELLED and sites < folds
    ]  # fmt: skip
    if problems:
        raise InputError(problems)
    drawn = np.random.default_rng(seed).permutation(len(counts))
    largest_first = drawn[np.argsort(-counts.sum(axis=1).to_numpy()[drawn], kind="stable")]
    numbers = counts.to_numpy(dtype=np.float64)
    # relative to each label's share, so that a rare label weighs as much as a common one
    share = numbers / (numbers.sum(axis=0) / folds)
    filled = np.zeros((folds, share.shape[1]))
    fold_of_site = {}
    for row in largest_first:
        cost = [((filled[k] + share[row]) ** 2 - filled[k] ** 2).sum() for k in range(folds)]
        chosen = int(np.argmin(cost))
        filled[chosen] += share[row]
        fold_of_site[counts.index[row]] = chosen
    return np.array([fold_of_site[s] for s in site], dtype=np.int64)


def _kfold(table: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    from sklearn.model_selection import KFold

    fold = np.empty(len(table), dtype=np.int64)
    for cohort, rows in table.groupby("cohort", sort=True):
        if len(rows) < folds:
            where = f"split, cohort {cohort}"
            raise InputError([Problem(where, f"{len(rows)} patients for {folds} folds", "lower split.folds")])
        splitter = KFold(folds, shuffle=True, random_state=seed)
        for number, (_, test) in enumerate(splitter.split(rows)):
            fold[rows.index.to_numpy()[test]] = number
    return fold


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
    return _read(Path(path), COLUMNS)


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
        raise InputError([Problem(folder.name, found, "needs splits_0.csv, splits_1.csv, ... without a gap")])
    problems: list[Problem] = []
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
            problems.append(
                Problem(path.name, "both val and test hold patients", "join one of them to train")
            )
        for part in ("train", name):
            if not parts[part]:
                problems.append(Problem(f"{path.name}, {part}", "no patient", "needs columns train and val"))
        listed = parts["train"] + parts[name]
        for patient in sorted(p for p, count in Counter(listed).items() if count > 1):
            problems.append(Problem(f"{path.name}, patient {patient}", "stands twice", "keep one"))
        train[fold], tested[fold] = parts["train"], parts[name]
    everyone = {patient for patients in [*train.values(), *tested.values()] for patient in patients}
    times = Counter(patient for patients in tested.values() for patient in set(patients))
    for patient in sorted(everyone):
        if times[patient] != 1:
            found = f"tested in {times[patient]} folds"
            problems.append(Problem(f"{folder.name}, patient {patient}", found, "test each exactly once"))
    for fold, path in sorted(paths.items()):
        for patient in sorted(everyone - set(train[fold]) - set(tested[fold])):
            problems.append(Problem(f"{path.name}, patient {patient}", "in neither part", "add it to train"))
    if problems:
        raise InputError(problems)
    rows = [(patient, fold) for fold, patients in tested.items() for patient in patients]
    return pd.DataFrame(rows, columns=["patient_id", "fold"]).sort_values("patient_id", ignore_index=True)


def import_folds(path: str | PathLike[str], patients: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Read a user's own folds and check them against the internal patients.

    Parameters
    ----------
    path : path
        TSV with `patient_id` and `fold` (the fold in whose test part the patient is, counted from 0); other
        columns are ignored.
    patients : pandas.DataFrame
        The internal cohorts' patients: index patient_id, column `cohort`.
    labels : pandas.Series
        Diagnosis by patient_id, missing where unknown; only named in `stratum`.

    Returns
    -------
    pandas.DataFrame
        As :func:`make_folds`.

    Raises
    ------
    InputError
        Listing everything wrong: patients twice, missing or not internal, folds that are not 0 ... K - 1.
    """
    path = Path(path)
    table = _read(path, ("patient_id", "fold"))
    given, wanted = set(table["patient_id"]), {str(patient) for patient in patients.index}
    problems = [
        Problem(f"{path.name}, patient {patient}", "is in no internal cohort", "remove the row")
        for patient in sorted(given - wanted)
    ] + [
        Problem(
            f"{path.name}, patient {patient}", "has no fold", "every internal patient needs exactly one row"
        )
        for patient in sorted(wanted - given)
    ]
    if problems:
        raise InputError(problems)
    cohort_of, label_of = patients["cohort"].to_dict(), labels.to_dict()
    table["cohort"] = [str(cohort_of[patient]) for patient in table["patient_id"]]
    found = [label_of.get(patient) for patient in table["patient_id"]]
    table["stratum"] = [
        f"{UNLABELLED if label is None or label != label else label}|{cohort}"
        for label, cohort in zip(found, table["cohort"])
    ]
    return table.sort_values("patient_id", ignore_index=True)[list(COLUMNS)]


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise InputError([Problem(path.name, "no such file", "give a TSV with patient_id and fold")])
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    absent = [name for name in columns if name not in table.columns]
    if absent:
        found = f"columns {', '.join(map(str, table.columns))}"
        raise InputError([Problem(path.name, found, f"needs {', '.join(absent)} too (tab-separated)")])
    table = table[list(columns)].apply(lambda column: column.str.strip())
    problems = []
    for row, (patient, fold) in enumerate(zip(table["patient_id"], table["fold"]), 2):
        if not patient:
            problems.append(Problem(f"{path.name} row {row}, patient_id", "empty", "give the patient's id"))
        if not (fold.isascii() and fold.isdigit()):
            problems.append(Problem(f"{path.name} row {row}, fold", repr(fold), "use a whole number from 0"))
    for patient in sorted(set(table.loc[table["patient_id"].duplicated(), "patient_id"])):
        problems.append(Problem(f"{path.name}, patient {patient}", "more than one row", "keep one"))
    if not problems:
        table["fold"] = table["fold"].astype(np.int64)
        numbers = sorted(set(table["fold"]))
        if len(numbers) < 2 or numbers != list(range(len(numbers))):
            shown = ", ".join(map(str, numbers)) or "none"
            problems.append(
                Problem(path.name, f"folds {shown}", "number them 0, 1, ... without a gap, at least two")
            )
    if problems:
        raise InputError(problems)
    return table
