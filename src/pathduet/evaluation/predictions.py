"""The predictions table: read, checked, reduced to the evaluated part and to one row per case."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd

from pathduet.cohort.tasks import Task
from pathduet.core.checksums import checked
from pathduet.core.errors import InputError, Problem
from pathduet.evaluation.patient_average import average_patients

_TEXT = dict.fromkeys(("slide_id", "patient_id", "cohort", "part", "label", "predicted", "expert"), "string")


def read_predictions(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read one ``predictions.tsv``; ids stay text, and only empty cells are missing values.

    Returns
    -------
    DataFrame
        One row per slide (or per patient without slides: ``slide_id`` empty).
    """
    table = pd.read_csv(checked(path), sep="\t", dtype=_TEXT, keep_default_na=False, na_values=[""])
    table = table.astype({name: object for name in _TEXT if name in table})
    for name in ("slide_id", "cohort"):
        if name in table:
            table[name] = table[name].where(table[name].notna(), "")
    return table


def with_truth(predictions: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with the patients' current labels (:func:`pathduet.cohort.labels.task_labels`) in their columns of truth.

    The models of a fold have no labels of external patients: neither training nor predictions depend on them.
    """
    truth = labels.reindex(predictions["patient_id"])
    known = [name for name in labels.columns if name in predictions]
    return predictions.assign(**{name: truth[name].to_numpy() for name in known})


def has_slides(predictions: pd.DataFrame) -> bool:
    """Whether any row is a slide; clinical and expression models also predict patients without slides."""
    return bool((predictions["slide_id"].astype(str) != "").any())


def class_names(predictions: pd.DataFrame) -> list[str]:
    """Return the classes, in the order of the ``p_<class>`` columns (not the experts' ``p10_``, ``p20_``)."""
    return [name[2:] for name in predictions.columns if name.startswith("p_")]


def evaluated_part(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that may be scored: everything but ``part == "train"``."""
    if "part" not in predictions:
        return predictions
    return predictions[predictions["part"] != "train"]


def at_unit(predictions: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Return the evaluated rows of one unit: ``"patient"`` (averaged) or ``"slide"`` (rows that are slides)."""
    rows = evaluated_part(predictions)
    if unit == "patient":
        return average_patients(rows)
    if unit == "slide":
        return rows[rows["slide_id"].astype(str) != ""].reset_index(drop=True)
    raise ValueError(f"unknown unit {unit!r}; known: patient, slide")


def labelled(rows: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Return the rows whose truth is known: a label, a survival time with its event (:func:`with_outcome`), or a value."""
    if task.kind == "survival":
        return with_outcome(rows)
    if task.kind == "regression":
        return rows[np.isfinite(rows["value"].astype(float))].reset_index(drop=True)
    return rows[rows["label"].notna() & (rows["label"].astype(str) != "")].reset_index(drop=True)


def with_outcome(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a survival task with a time above 0 and an event indicator."""
    time, event = rows["survival_days"].astype(float), rows["event"].astype(float)
    return rows[(time > 0) & np.isfinite(time) & event.isin([0.0, 1.0])].reset_index(drop=True)


def probabilities(rows: pd.DataFrame) -> np.ndarray:
    """Return the class probabilities, shape (rows, classes), float64."""
    return rows[[f"p_{name}" for name in class_names(rows)]].to_numpy(dtype=float)


def label_indices(rows: pd.DataFrame) -> np.ndarray:
    """Return the labels as indices into :func:`class_names`, shape (rows,).

    Raises
    ------
    InputError
        If a label is none of the classes.
    """
    classes = class_names(rows)
    position = {name: i for i, name in enumerate(classes)}
    unknown = sorted(set(rows["label"]) - set(classes))
    if unknown:
        raise InputError(
            [Problem("predictions, label", f"unknown classes {unknown}", f"the model's are {classes}")]
        )
    return rows["label"].map(position).to_numpy(dtype=int)
