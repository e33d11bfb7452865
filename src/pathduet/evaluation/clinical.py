"""Clinical models, on the same folds as the networks: Cox models for survival, logistic regressions for class tasks.

Which covariates a model reads, and for which tasks it is, says the catalogue; how they enter, :mod:`pathduet.evaluation.covariates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import pandas as pd

from pathduet.catalogue import find
from pathduet.cohort.labels import task_labels
from pathduet.cohort.who_labels import DIAGNOSES, GRADES
from pathduet.core.files import write_json, write_tsv
from pathduet.evaluation.cox import CoxModel, fit_cox
from pathduet.evaluation.logistic import LogisticModel, fit_logistic
from pathduet.evaluation.predictions import SURVIVAL_TASK, labelled
from pathduet.results import DESCRIPTION, PREDICTIONS, TRAINING_PREDICTIONS, Results


def fit_clinical(train: pd.DataFrame, task: str, model: str) -> CoxModel | LogisticModel:
    """Fit a clinical model of the catalogue on a training part (see :func:`known_patients`)."""
    covariates = find(model).covariates
    if task == SURVIVAL_TASK:
        return fit_cox(train, covariates)
    return fit_logistic(train, covariates, DIAGNOSES if task == "diagnosis" else GRADES)


def known_patients(patients: pd.DataFrame, task: str, cdkn2a_rule: str = "homozygous") -> pd.DataFrame:
    """Return the patients whose outcome is known, for class tasks with their ``label``.

    Parameters
    ----------
    patients : DataFrame
        Indexed by patient_id (see ``sheets.read_patients``).
    cdkn2a_rule : str
        See :func:`pathduet.cohort.labels.task_labels`.
    """
    if task != SURVIVAL_TASK:
        labels = task_labels(patients, cast("Any", task), cdkn2a_rule=cast("Any", cdkn2a_rule))
        patients = patients.assign(label=labels["label"])
    named = patients.rename_axis("patient_id").reset_index()
    return labelled(named, task).set_index("patient_id")


def clinical_parts(
    known: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int,
    external: Iterable[str] = (),
    only: Iterable[str] | None = None,
) -> dict[str, pd.DataFrame]:
    """Return the patients of ``train``, ``test`` and ``external``.

    Parameters
    ----------
    known : DataFrame
        From :func:`known_patients`.
    folds : DataFrame
        ``patient_id``, ``fold``: the fold in whose test part the patient is.
    external : iterable of str
        Cohorts.
    only : iterable of str, optional
        Restrict the predicted patients to these (those whom the networks predict), so that the rows of a
        table are about the same patients.
    """
    fold_of = folds.set_index("patient_id")["fold"].astype(int)
    inside = known[known.index.isin(fold_of.index)]
    tested = fold_of.loc[inside.index].to_numpy() == fold
    parts = {"test": inside[tested], "external": known[known["cohort"].isin(list(external))]}
    if only is not None:
        wanted = list(only)
        parts = {part: rows[rows.index.isin(wanted)] for part, rows in parts.items()}
    return {"train": inside[~tested], **{part: rows.sort_index() for part, rows in parts.items()}}


def clinical_predictions(
    fitted: CoxModel | LogisticModel, patients: pd.DataFrame, task: str, part: str, fold: int
) -> pd.DataFrame:
    """Return the predictions table of a part: one row a patient, ``slide_id`` empty."""
    truth = (
        patients[["survival_days", "event"]].astype(float) if task == SURVIVAL_TASK else patients[["label"]]
    )
    table = pd.concat([patients[["cohort"]].astype(str), truth, fitted.predict(patients)], axis=1)
    table = table.rename_axis("patient_id").reset_index()
    table.insert(0, "slide_id", "")
    table.insert(3, "part", part)
    table.insert(4, "fold", fold)
    return table


def write_clinical(
    results: Results,
    patients: pd.DataFrame,
    folds: pd.DataFrame,
    models_by_task: Mapping[str, Sequence[str]],
    n_folds: int,
    settings: Mapping[str, Any],
    external_cohorts: Iterable[str] = (),
    only: Iterable[str] | None = None,
) -> None:
    """Write the predictions of all tasks' clinical models in every fold, of survival on the external cohorts, too.

    Files: in a model's folder ``predictions.tsv``, ``training_predictions.tsv`` and ``model.json`` with its notes, in its external
    folder ``predictions.tsv``.

    Parameters
    ----------
    models_by_task : mapping of str to sequence of str
        Models of the catalogue.
    settings : mapping
        For class tasks ``labels``.
    external_cohorts, only : iterable of str
        See :func:`clinical_parts`.
    """
    external, only = list(external_cohorts), None if only is None else list(only)
    for task, models in models_by_task.items():
        rule = "" if task == SURVIVAL_TASK else settings["labels"]["cdkn2a_rule"]
        known = known_patients(patients, task, rule)
        for fold in range(n_folds):
            parts = clinical_parts(known, folds, fold, external if task == SURVIVAL_TASK else (), only)
            for model in models:
                fitted = fit_clinical(parts["train"], task, model)
                tables = {
                    part: clinical_predictions(fitted, rows, task, part, fold) for part, rows in parts.items()
                }
                folder = results.model(task, model, fold)
                write_tsv(folder / PREDICTIONS, tables["test"])
                write_tsv(folder / TRAINING_PREDICTIONS, tables["train"])
                record = {
                    "task": task, "model": model, "fold": fold, "variant": "clinical",
                    "covariates": list(find(model).covariates), "notes": fitted.notes(parts["test"]),
                }  # fmt: skip
                if external and task == SURVIVAL_TASK:
                    write_tsv(results.external(task, model, fold) / PREDICTIONS, tables["external"])
                    record["external_notes"] = fitted.notes(parts["external"])
                write_json(folder / DESCRIPTION, record)
