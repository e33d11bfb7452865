"""Clinical baselines for survival: Cox models on age, sex and grade, on the same folds as the networks.

Covariates: age in years; sex (male 1, female 0); grade as a number (2, 3, 4: one degree of freedom, so that small
folds carry it). Each is centred and scaled by the training part, and lifelines' ridge penalty of 0.01 keeps
the fit finite where a covariate nearly separates the deaths.

Missing covariates: the model is fitted on the training patients that have them all; a test patient's missing value
is replaced by the training mean (it then says nothing), so that every model is scored on the same patients.
A covariate that is constant or absent in the training part is left out. All of it stands in the notes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pathduet.core.files import write_json, write_tsv
from pathduet.evaluation.clinical_classes import logistic_predictions
from pathduet.evaluation.covariates import design_matrix
from pathduet.evaluation.evaluate import evaluate_predictions
from pathduet.evaluation.predictions import labelled

#: Model name to its covariates (columns of patients.tsv).
CLINICAL_MODELS: dict[str, tuple[str, ...]] = {
    "cox_age": ("age_years",),
    "cox_age_sex": ("age_years", "sex"),
    "cox_age_sex_grade": ("age_years", "sex", "grade"),
}
PENALIZER = 0.01
_LEAST_DEATHS = 2


@dataclass(frozen=True)
class CoxBaseline:
    """A fitted Cox model; without coefficients where it could not be fitted.

    Attributes
    ----------
    centre, scale, coefficients : Series
        By covariate; risk = sum of coefficient x (value - centre) / scale, the log partial hazard.
    notes : dict of str to str
        What was left out and why.
    """

    centre: pd.Series
    scale: pd.Series
    coefficients: pd.Series | None
    notes: dict[str, str] = field(default_factory=dict)

    def risk(self, patients: pd.DataFrame, covariates: Iterable[str]) -> tuple[np.ndarray, int]:
        """Return the log partial hazards (higher = worse) and how many patients had a value filled in.

        All NaN where the model could not be fitted.
        """
        if self.coefficients is None:
            return np.full(len(patients), np.nan), 0
        used = design_matrix(patients, covariates)[list(self.coefficients.index)]
        filled = int(used.isna().any(axis=1).sum())
        standard = ((used - self.centre) / self.scale).fillna(0.0)
        return standard.to_numpy() @ self.coefficients.to_numpy(), filled


def fit_cox(train: pd.DataFrame, model: str) -> CoxBaseline:
    """Fit one of :data:`CLINICAL_MODELS` on training patients.

    Parameters
    ----------
    train : DataFrame
        Patients (rows) with the covariates, ``survival_days`` and ``event``.

    Returns
    -------
    CoxBaseline
        Never raises for poor data: where nothing can be fitted, it carries no coefficients and a note.
    """
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError

    notes: dict[str, str] = {}
    train = labelled(train, "survival")
    values = design_matrix(train, CLINICAL_MODELS[model])
    constant = [str(name) for name in values if values[name].nunique() < 2]
    if constant:
        notes["covariates"] = f"constant or absent in the training part, left out: {', '.join(constant)}"
    values = values.drop(columns=constant).dropna()
    if len(values) < len(train) and len(values.columns):
        notes["training"] = f"{len(train) - len(values)} of {len(train)} training patients lack a covariate"
    centre, scale = values.mean(), values.std(ddof=0).replace(0.0, 1.0)
    deaths = int(train.loc[values.index, "event"].sum())
    if not len(values.columns) or deaths < _LEAST_DEATHS:
        notes["fit"] = (
            f"no fit: {len(values.columns)} usable covariates, {deaths} deaths in the training part"
        )
        return CoxBaseline(centre, scale, None, notes)
    data = (values - centre) / scale
    data["survival_days"], data["event"] = train["survival_days"].astype(float), train["event"].astype(float)
    try:
        fitted = CoxPHFitter(penalizer=PENALIZER).fit(data, "survival_days", "event")
    except (ConvergenceError, np.linalg.LinAlgError) as error:
        notes["fit"] = f"no fit: {str(error).splitlines()[0][:200]}"
        return CoxBaseline(centre, scale, None, notes)
    return CoxBaseline(centre, scale, fitted.params_, notes)


@dataclass(frozen=True)
class ClinicalResult:
    """Predictions of a clinical baseline, ready for ``evaluate_predictions``.

    Attributes
    ----------
    predictions : DataFrame
        slide_id (empty), patient_id, cohort, part, fold, survival_days, event, risk; one row a patient.
    train_risk : list of float
        Risks of the training patients (for the Kaplan-Meier cuts).
    notes : dict of str to str
    """

    predictions: pd.DataFrame
    train_risk: list[float]
    notes: dict[str, str]


def clinical_predictions(
    patients: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int,
    model: str,
    *,
    external: Iterable[str] | None = None,
    only: Iterable[str] | None = None,
) -> ClinicalResult:
    """Fit a baseline on a fold's training part and predict its test part, or an external cohort.

    Parameters
    ----------
    patients : DataFrame
        Indexed by patient_id (see ``sheets.read_patients``).
    folds : DataFrame
        ``patient_id``, ``fold``: the fold in whose test part the patient is.
    fold : int
    model : str
        A key of :data:`CLINICAL_MODELS`.
    external : iterable of str, optional
        Cohorts to predict instead of the test part.
    only : iterable of str, optional
        Restrict the predicted patients to these (those whom the networks predict), so that the rows of a
        table are about the same patients.
    """
    fold_of = folds.set_index("patient_id")["fold"].astype(int)
    known = patients.loc[patients.index.intersection(fold_of.index)]
    train = known[fold_of.loc[known.index].to_numpy() != fold]
    if external is None:
        part, target = "test", known[fold_of.loc[known.index].to_numpy() == fold]
    else:
        part, target = "external", patients[patients["cohort"].isin(list(external))]
    if only is not None:
        target = target.loc[target.index.isin(list(only))]
    target = target.sort_index()
    covariates = CLINICAL_MODELS[model]
    baseline = fit_cox(train, model)
    risk, filled = baseline.risk(target, covariates)
    notes = dict(baseline.notes)
    if filled:
        notes["imputed"] = f"{filled} of {len(target)} patients: missing covariate set to the training mean"
    table = pd.DataFrame(
        {
            "slide_id": "",
            "patient_id": target.index.astype(str),
            "cohort": target["cohort"].astype(str).to_numpy(),
            "part": part,
            "fold": fold,
            "survival_days": target["survival_days"].to_numpy(dtype=float),
            "event": target["event"].to_numpy(dtype=float),
            "risk": risk,
        }
    )
    train_risk = baseline.risk(labelled(train, "survival"), covariates)[0].tolist()
    return ClinicalResult(labelled(table, "survival"), train_risk, notes)


def write_clinical_fold(
    patients: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int,
    models: Iterable[str],
    results: str | os.PathLike[str],
    settings: Mapping[str, Any],
    *,
    task: str = "survival",
    external: Iterable[str] = (),
    only: Iterable[str] | None = None,
) -> None:
    """Write predictions and metrics of a task's clinical baselines of a fold, and for survival on the external cohorts.

    Files: ``{results}/models/{task}/{model}/fold-{fold}/`` and, with `external` cohorts,
    ``{results}/external/survival/{model}/fold-{fold}/``, each with ``predictions.tsv`` and ``metrics.json``.

    Parameters
    ----------
    settings : mapping
        ``protocol``, ``seed``, ``bootstrap`` (number of resamples); for class tasks also ``labels``.
    task : str
        ``survival`` (Cox models), ``diagnosis`` or ``grading`` (logistic regressions).
    only : iterable of str, optional
        As in :func:`clinical_predictions`.
    """
    external, only = list(external), None if only is None else list(only)
    if task != "survival":
        _write_classes(patients, folds, fold, models, results, settings, task, only)
        return
    for model in models:
        targets: list[tuple[str, list[str] | None]] = [("models", None)]
        if external:
            targets.append(("external", external))
        for parent, cohorts in targets:
            result = clinical_predictions(patients, folds, fold, model, external=cohorts, only=only)
            metrics = evaluate_predictions(
                result.predictions,
                "survival",
                model,
                fold,
                protocol=settings["protocol"],
                resamples=settings["bootstrap"],
                seed=settings["seed"],
                train_risk=result.train_risk,
                notes=result.notes,
            )
            folder = Path(results) / parent / "survival" / model / f"fold-{fold}"
            write_tsv(folder / "predictions.tsv", result.predictions)
            write_json(folder / "metrics.json", metrics)


def _write_classes(
    patients: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int,
    models: Iterable[str],
    results: str | os.PathLike[str],
    settings: Mapping[str, Any],
    task: str,
    only: list[str] | None,
) -> None:
    for model in models:
        table, notes = logistic_predictions(
            patients, folds, fold, task, model, cdkn2a_rule=settings["labels"]["cdkn2a_rule"], only=only
        )
        metrics = evaluate_predictions(
            table,
            task,
            model,
            fold,
            protocol=settings["protocol"],
            resamples=settings["bootstrap"],
            seed=settings["seed"],
            notes=notes,
        )
        folder = Path(results) / "models" / task / model / f"fold-{fold}"
        write_tsv(folder / "predictions.tsv", table)
        write_json(folder / "metrics.json", metrics)
