"""What a new risk is compared with: each fold's training risks, and how the cross-validation's risk groups lived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pathduet.evaluation.patient_average import average_patients
from pathduet.evaluation.predictions import read_predictions
from pathduet.evaluation.survival_curves import GROUPS, kaplan_meier, pool_groups, risk_cuts, risk_groups
from pathduet.results import PREDICTIONS, TRAINING_PREDICTIONS
from pathduet.training.predict import predict_model

KIND = "tertiles"


def training_risks(
    model_dir: Path, slides: pd.DataFrame, folds: pd.DataFrame, matrix: Path, threads: int = 1
) -> list[float]:
    """Return the risks of the patients a fold's survival model trained on, ascending (slides averaged)."""
    none = pd.DataFrame({"survival_days": [], "event": []}, dtype=float)
    table = predict_model(
        model_dir,
        slides=slides,
        labels=none,
        folds=folds,
        expression_path=matrix,
        part="train",
        threads=threads,
    ).table
    return sorted(float(risk) for risk in average_patients(table)["risk"])


def observed_groups(model_dirs: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the Kaplan-Meier curves of the groups that the folds' models put their own test patients in.

    Parameters
    ----------
    model_dirs : sequence of Path
        One a fold, with its predictions of the test and of the training part.

    Returns
    -------
    list of dict
        group, n, deaths, days, survival; empty where the evaluation has not run.
    """
    parts = []
    for folder in model_dirs:
        test, training = folder / PREDICTIONS, folder / TRAINING_PREDICTIONS
        if not test.is_file() or not training.is_file():
            return []
        risks = average_patients(read_predictions(training))["risk"].to_numpy(dtype=float)
        parts.append((read_predictions(test), risk_cuts(risks)))
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
