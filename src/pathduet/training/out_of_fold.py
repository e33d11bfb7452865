"""Teachers' predictions for slides that they were not trained on: the targets of distillation.

A teacher memorises the labels of its own training slides; its predictions for them are little more than the label. So the training part is
divided into inner folds by patient; for each, a teacher is trained on all others and predicts the patients that it has not seen. For patients
without the task's label, whom no teacher has seen, the predictions of all teachers are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pathduet.cohort.labels import known_labels
from pathduet.cohort.tasks import Task
from pathduet.training.objectives import TeacherTargets

if TYPE_CHECKING:
    import pandas as pd

    from pathduet.training.dataset import SlideDataset
    from pathduet.training.fold_data import FoldData

#: For a regression, patients are drawn from this many groups of similar values.
_VALUE_GROUPS = 4


def inner_parts(
    labels: pd.DataFrame, task: Task, patients: Sequence[str], parts: int, seed: int
) -> dict[str, int]:
    """Return the inner fold of each patient with a label, in equal shares of each class, of events and censored, or of the values.

    Parameters
    ----------
    labels : DataFrame
        From :func:`pathduet.cohort.labels.task_labels`.
    patients : sequence of str
        Patients that a teacher can learn from.
    parts : int
        Number of inner folds; fewer if there are fewer patients.
    """
    import numpy as np

    known = known_labels(labels)
    known = known.loc[known.index.intersection(sorted(patients))].sort_index()
    if task.kind == "regression":
        strata = (known["value"].rank(method="first") - 1) * _VALUE_GROUPS // max(len(known), 1)
    else:
        strata = known["event" if task.kind == "survival" else "label"]
    rng = np.random.default_rng([seed, len(known)])
    found: dict[str, int] = {}
    for _, group in strata.groupby(strata, sort=True):
        for patient in rng.permutation(group.index.to_numpy()):
            found[str(patient)] = (
                len(found) % parts
            )  # continues from group to group, so that folds have equal sizes
    return found


def inner_data(data: FoldData, fold: int, inner: Mapping[str, int], part: int) -> FoldData:
    """Return the training part of `fold` alone, in which the patients of an inner fold are its test part."""
    training = data.folds[data.folds["fold"].astype(int) != fold]
    inside = set(training["patient_id"])
    held = training["patient_id"].map(lambda patient: inner.get(str(patient)) == part)
    return replace(
        data,
        slides=data.slides[data.slides["patient_id"].isin(inside)],
        labels=data.labels[data.labels.index.isin(inside)],
        folds=training.assign(fold=[fold if h else fold + 1 for h in held]),
    )


def join_targets(
    answers: Sequence[TeacherTargets], dataset: SlideDataset, inner: Mapping[str, int]
) -> TeacherTargets:
    """Return for each slide the output of the teacher that has not seen its patient; the mean if no teacher has.

    Parameters
    ----------
    answers : sequence of TeacherTargets
        One per inner fold, for all slides of `dataset`.
    """
    share = torch.full((len(answers), len(dataset)), 1 / len(answers))
    for i, sample in enumerate(dataset.samples):
        if sample.patient_id in inner:
            share[:, i] = torch.nn.functional.one_hot(torch.tensor(inner[sample.patient_id]), len(answers))

    def mixed(kind: str) -> dict[str, torch.Tensor]:
        first: dict[str, torch.Tensor] = getattr(answers[0], kind)
        return {
            m: torch.einsum(
                "tn,tnw->nw",
                share.to(first[m].device),
                torch.stack([getattr(one, kind)[m] for one in answers]),
            )
            for m in first
        }

    return TeacherTargets(mixed("logits"), mixed("representation"))


def teacher_folder(out_dir: Path, part: int) -> Path:
    """Return the folder of an inner fold's teacher, kept while the student is trained."""
    return out_dir / "teachers" / str(part)
