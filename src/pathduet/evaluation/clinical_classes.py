"""Clinical baselines of the class tasks: logistic regression on age, sex and, for the diagnosis, grade.

Covariates, scaling, missing values and notes as in :mod:`pathduet.evaluation.clinical`. scikit-learn's multinomial
regression with its usual ridge penalty (C = 1) on standardised covariates, classes weighted by their inverse frequency, as
the networks' are. The grade is no covariate of the grading: it is what is graded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from pathduet.cohort.labels import task_labels
from pathduet.cohort.who_labels import DIAGNOSES, GRADES
from pathduet.evaluation.covariates import design_matrix

#: Model name to its covariates.
LOGISTIC_MODELS: dict[str, tuple[str, ...]] = {
    "logistic_age_sex": ("age_years", "sex"),
    "logistic_age_sex_grade": ("age_years", "sex", "grade"),
}


def logistic_predictions(
    patients: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int,
    task: str,
    model: str,
    *,
    cdkn2a_rule: str = "homozygous",
    only: Iterable[str] | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Fit a regression on a fold's training part and predict its test part.

    Parameters
    ----------
    patients, folds, fold
        As for :func:`pathduet.evaluation.clinical.clinical_predictions`.
    task : str
        ``diagnosis`` or ``grading``.
    model : str
        A key of :data:`LOGISTIC_MODELS`.
    cdkn2a_rule : str
        See :func:`pathduet.cohort.labels.task_labels`.
    only : iterable of str, optional
        Restrict the predicted patients to these.

    Returns
    -------
    DataFrame, dict of str to str
        One row a patient (slide_id empty): patient_id, cohort, part, fold, label, predicted, p_<class>; and notes. Classes
        absent from the training part have probability 0; where nothing can be fitted, training frequencies are predicted.
    """
    rule: Any = cdkn2a_rule
    which: Any = task
    labels = task_labels(patients, which, cdkn2a_rule=rule)["label"]
    classes = list(DIAGNOSES if task == "diagnosis" else GRADES)
    fold_of = folds.set_index("patient_id")["fold"].astype(int)
    known = patients.loc[patients.index.intersection(fold_of.index)]
    tested = fold_of.loc[known.index].to_numpy() == fold
    train, target = known[~tested], known[tested].sort_index()
    train = train[labels.loc[train.index].notna()]
    target = target[labels.loc[target.index].notna()]
    if only is not None:
        target = target.loc[target.index.isin(list(only))]
    probability, notes = _fit_and_predict(
        design_matrix(train, LOGISTIC_MODELS[model]),
        labels.loc[train.index],
        design_matrix(target, LOGISTIC_MODELS[model]),
        classes,
    )
    table = pd.DataFrame(
        {
            "slide_id": "",
            "patient_id": target.index.astype(str),
            "cohort": target["cohort"].astype(str).to_numpy(),
            "part": "test",
            "fold": fold,
            "label": labels.loc[target.index].to_numpy(),
            "predicted": [classes[k] for k in probability.argmax(axis=1)] if len(target) else [],
        }
    )
    for k, name in enumerate(classes):
        table[f"p_{name}"] = probability[:, k]
    return table, notes


def _fit_and_predict(
    train: pd.DataFrame, labels: pd.Series, target: pd.DataFrame, classes: list[str]
) -> tuple[np.ndarray, dict[str, str]]:
    """Return probabilities (target rows, classes) and notes."""
    from sklearn.linear_model import LogisticRegression

    notes: dict[str, str] = {}
    constant = [str(name) for name in train if train[name].nunique() < 2]
    if constant:
        notes["covariates"] = f"constant or absent in the training part, left out: {', '.join(constant)}"
    values = train.drop(columns=constant).dropna()
    if len(values) < len(train) and len(values.columns):
        notes["training"] = f"{len(train) - len(values)} of {len(train)} training patients lack a covariate"
    truth = labels.loc[values.index]
    probability = np.zeros((len(target), len(classes)))
    if not len(values.columns) or truth.nunique() < 2:
        notes["fit"] = (
            f"no fit: {len(values.columns)} usable covariates, {truth.nunique()} classes; frequencies"
        )
        share = labels.value_counts(normalize=True)
        probability[:] = [float(share.get(name, 0.0)) for name in classes]
        return probability, notes
    centre, scale = values.mean(), values.std(ddof=0).replace(0.0, 1.0)
    used = target[list(values.columns)]
    filled = int(used.isna().any(axis=1).sum())
    if filled:
        notes["imputed"] = f"{filled} of {len(target)} patients: missing covariate set to the training mean"
    fitted = LogisticRegression(class_weight="balanced", max_iter=1000).fit((values - centre) / scale, truth)
    if len(target):
        standard = ((used - centre) / scale).fillna(0.0)
        found = fitted.predict_proba(standard)
        for column, name in enumerate(fitted.classes_):
            probability[:, classes.index(name)] = found[:, column]
    return probability, notes
