"""Metrics of arrays are those of the tables: the same values, and the same intervals from the same draws."""

from __future__ import annotations

import doctest

import numpy as np
import pandas as pd
import pytest
from lifelines.utils import concordance_index
from sklearn.metrics import r2_score, roc_auc_score

from pathduet.cohort.tasks import Task
from pathduet.evaluation import (
    classification_estimates,
    estimates,
    regression_estimates,
    survival_estimates,
)
from pathduet.evaluation.bootstrap import mean_interval

RNG = np.random.default_rng(3)
N = 40


def test_the_examples_are_right():
    assert doctest.testmod(estimates).failed == 0


def test_values_are_those_of_lifelines_and_scikit_learn():
    time, event, risk = RNG.integers(1, 30, N), RNG.integers(0, 2, N), RNG.normal(size=N)
    found = survival_estimates(time, event, risk)["c_index"]
    assert found.value == pytest.approx(concordance_index(time, -risk, event))
    assert found.low < found.value < found.high
    truth, chance = RNG.integers(0, 2, N), RNG.uniform(size=N)
    found = classification_estimates(truth, np.stack([1 - chance, chance], axis=1), positive=1)["auc"]
    assert found.value == pytest.approx(roc_auc_score(truth, chance)) and found.low < found.value < found.high
    value = RNG.normal(size=N)
    found = regression_estimates(value, value + RNG.normal(size=N))["r2"]
    assert found.low < found.value < found.high <= 1
    assert regression_estimates(value, 0 * value)["r2"].value == pytest.approx(r2_score(value, 0 * value))


def test_the_interval_is_the_tables():
    patients = [f"P{i // 2:02d}" for i in range(N)]
    time, event, risk = RNG.integers(1, 99, N // 2), RNG.integers(0, 2, N // 2), RNG.normal(size=N)
    table = pd.DataFrame(
        {
            "slide_id": [f"S{i}" for i in range(N)], "patient_id": patients, "cohort": "x", "part": "test",
            "survival_days": time.repeat(2), "event": event.repeat(2), "risk": risk,
        }
    )  # fmt: skip
    task = Task.of("os", {"kind": "survival", "time": "t", "event": "e"})
    expected = mean_interval([[table]], task, "slide", resamples=200, seed=7)["c_index"]
    found = survival_estimates(
        time.repeat(2), event.repeat(2), risk, patients=patients, resamples=200, seed=[7, 0]
    )  # type: ignore[arg-type]
    assert (found["c_index"].low, found["c_index"].high) == pytest.approx(expected)
    alone = survival_estimates(time.repeat(2), event.repeat(2), risk, resamples=200, seed=7)["c_index"]
    assert (alone.low, alone.high) != pytest.approx(expected)


def test_what_is_not_defined_has_no_value_and_no_interval():
    assert survival_estimates([3, 4], [0, 0], [1, 2])["c_index"] == (None, None, None)
    assert classification_estimates([1, 1], [[0.4, 0.6], [0.1, 0.9]], positive=1)["auc"] == (None, None, None)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"risk \(3,\)"):
        survival_estimates([1, 2], [1, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="0 to 1 are classes"):
        classification_estimates([0, 2], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(ValueError, match=r"\(2, classes\) is needed"):
        classification_estimates([0, 1], [0.5, 0.5])
    with pytest.raises(ValueError, match="1 of 2 cases"):
        regression_estimates([0, 1], [0, 1], patients=["a"])
