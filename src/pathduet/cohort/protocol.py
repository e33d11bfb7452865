"""The folds that a configuration asks for, and whether its classes are large enough for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pathduet.cohort.labels import task_labels
from pathduet.cohort.splits import import_folds, make_folds
from pathduet.errors import InputError, Problem

if TYPE_CHECKING:
    import pandas as pd


def folds_of(patients: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Return the folds of the internal patients: the user's own, or made from the seed.

    Parameters
    ----------
    patients : DataFrame
        All patients, indexed by patient_id.
    settings : mapping
        ``folds``, ``file``, ``seed``, ``protocol``, ``internal`` (cohorts), ``tasks``, ``cdkn2a_rule``.

    Raises
    ------
    InputError
        If a class of a configured task has fewer patients than folds (each fold's training and test part needs
        some), or the user's own folds do not fit.
    """
    internal = patients[patients["cohort"].isin(settings["internal"])]
    rule = settings["cdkn2a_rule"]
    problems = []
    for task in settings["tasks"]:
        table = task_labels(internal, task, cdkn2a_rule=rule)
        known = table[table["reason"] == ""]
        groups = (
            {"deaths": int((known["event"] == 1).sum())}
            if task == "survival"
            else known["label"].value_counts()
        )
        for name, count in sorted(dict(groups).items()):
            if count < settings["folds"]:
                problems.append(
                    Problem(
                        f"{task}, {name}",
                        f"{count} of {len(internal)} internal patients, for {settings['folds']} folds",
                        "lower split.folds, add patients, leave the task out of `tasks`, or clear these "
                        "patients' label",
                    )
                )
        if known.empty:
            problems.append(
                Problem(task, "no internal patient has this label", "leave the task out of `tasks`")
            )
    if problems:
        raise InputError(problems)
    labels: pd.Series = task_labels(internal, "diagnosis", cdkn2a_rule=rule)["label"]
    if settings["file"] is not None:
        return import_folds(settings["file"], internal, labels)
    return make_folds(
        internal, labels, folds=settings["folds"], seed=settings["seed"], protocol=settings["protocol"]
    )
