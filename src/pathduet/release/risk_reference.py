"""Reference for a new risk: each fold's training risks, and the cross-validation's risk groups' survival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pathduet.evaluation.patient_average import average_patients
from pathduet.evaluation.predictions import read_predictions
from pathduet.evaluation.survival_curves import GROUPS, kaplan_meier, pool_groups, risk_cuts, risk_groups
from pathduet.results import PREDICTIONS, TRAINING_PREDICTIONS

KIND = "tertiles"


def training_risks(folder: Path) -> list[float]:
    """Return a fold's predicted risks of its own training patients, ascending (slides averaged)."""
    table = average_patients(read_predictions(folder / TRAINING_PREDICTIONS))
    return sorted(float(risk) for risk in table["risk"])


def observed_groups(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the Kaplan-Meier curves of the groups that the folds' models assign to their own test patients.

    Parameters
    ----------
    folders : sequence of Path
        Folders of one model, one per fold.

    Returns
    -------
    list of dict
        group, n, deaths, days, survival.
    """
    parts = [
        (read_predictions(folder / PREDICTIONS), risk_cuts(np.array(training_risks(folder))))
        for folder in folders
    ]
    return [
        {
            "group": curve.group, "n": curve.n, "deaths": curve.deaths,
            "days": [float(t) for t in curve.time], "survival": [float(s) for s in curve.survival],
        }
        for curve in kaplan_meier(pool_groups(parts, KIND), KIND)
    ]  # fmt: skip


def place_of(risk: float, training: Sequence[float]) -> tuple[float, str]:
    """Return a risk's percentile among a fold's training patients (share at or below), and its tertile's group."""
    values = np.asarray(training, dtype=float)
    cuts: Mapping[str, Any] = risk_cuts(values)
    return 100.0 * float((values <= risk).mean()), risk_groups(np.array([risk]), cuts, KIND)[0]


def group_of_percentile(percentile: float) -> str:
    """Return the group of a mean percentile: thirds of the training cohort."""
    return GROUPS[KIND][int(np.searchsorted([100 / 3, 200 / 3], percentile, side="left"))]
