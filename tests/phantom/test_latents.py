"""Patients of the phantom: labels, survival and what can be learnt from the programmes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pathduet.cohort.labels import task_labels
from pathduet.cohort.tasks import tasks_of
from pathduet.cohort.who_labels import DIAGNOSES, GRADES
from pathduet.core.config import resolve
from pathduet.phantom.latents import Effects, simulate_patients


@pytest.fixture(scope="module")
def many() -> pd.DataFrame:
    return simulate_patients(400, "phantom", seed=3)


@pytest.mark.parametrize("n", [12, 13, 36])
@pytest.mark.parametrize("seed", [0, 1, 2, 99])
def test_every_diagnosis_and_grade_has_three_patients(n: int, seed: int) -> None:
    patients = simulate_patients(n, "phantom", seed=seed)
    for column, classes in (("diagnosis", DIAGNOSES), ("grade", GRADES)):
        counts = patients[column].value_counts()
        assert set(counts.index) == set(classes)
        assert counts.min() >= (3 if n < 36 else 5)


@pytest.mark.parametrize("seed", range(5))
def test_who_2021_rules_derive_the_true_diagnosis_from_the_facts(seed: int) -> None:
    patients = simulate_patients(60, "phantom", seed=seed)
    derived = task_labels(patients.drop(columns="diagnosis"), tasks_of(resolve({}))["diagnosis"])
    assert (derived["label"] == patients["diagnosis"]).all()
    assert (derived["reason"] == "").all()


def test_some_grade_4_astrocytomas_are_so_by_cdkn2a_alone(many: pd.DataFrame) -> None:
    fourth = many[many["diagnosis"] == "astrocytoma_grade4"]
    by_deletion = fourth[fourth["grade"] != "G4"]
    assert 0 < len(by_deletion) < len(fourth) / 2
    assert (by_deletion["cdkn2a"] == -2).all()


def test_seed_and_cohort_name_decide_everything() -> None:
    a, same = simulate_patients(20, "phantom", seed=5), simulate_patients(20, "phantom", seed=5)
    pd.testing.assert_frame_equal(a, same)
    for other in (simulate_patients(20, "phantom", seed=6), simulate_patients(20, "elsewhere", seed=5)):
        assert not np.allclose(a["z_tumor"], other["z_tumor"])


def test_programmes_are_standard_normal_and_independent(many: pd.DataFrame) -> None:
    for column in ("z_tumor", "z_tme"):
        assert abs(many[column].mean()) < 0.02
        assert many[column].std() == pytest.approx(1.0, abs=0.05)
    assert abs(np.corrcoef(many["z_tumor"], many["z_tme"])[0, 1]) < 4 / np.sqrt(400)


def test_cox_regression_recovers_the_hazard(many: pd.DataFrame) -> None:
    from lifelines import CoxPHFitter

    columns = ["z_tumor", "z_tme", "age_years", "survival_days", "event"]
    fit = CoxPHFitter().fit(many[columns], "survival_days", "event")
    truth = {"z_tumor": Effects().tumor, "z_tme": Effects().tme, "age_years": Effects().age / 10}
    for name, value in truth.items():
        assert abs(fit.params_[name] - value) < 4 * fit.standard_errors_[name]
    assert fit.params_["z_tumor"] > 0.7 and fit.params_["z_tme"] > 0.7


def test_true_hazard_ranks_survival_well_and_age_hardly(many: pd.DataFrame) -> None:
    from lifelines.utils import concordance_index

    def c_index(risk: pd.Series) -> float:
        return concordance_index(many["survival_days"], -risk, many["event"])

    assert 0.76 < c_index(many["log_hazard"]) < 0.85
    assert 0.48 < c_index(many["age_years"]) < 0.62
    # Both programmes are needed.
    assert c_index(many["log_hazard"]) > max(c_index(many["z_tumor"]), c_index(many["z_tme"])) + 0.05


def test_programmes_without_effect_say_nothing_about_survival() -> None:
    from lifelines.utils import concordance_index

    none = simulate_patients(400, "phantom", seed=3, effects=Effects(tumor=0.0, tme=0.0, age=0.0))
    for column in ("z_tumor", "z_tme"):
        c = concordance_index(none["survival_days"], -none[column], none["event"])
        assert c == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("seed", range(6))
def test_four_in_ten_are_censored_and_times_are_whole_days(seed: int) -> None:
    patients = simulate_patients(36, "phantom", seed=seed)
    assert 0.35 <= 1 - patients["event"].mean() <= 0.45
    assert patients["survival_days"].dtype.kind == "i"
    assert patients["survival_days"].min() >= 5
    assert 200 < patients["survival_days"].median() < 1500


def test_neither_programme_alone_gives_the_diagnosis_away(many: pd.DataFrame) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    def accuracy(columns: list[str]) -> float:
        return cross_val_score(LogisticRegression(), many[columns], many["diagnosis"], cv=5).mean()

    both = accuracy(["z_tumor", "z_tme"])
    assert 0.65 < both < 0.85
    for alone in (accuracy(["z_tumor"]), accuracy(["z_tme"])):
        assert 0.35 < alone < both - 0.15


def test_a_cohort_too_small_for_the_diagnoses_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        simulate_patients(3, "phantom")
