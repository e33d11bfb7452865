"""Covariates as numbers, centred and scaled by the training part: the input of the clinical models.

A numeric covariate is used as it is; an ordered one as the number of its step (one degree of freedom, which small folds can
support); a categorical one as indicators of the training part's categories, the first in sorted order being the reference. A
model is fitted on the training patients that have all covariates; a predicted patient's missing value, or a category that no
training patient has, is replaced by the training mean (so it has no effect), so that every model is scored on the same patients.
A covariate that is constant or absent in the training part is left out. The notes record all of this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from pathduet.cohort.labels import number_in, task_labels
from pathduet.cohort.tasks import Task
from pathduet.core.config import did_you_mean
from pathduet.core.errors import Problems
from pathduet.core.plural import plural


def covariate_values(
    patients: pd.DataFrame, covariates: Mapping[str, Any], tasks: Iterable[Task] = ()
) -> pd.DataFrame:
    """Read the covariates from the patients' cells.

    Parameters
    ----------
    patients : DataFrame
        Indexed by patient_id, cells as text, None where empty.
    covariates : mapping
        Column to its kind, or to ``{kind, title, levels}``, as in the configuration.
    tasks : iterable of Task
        An ordered covariate without levels takes the classes of an ordered task on its column.

    Returns
    -------
    DataFrame
        Rows as `patients`, columns as `covariates`: floats, NaN where missing; of a categorical covariate text, None where missing.

    Raises
    ------
    InputError
        Listing every invalid cell, and every ordered covariate whose order is unknown.
    """
    tasks, problems = list(tasks), Problems()
    columns: dict[str, pd.Series] = {}
    for name, entry in covariates.items():
        if entry is None:
            continue
        spec = {"kind": entry} if isinstance(entry, str) else entry
        absent = pd.Series(None, index=patients.index, dtype=object)
        cells = patients[name].astype(object) if name in patients else absent
        cells = cells.where(cells.notna() & (cells != ""), None)
        if spec["kind"] == "numeric":
            columns[name] = _numbers(cells, name, problems)
        elif spec["kind"] == "ordered":
            columns[name] = _steps(patients, cells, name, spec.get("levels"), tasks, problems)
        else:
            columns[name] = cells
    problems.check()
    return pd.DataFrame(columns, index=patients.index)


def _numbers(cells: pd.Series, name: str, problems: Problems) -> pd.Series:
    values = []
    for patient, cell in cells.items():
        try:
            values.append(np.nan if cell is None else number_in(cell))
        except ValueError:
            values.append(np.nan)
            advice = f"correct or clear it, or say `covariates: {{{name}: categorical}}`"
            problems.add(f"covariate {name}, patient {patient}", f"{cell!r} is not a number", advice)
    return pd.Series(values, cells.index, dtype=float)


def _steps(
    patients: pd.DataFrame,
    cells: pd.Series,
    name: str,
    levels: Sequence[Any] | None,
    tasks: Iterable[Task],
    problems: Problems,
) -> pd.Series:
    """Return each patient's step, counted from 0; levels come from the configuration, the task or their numbers."""
    own = next((task for task in tasks if task.ordered and task.column == name), None)
    if levels:
        steps = [str(level) for level in levels]
    elif own:
        cells, steps = task_labels(patients, replace(own, derive={}))["label"], list(own.classes)
    else:
        numbers = {cell: re.findall(r"\d+(?:\.\d+)?", cell)[:1] for cell in set(cells.dropna())}
        if len({tuple(number) for number in numbers.values()} - {()}) < len(numbers):
            found = f"the order of {', '.join(sorted(numbers))} does not follow from numbers in them"
            problems.add(f"covariates.{name}", found, "list its `levels`, the lowest first")
            return pd.Series(np.nan, index=cells.index)
        steps = sorted(numbers, key=lambda cell: float(numbers[cell][0]))
    for patient, cell in cells.dropna().items():
        if cell not in steps:
            advice = f"{did_you_mean(cell, steps)}its levels: {', '.join(steps)}"
            problems.add(f"covariate {name}, patient {patient}", f"unknown level {cell!r}", advice)
    return cells.map({step: float(place) for place, step in enumerate(steps)}).astype(float)


@dataclass(frozen=True)
class Covariates:
    """The covariates of a training part.

    Attributes
    ----------
    train : DataFrame
        Standardised covariates of the training patients that have them all.
    centre, scale : Series
        Per column of `train`.
    categories : dict of str to list of str
        Categories of each categorical covariate that is used; the first is the reference.
    names : list of str
        Covariates that are used.
    notes : dict of str to str
        What was left out and why.
    """

    train: pd.DataFrame
    centre: pd.Series
    scale: pd.Series
    categories: dict[str, list[str]]
    names: list[str]
    notes: dict[str, str] = field(default_factory=dict)
    #: Penalty of a Cox or ridge regression, per patient; light, for one column per covariate.
    penalty: float = 0.01

    @classmethod
    def of(cls, values: pd.DataFrame) -> Covariates:
        """Return the covariates of the training patients (rows), from values of :func:`covariate_values`."""
        notes: dict[str, str] = {}
        constant = [str(name) for name in values if values[name].nunique() < 2]
        if constant:
            notes["covariates"] = f"constant or absent in the training part, left out: {', '.join(constant)}"
        complete = values.drop(columns=constant).dropna()
        if len(complete) < len(values) and len(complete.columns):
            lacking = len(values) - len(complete)
            notes["training"] = f"{lacking} of {plural(len(values), 'training patient')} without a covariate"
        names = [str(name) for name in complete]
        categories = {name: sorted(set(complete[name])) for name in names if complete[name].dtype == object}
        numbers = _indicated(complete, categories)
        centre, scale = numbers.mean(), numbers.std(ddof=0).replace(0.0, 1.0)
        return cls((numbers - centre) / scale, centre, scale, categories, names, notes)

    def standardised(self, values: pd.DataFrame) -> pd.DataFrame:
        """Return patients' covariates in the training part's units; missing values become its mean."""
        numbers = _indicated(values[self.names], self.categories)
        return ((numbers - self.centre) / self.scale).fillna(0.0)

    def missing(self, values: pd.DataFrame) -> dict[str, str]:
        """Return notes on how many patients lack a covariate, or have a category that no training patient has."""
        notes = {}
        filled = int(_indicated(values[self.names], self.categories).isna().any(axis=1).sum())
        if filled:
            notes["imputed"] = (
                f"{filled} of {plural(len(values), 'patient')}: missing covariate set to the training mean"
            )
        unseen = {
            name: sorted(set(values[name].dropna()) - set(known)) for name, known in self.categories.items()
        }
        said = [f"{name} {', '.join(found)}" for name, found in unseen.items() if found]
        if said:
            notes["unseen"] = f"in no training patient, taken as missing: {'; '.join(said)}"
        return notes


def _indicated(values: pd.DataFrame, categories: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return values as numbers: a categorical covariate as indicators of all categories but the first, NaN where missing."""
    columns: dict[str, pd.Series] = {}
    for name in values:
        if name not in categories:
            columns[str(name)] = values[name]
            continue
        known = values[name].isin(categories[str(name)])
        for category in categories[str(name)][1:]:
            columns[f"{name} {category}"] = (values[name] == category).astype(float).where(known)
    return pd.DataFrame(columns, index=values.index)
