"""Risk groups, Kaplan-Meier curves and the log-rank test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pathduet.cohort.tasks import Task
from pathduet.evaluation.fold_metrics import evaluate_predictions
from pathduet.evaluation.survival_curves import kaplan_meier, log_rank, pool_groups, risk_cuts, risk_groups

SURVIVAL = Task.of("survival", {"kind": "survival", "time": "days", "event": "event"})


def predictions(time: list[float], event: list[float], risk: list[float], part: str = "test") -> pd.DataFrame:
    n = len(time)
    return pd.DataFrame(
        {"slide_id": [f"{part}{i}" for i in range(n)], "patient_id": [f"{part}-p{i}" for i in range(n)], "cohort": "c",
         "part": part, "fold": 0, "survival_days": time, "event": event, "risk": risk}
    )  # fmt: skip


def test_cuts_come_from_the_training_part_where_its_predictions_are_known():
    test = predictions([5, 6], [1, 1], [10.0, 20.0])
    train = predictions([5, 6, 7], [1, 1, 1], [1.0, 2.0, 3.0], part="train")
    alone = evaluate_predictions(test, SURVIVAL, "teacher", 0, resamples=0)["risk_cuts"]
    both = evaluate_predictions(test, SURVIVAL, "teacher", 0, resamples=0, training=train)["risk_cuts"]
    assert (alone["source"], alone["median"]) == ("test part", 15.0)
    assert (both["source"], both["median"]) == ("training part", 2.0)


def test_a_risk_at_the_cut_belongs_to_the_lower_group_and_higher_is_worse():
    cuts = {"median": 2.0, "tertiles": [1.0, 3.0]}
    risk = np.array([0.5, 1.0, 2.0, 3.0, 9.0])
    assert risk_groups(risk, cuts, "median") == ["low risk"] * 3 + ["high risk"] * 2
    assert risk_groups(risk, cuts, "tertiles") == ["low risk"] * 2 + ["middle"] * 2 + ["high risk"]


def test_every_fold_is_cut_by_its_own_cuts_before_pooling():
    first, second = predictions([1, 9], [1, 1], [5.0, 1.0]), predictions([2, 8], [1, 1], [500.0, 100.0])
    pooled = pool_groups([(first, {"median": 3.0}), (second, {"median": 300.0})])
    assert pooled["group"].tolist() == ["high risk", "low risk", "high risk", "low risk"]


def test_the_curve_is_the_product_limit_by_hand():
    table = predictions([2, 3, 3, 5, 8], [1, 1, 0, 1, 0], [0.0] * 5).assign(group="low risk")
    (curve,) = kaplan_meier(table)
    # 5 at risk at day 2, 4 at day 3, 2 at day 5
    assert curve.at(1) == 1.0
    assert curve.at(2) == pytest.approx(4 / 5)
    assert curve.at(4) == pytest.approx(4 / 5 * 3 / 4)
    assert curve.at(9) == pytest.approx(4 / 5 * 3 / 4 * 1 / 2)
    assert (curve.n, curve.deaths, curve.censored_at.tolist()) == (5, 3, [3.0, 8.0])


def test_log_rank_equals_the_textbook_formula_for_two_groups():
    from scipy.stats import chi2

    rng = np.random.default_rng(1)
    n = 60
    group = np.repeat(["low risk", "high risk"], n // 2)
    time = rng.integers(1, 30, n) / np.where(group == "high risk", 1.7, 1.0)
    event = rng.random(n) < 0.7
    table = pd.DataFrame({"survival_days": time, "event": event * 1.0, "group": group})
    observed = expected = variance = 0.0
    for t in np.unique(time[event]):
        at_risk, here = time >= t, (time == t) & event
        total, ones, d = at_risk.sum(), (at_risk & (group == "high risk")).sum(), here.sum()
        observed += (here & (group == "high risk")).sum()
        expected += d * ones / total
        if total > 1:
            variance += d * (ones / total) * (1 - ones / total) * (total - d) / (total - 1)
    assert log_rank(table) == pytest.approx(chi2.sf((observed - expected) ** 2 / variance, 1))


def test_one_group_or_no_death_has_no_p_value():
    table = predictions([1, 2], [1, 1], [1.0, 2.0]).assign(group="low risk")
    assert log_rank(table) is None
    table = predictions([1, 2], [0, 0], [1.0, 2.0]).assign(group=["low risk", "high risk"])
    assert log_rank(table) is None


def test_no_finite_risk_has_no_cut_and_no_curve():
    cuts = risk_cuts(np.array([np.nan]))
    assert cuts == {"median": None, "tertiles": None}
    assert pool_groups([(predictions([1], [1], [np.nan]), cuts)]).empty
