"""Survival explanations against models whose answer is known, and reasons where follow-up ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from explain.fake_folds import SURVIVAL
from pathduet.explain.fold_results import FoldResult
from pathduet.explain.survival_explanations import (
    auc_table,
    calibration_groups,
    calibration_table,
    dynamic_auc,
    horizons,
    risk_group_table,
)


def exponential(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rate, time and event of patients who die at known rates, some censored."""
    rng = np.random.default_rng(seed)
    rate = np.exp(rng.normal(size=n)) / 1000
    death, censoring = rng.exponential(1 / rate), rng.exponential(4000, size=n)
    return rate, np.minimum(death, censoring), (death <= censoring).astype(float)


def test_the_true_model_is_calibrated_and_a_pessimist_is_not() -> None:
    rate, time, event = exponential(4000, 0)
    true = np.exp(-rate * 500)
    table = calibration_groups(true, time, event, 500, groups=4)
    assert table["group"].tolist() == [0, 1, 2, 3, 4]
    assert table["ratio"].between(0.9, 1.1).all()
    assert ((table["low"] - 0.02 <= table["predicted"]) & (table["predicted"] <= table["high"] + 0.02)).all()
    assert calibration_groups(true**2, time, event, 500)["ratio"].iloc[0] < 0.8  # expects too many deaths


def test_auc_without_censoring_is_the_plain_auc() -> None:
    rng = np.random.default_rng(1)
    time = rng.permutation(np.arange(1.0, 61.0))
    event, risk = np.ones(60), -time + rng.normal(scale=25, size=60)
    found = dynamic_auc((time, event), (time, event), risk, [20.0, 40.0])
    for day in (20.0, 40.0):
        assert found[day] == pytest.approx(roc_auc_score(time <= day, risk))


def test_auc_needs_nothing_of_the_training_part_beyond_the_day() -> None:
    train = (np.array([50.0, 100, 150, 200]), np.array([1.0, 1, 0, 1]))
    test = (np.array([30.0, 80, 400, 900]), np.array([1.0, 0, 1, 1]))
    found = dynamic_auc(train, test, np.array([4.0, 1, 3, 2]), [100.0, 500.0])
    assert found[100.0] == pytest.approx(1.0) and 500.0 not in found


def result(days: list[float], events: list[float], hazards: list[list[float]], fold: int = 0) -> FoldResult:
    table = pd.DataFrame({"patient_id": [f"P{fold}{i}" for i in range(len(days))], "survival_days": days, "event": events,
                          "slide_id": "", "part": "test", "cohort": "a",
                          "risk": [sum(h) for h in hazards]})  # fmt: skip
    for k in range(len(hazards[0])):
        table[f"h_{k + 1}"] = [row[k] for row in hazards]
    return FoldResult(
        SURVIVAL,
        "student",
        fold,
        table,
        None,
        edges=(100.0, 300.0),
        risk_cuts={"median": 0.5, "tertiles": [0.3, 0.6]},
    )


def test_horizons_beyond_the_last_interval_or_without_a_curve_say_why() -> None:
    one = result([50, 250, 400], [1, 1, 0], [[0.5, 0.5, 0.5], [0.1, 0.4, 0.5], [0.1, 0.1, 0.5]])
    cox = FoldResult(
        SURVIVAL, "cox_age", 0, one.patients[["patient_id", "survival_days", "event", "risk"]], None
    )
    table = calibration_table({"student": [one], "cox_age": [cox]}, [200.0, 365.0])
    late = table[(table["model"] == "student") & (table["day"] == 365)]
    assert late["reason"].tolist() == ["fold 0: day 365 lies after the last interval's edge, day 300"]
    assert table.loc[table["model"] == "cox_age", "reason"].str.contains("no survival curve").all()
    # S(200) of a hazard of 0.5 up to day 100 and 0.5 over 100 to 300, constant inside: 0.5 * sqrt(0.5)
    early = table[(table["model"] == "student") & (table["day"] == 200) & (table["group"] == 0)]
    expected = np.mean([0.5 * 0.5**0.5, 0.9 * 0.6**0.5, 0.9 * 0.9**0.5])
    assert early["predicted"].item() == pytest.approx(expected)


def test_a_patient_of_several_folds_counts_once() -> None:
    folds = [result([50, 250], [1, 0], [[0.2, 0.2, 0.5], [0.1, 0.1, 0.5]]) for _ in range(3)]
    table = calibration_table({"student": folds}, [200.0])
    assert table.loc[table["group"] == 0, "n"].tolist() == [2]


def test_numbers_at_risk_count_who_is_still_watched() -> None:
    one = result([50, 250, 400, 500], [1, 1, 0, 1], [[0.9, 0, 0], [0.8, 0, 0], [0.1, 0, 0], [0.2, 0, 0]])
    table, patients, p = risk_group_table([(one.patients, one.risk_cuts or {})], "median", [0, 100, 450])
    high, low = (table[table["group"] == name].set_index("day") for name in ("high risk", "low risk"))
    assert high["at_risk"].tolist() == [2, 1, 0] and low["at_risk"].tolist() == [2, 2, 1]
    assert high.loc[100, "event_free"] == 0.5 and p is not None and len(patients) == 4


def test_short_follow_up_takes_quartiles_and_says_so() -> None:
    days, reason = horizons([365, 730], np.array([10.0, 20, 30, 40, 300]), np.ones(5))
    assert days == [20.0, 30.0, 40.0] and "quartiles" in reason
    assert horizons([365], np.array([10.0, 900]), np.array([0.0, 0.0])) == (
        [],
        "0 events among 2 patients: no horizon can be evaluated",
    )
    assert horizons([365, 1095], np.array([10.0, 400]), np.ones(2)) == (
        [365.0],
        "days 1095 lie after the last event",
    )


def test_folds_without_an_auc_are_counted() -> None:
    fine = result([50, 250, 400], [1, 1, 0], [[0.9, 0, 0], [0.5, 0, 0], [0.1, 0, 0]])
    none = result([250, 400], [1, 0], [[0.9, 0, 0], [0.5, 0, 0]], fold=1)
    train = (np.array([60.0, 200, 350, 500]), np.array([1.0, 1, 0, 1]))
    table = auc_table({"student": [fine, none]}, {0: train, 1: train}, [100.0])
    assert (
        table["auc"].item() == 1 and table["folds"].item() == 1 and "1 of 2 folds" in table["reason"].item()
    )
