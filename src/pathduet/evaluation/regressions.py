"""Regressions on the same folds as the networks: on clinical covariates, and on principal components of expression and slides.

Cox models for survival, logistic regressions for classes, ridge regressions for numbers. The catalogue defines which covariates
a model reads, and for which tasks; :mod:`pathduet.evaluation.covariates` and :mod:`pathduet.evaluation.components` define how
they are encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

import pandas as pd

from pathduet.catalogue import catalogue_of
from pathduet.cohort.labels import TRUTH, known_labels, task_labels
from pathduet.cohort.tasks import Task
from pathduet.core.files import write_json, write_tsv
from pathduet.evaluation.components import Components, joined, patient_expression, patient_features
from pathduet.evaluation.covariates import Covariates, covariate_values
from pathduet.evaluation.cox import CoxModel, fit_cox
from pathduet.evaluation.logistic import LogisticModel, fit_logistic
from pathduet.evaluation.regression_inputs import Inputs
from pathduet.evaluation.ridge import RidgeModel, fit_ridge
from pathduet.expression.fold_matrix import read_values
from pathduet.features.check import verify_features
from pathduet.results import DESCRIPTION, PREDICTIONS, TRAINING_PREDICTIONS, Results


def fit_regression(inputs: Inputs, truth: pd.DataFrame, task: Task) -> CoxModel | LogisticModel | RidgeModel:
    """Fit the regression of a task's kind on a training part; `truth` has the columns of ``labels.TRUTH``."""
    if task.kind == "survival":
        return fit_cox(inputs, truth)
    if task.kind == "regression":
        return fit_ridge(inputs, truth)
    return fit_logistic(inputs, truth, task.classes)


def parts_of_fold(
    patients: pd.DataFrame, known: pd.Index, folds: pd.DataFrame, fold: int, external: Iterable[str] = ()
) -> dict[str, pd.Index]:
    """Return the labelled patients of ``train``, ``test`` and ``external``; the last two sorted.

    Parameters
    ----------
    patients : DataFrame
        Indexed by patient_id, with `cohort`.
    known : Index
        Patients with a known label.
    folds : DataFrame
        ``patient_id``, ``fold``: the fold whose test part contains the patient.
    external : iterable of str
        Cohorts.
    """
    fold_of = folds.set_index("patient_id")["fold"].astype(int)
    inside = known[known.isin(fold_of.index)]
    tested = fold_of.loc[inside].to_numpy() == fold
    outside = known[patients.loc[known, "cohort"].isin(list(external))]
    return {"train": inside[~tested], "test": inside[tested].sort_values(), "external": outside.sort_values()}


def predicted_by_networks(ledger: pd.DataFrame, genes: Mapping[int, str | PathLike[str]]) -> set[str] | None:
    """Return the patients that a run's networks predict: with a used slide, or else with expression; None for everyone."""
    if len(ledger):
        return set(ledger.loc[ledger["status"] == "ok", "patient_id"])
    return set(read_values(genes[0])[0]["patient_id"]) if genes else None


def write_regressions(
    results: Results,
    patients: pd.DataFrame,
    folds: pd.DataFrame,
    models_by_task: Mapping[str, Sequence[str]],
    n_folds: int,
    settings: Mapping[str, Any],
    external_cohorts: Iterable[str] = (),
    only: Iterable[str] | None = None,
    genes: Mapping[int, str | PathLike[str]] | None = None,
    slides: pd.DataFrame | None = None,
) -> None:
    """Write the predictions of all tasks' regressions in every fold and on the external cohorts.

    Files: ``predictions.tsv``, ``training_predictions.tsv`` and ``model.json`` with its notes in a model's folder;
    ``predictions.tsv`` in its external folder.

    Parameters
    ----------
    patients : DataFrame
        As from ``sheets.read_patients``.
    folds : DataFrame
        ``patient_id``, ``fold``.
    models_by_task : mapping of str to sequence of str
        Clinical models, and those on principal components.
    settings : mapping
        ``tasks`` (name to its plain form), ``magnifications`` (of the slides that are read) and ``catalogue`` (the sections that :func:`pathduet.catalogue.catalogue_of` needs).
    external_cohorts : iterable of str
        Predicted for every task; if no patient there has a label for a task, its files hold no rows.
    only : iterable of str, optional
        Restrict the patients that clinical models predict to these (those that the networks predict), so that the rows of a table
        cover the same patients. Models on components predict every patient that has their inputs.
    genes : mapping of int to path
        Each fold's expression matrix; only for models on components.
    slides : DataFrame, optional
        Slides that have features, see :func:`~pathduet.evaluation.components.patient_features`;
        only for models on components.

    Raises
    ------
    InputError
        Listing labels, covariates and features that cannot be read.
    """
    catalogue = catalogue_of(settings["catalogue"])
    external = list(external_cohorts)
    tasks = {name: Task.of(name, plain) for name, plain in settings["tasks"].items()}
    values = covariate_values(patients, settings["catalogue"]["covariates"], tasks.values())
    predicted = patients.index if only is None else patients.index[patients.index.isin(list(only))]
    labels = {name: known_labels(task_labels(patients, tasks[name])) for name in models_by_task}
    used = {
        what
        for models in models_by_task.values()
        for model in models
        for what in catalogue[model].learns_from
    }
    read: dict[str, pd.DataFrame] = {}
    if "slides" in used and slides is not None:
        verify_features(results, slides["slide_id"])
        read["slides"] = patient_features(slides, settings["magnifications"])
    for fold in range(n_folds):
        if "expression" in used and genes:
            read["expression"] = patient_expression(genes[fold])
        for name, models in models_by_task.items():
            task, truth = tasks[name], labels[name][list(TRUTH[tasks[name].kind])]
            parts = parts_of_fold(patients, truth.index, folds, fold, external)
            for model in models:
                columns = list(catalogue[model].covariates)
                if columns:
                    table, whom = values[columns], predicted
                else:
                    table = joined(**{what: read[what] for what in catalogue[model].learns_from})
                    whom = table.index
                rows = {
                    part: table.loc[ids[ids.isin(whom)]] for part, ids in parts.items() if part != "train"
                }
                rows["train"] = table.loc[parts["train"][parts["train"].isin(table.index)]]
                inputs = Covariates.of(rows["train"]) if columns else Components.of(rows["train"])
                fitted = fit_regression(inputs, truth.loc[rows["train"].index], task)
                tables = {
                    part: _predictions(patients, truth, fitted.predict(found), part, fold)
                    for part, found in rows.items()
                }
                notes = {
                    part: inputs.notes | (inputs.missing(found) if fitted.is_fitted else {})
                    for part, found in rows.items()
                }
                folder = results.model(name, model, fold)
                write_tsv(folder / PREDICTIONS, tables["test"])
                write_tsv(folder / TRAINING_PREDICTIONS, tables["train"])
                record = {
                    "task": task.to_plain(), "model": model, "fold": fold, "variant": "clinical" if columns else "",
                    "covariates": columns, "notes": notes["test"],
                }  # fmt: skip
                if external:
                    write_tsv(results.external(name, model, fold) / PREDICTIONS, tables["external"])
                    record["external_notes"] = notes["external"]
                write_json(folder / DESCRIPTION, record)


def _predictions(
    patients: pd.DataFrame, truth: pd.DataFrame, predicted: pd.DataFrame, part: str, fold: int
) -> pd.DataFrame:
    """Return the predictions table of a part: one row per patient, ``slide_id`` empty."""
    ids = predicted.index
    cohort = patients.loc[ids, ["cohort"]].astype(str)
    table = pd.concat([cohort, truth.loc[ids], predicted], axis=1).rename_axis("patient_id").reset_index()
    table.insert(0, "slide_id", "")
    table.insert(3, "part", part)
    table.insert(4, "fold", fold)
    return table
