"""Cross-validation folds by patient, as configured: drawn from a seed, or the user's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pathduet.cohort.folds import COLUMNS, read_fold_numbers
from pathduet.cohort.labels import known_labels, task_labels
from pathduet.cohort.site_folds import UNLABELLED, deal_sites
from pathduet.cohort.tasks import KINDS, Task
from pathduet.core.errors import InputError, Problems
from pathduet.core.plural import plural

if TYPE_CHECKING:
    import pandas as pd


def folds_of(patients: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Return the folds of the internal patients: the user's own, or drawn from the seed.

    Parameters
    ----------
    patients : DataFrame
        All patients, indexed by patient_id.
    settings : mapping
        ``folds``, ``file``, ``sites`` (see :func:`make_folds`), ``seed``, ``protocol``, ``internal`` (cohorts), ``tasks`` (plain, in order).

    Raises
    ------
    InputError
        If a class of a configured task has fewer patients than folds (each fold's training and test part needs
        some), or the user's own folds do not match.
    """
    internal = patients[patients["cohort"].isin(settings["internal"])]
    tasks = [Task.of(entry["name"], entry) for entry in settings["tasks"]]
    labels = {task.name: task_labels(internal, task) for task in tasks}
    problems = Problems()
    for task in tasks:
        known = known_labels(labels[task.name])
        for name, count in sorted(_groups(task, known).items()):
            if count < settings["folds"]:
                problems.add(
                    f"{task.name}, {name}",
                    f"{count} of {plural(len(internal), 'internal patient')}, for {plural(settings['folds'], 'fold')}",
                    "lower split.folds, add patients, leave the task out of `tasks`, or clear these "
                    "patients' label",
                )
        if known.empty:
            problems.add(task.name, "no internal patient has this label", "leave the task out of `tasks`")
    problems.check()
    strata = _strata(tasks, labels, settings["folds"])
    if settings["file"] is not None:
        return import_folds(settings["file"], internal, strata, settings["folds"])
    return make_folds(
        internal,
        strata,
        folds=settings["folds"],
        seed=settings["seed"],
        protocol=settings["protocol"],
        sites=settings["sites"],
    )


def _groups(task: Task, known: pd.DataFrame) -> dict[str, int]:
    """Return the number of patients in each group that every fold needs."""
    if task.kind == "survival":
        return {"events": int((known["event"] == 1).sum())}
    if task.kind == "regression":
        return {"known values": len(known)}
    return {name: int((known["label"] == name).sum()) for name in task.classes}


def _strata(tasks: Sequence[Task], labels: Mapping[str, pd.DataFrame], folds: int) -> pd.Series:
    """Return the groups to balance: the first classification's classes, else events, else thirds of a number."""
    first = min(tasks, key=lambda task: KINDS.index(task.kind))
    table = labels[first.name]
    if first.kind == "classification":
        classes: pd.Series = table["label"]
        return classes
    if first.kind == "survival":
        groups = table["event"].map({1.0: "event", 0.0: "censored"}).astype(object)
    else:
        thirds = table["value"].rank(method="first", pct=True)
        groups = thirds.map(lambda share: None if share != share else f"third {min(int(share * 3), 2) + 1}")
    sizes = groups.map(groups.value_counts())
    even: pd.Series = groups.astype(object).where(sizes >= folds)
    return even


def make_folds(
    patients: pd.DataFrame,
    labels: pd.Series,
    *,
    folds: int = 3,
    seed: int = 42,
    protocol: Literal["strict", "paper"] = "strict",
    sites: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Put each patient into the test part of one fold.

    ``strict``: the patients of each label and cohort are shuffled and dealt to the folds in turn, continuing
    where the last group stopped, so that every cohort's share of a label, every label and the fold sizes
    are even to within one patient. ``paper``: scikit-learn's ``KFold(folds, shuffle=True,
    random_state=seed)`` over each cohort's sorted patient ids, not stratified. With `sites`, sites instead of
    patients are dealt, so that no site is on both sides of a fold (Howard et al., Nature Communications 2021);
    labels are then as even as whole sites allow.

    Parameters
    ----------
    patients : pandas.DataFrame
        The internal cohorts' patients: index patient_id, column `cohort`.
    labels : pandas.Series
        Class (or another group) by patient_id; missing where unknown (such patients are dealt as one more label).
    folds : int
        Number of folds, >= 2.
    seed : int
        The same patients, labels and seed give the same folds, whatever the order of the rows.
    protocol : {"strict", "paper"}
        See above.
    sites : mapping of str to str, optional
        Patient to site, from :func:`~pathduet.cohort.site_folds.sites_of`: patients of a site stay together, others are single sites.
        Not with ``paper``.

    Returns
    -------
    pandas.DataFrame
        Columns patient_id, cohort, fold (0 ... folds - 1), stratum (``label|cohort``), sorted by patient_id.

    Raises
    ------
    InputError
        If there is no patient, an id appears twice, or a label has fewer patients (or sites) than folds.
    """
    ids = [str(patient) for patient in patients.index]
    problems = Problems()
    if folds < 2:
        problems.add("split.folds", str(folds), "use at least 2")
    if sites is not None and protocol == "paper":
        problems.add("split.site_preserving", "with protocol paper", "use protocol strict")
    if not ids:
        problems.add("split", "no patient in the internal cohorts", "check cohorts.internal")
    for twice in sorted(patient for patient, count in Counter(ids).items() if count > 1):
        problems.add("split", f"patient {twice} twice", "patient ids unique over all cohorts")
    problems.check()
    table = _labelled(patients, labels)
    for label, count in table["label"].value_counts().sort_index().items():
        if label != UNLABELLED and count < folds:
            problems.add(
                f"split, class {label}",
                f"{plural(count, 'patient')} for {plural(folds, 'fold')}",
                "lower split.folds, add patients, give your own folds (split.file), or clear these "
                "patients' label",
            )
    problems.check()
    if sites is not None:
        table["fold"] = deal_sites(table, folds, seed, sites)
    else:
        table["fold"] = _deal(table, folds, seed) if protocol == "strict" else _kfold(table, folds, seed)
    return table[list(COLUMNS)]


def _deal(table: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    """Deal the patients, grouped by label and then cohort, to the folds in turn."""
    order: list[int] = []
    rng = np.random.default_rng(seed)
    # Groups of one label are adjacent, so dealing in turn balances labels as well as cohorts.
    for _, rows in table.groupby(["label", "cohort"], sort=True):
        order.extend(rng.permutation(rows.index.to_numpy()))
    fold = np.empty(len(table), dtype=np.int64)
    fold[order] = np.arange(len(table)) % folds
    return fold


def _kfold(table: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    from sklearn.model_selection import KFold

    fold = np.empty(len(table), dtype=np.int64)
    for cohort, rows in table.groupby("cohort", sort=True):
        if len(rows) < folds:
            where = f"split, cohort {cohort}"
            raise InputError.of(
                where, f"{plural(len(rows), 'patient')} for {plural(folds, 'fold')}", "lower split.folds"
            )
        splitter = KFold(folds, shuffle=True, random_state=seed)
        for number, (_, test) in enumerate(splitter.split(rows)):
            fold[rows.index.to_numpy()[test]] = number
    return fold


def import_folds(
    path: str | PathLike[str], patients: pd.DataFrame, labels: pd.Series, folds: int
) -> pd.DataFrame:
    """Read a user's own folds and check them against the internal patients.

    Parameters
    ----------
    path : path
        Table with `patient_id` and `fold` (the fold in whose test part the patient is, counted from 0); other
        columns are ignored.
    patients : pandas.DataFrame
        The internal cohorts' patients: index patient_id, column `cohort`.
    labels : pandas.Series
        Class (or another group) by patient_id, missing where unknown; used only for `stratum`.
    folds : int
        ``split.folds``, which must match the file: patients of further folds would never be tested.

    Returns
    -------
    pandas.DataFrame
        As :func:`make_folds`.

    Raises
    ------
    InputError
        Lists every problem: patients twice, missing or not internal, folds other than 0 ... `folds` - 1.
    """
    path = Path(path)
    table = read_fold_numbers(path, ("patient_id", "fold"))
    given, wanted = set(table["patient_id"]), {str(patient) for patient in patients.index}
    problems = Problems()
    if (number := table["fold"].nunique()) != folds:
        found = f"{plural(number, 'fold')}, where split.folds is {folds}"
        problems.add(f"split.file, {path.name}", found, f"set split.folds: {number}, or give other folds")
    for patient in sorted(given - wanted):
        problems.add(f"{path.name}, patient {patient}", "is in no internal cohort", "remove the row")
    for patient in sorted(wanted - given):
        advice = "every internal patient needs exactly one row"
        problems.add(f"{path.name}, patient {patient}", "has no fold", advice)
    problems.check()
    table = _labelled(patients, labels).merge(table, on="patient_id", validate="one_to_one")
    return table[list(COLUMNS)]


def _labelled(patients: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Return patient_id, cohort, label and stratum, sorted by patient_id."""
    import pandas as pd

    label_of = dict(zip(labels.index, labels.tolist()))
    found = [label_of.get(patient) for patient in patients.index]
    table = pd.DataFrame(
        {
            "patient_id": [str(patient) for patient in patients.index],
            "cohort": patients["cohort"].astype(str).to_numpy(),
            "label": [UNLABELLED if value is None or value != value else str(value) for value in found],
        }
    )
    table["stratum"] = table["label"] + "|" + table["cohort"]
    return table.sort_values("patient_id", ignore_index=True)
