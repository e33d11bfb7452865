"""The malignancy score of a task: one number per patient, from the predictions; higher = more malignant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pathduet.cohort.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

#: Of ordered classes. The first step does not affect a correlation, except through the rounding of probabilities in
#: predictions.tsv: 2 keeps the numbers of grades 2 to 4.
_FIRST_STEP = 2


@dataclass(frozen=True)
class MalignancyScore:
    """A weighted sum of predicted numbers.

    Attributes
    ----------
    name : str
        In tables: ``risk``, ``prediction``, ``expected_step`` or ``p_<class>``.
    title : str
        Title, worded for use inside a sentence.
    weights : mapping of str to float
        Weight of each column of the predictions.
    """

    name: str
    title: str
    weights: Mapping[str, float]

    def of(self, patients: pd.DataFrame) -> NDArray[np.float64]:
        """Return the score (n,) of each row of the predictions; NaN if a prediction is missing."""
        values = patients[list(self.weights)].to_numpy(dtype=float)
        return np.asarray(values @ np.array(list(self.weights.values())))


def score_of(task: Task) -> MalignancyScore | None:
    """Return a task's score, or None if it has none.

    Survival: the risk. Regression: the prediction. Ordered classes: the expected step, sum of p_k k. Two classes: the
    probability of the positive one. Unordered classes have a score only if ``malignancy_score`` names one of
    them; the score is then its probability.
    """
    chosen = task.malignancy_score
    if not chosen:
        return None
    if task.kind == "survival":
        return MalignancyScore("risk", f"predicted {task.in_sentence} risk", {"risk": 1.0})
    if task.kind == "regression":
        return MalignancyScore("prediction", f"predicted {task.in_sentence}", {"prediction": 1.0})
    if task.ordered and chosen is True:
        steps = {f"p_{name}": float(step) for step, name in enumerate(task.classes, _FIRST_STEP)}
        return MalignancyScore("expected_step", f"expected step of {task.in_sentence}", steps)
    counted = task.positive if chosen is True else str(chosen)
    if not counted:
        return None
    title = f"probability of {task.class_title(counted)}"
    return MalignancyScore(f"p_{counted}", title, {f"p_{counted}": 1.0})
