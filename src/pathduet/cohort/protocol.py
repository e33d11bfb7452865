"""The folds that a configuration asks for, and whether its classes are large enough for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pathduet.cohort.folds import import_folds, make_folds
from pathduet.cohort.labels import Task, task_labels
from pathduet.core.errors import InputError, Problem

if TYPE_CHECKING:
    import pandas as pd


def folds_of(patients: pd.DataFrame, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Return the folds of the internal patients: the user's own, or made from the seed.

    Parameters
    ----------
    patients : DataFrame
        All patients, indexed by patient_id.
    settings : mapping
        ``folds``, ``file``, ``site_preserving``, ``seed``, ``protocol``, ``internal`` (cohorts), ``tasks``,
        ``cdkn2a_rule``.

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
    labels = _strata(internal, settings)
    if settings["file"] is not None:
        return import_folds(settings["file"], internal, labels)
    return make_folds(
        internal,
        labels,
        folds=settings["folds"],
        seed=settings["seed"],
        protocol=settings["protocol"],
        site_preserving=settings["site_preserving"],
    )


def _strata(internal: pd.DataFrame, settings: Mapping[str, Any]) -> pd.Series:
    """Return what folds are made even by: the diagnosis, or the grade or death where that is all a run is about.

    A class too small for the folds matters only to a run that has the task; elsewhere it is no reason to refuse, and
    its patients are dealt out with the unlabelled ones.
    """
    tasks = settings["tasks"]
    if "diagnosis" in tasks or "grading" in tasks:
        task: Task = "diagnosis" if "diagnosis" in tasks else "grading"
        labels: pd.Series = task_labels(internal, task, cdkn2a_rule=settings["cdkn2a_rule"])["label"]
        return labels
    event = task_labels(internal, "survival")["event"]
    seen = event.map({1.0: "died", 0.0: "censored"}).astype(object)
    sizes = seen.map(seen.value_counts())
    return seen.where(sizes >= settings["folds"])
