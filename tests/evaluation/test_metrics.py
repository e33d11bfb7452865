"""Metrics against definitions written out by hand, other formulas and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathduet.cohort.tasks import Task
from pathduet.core.errors import InputError
from pathduet.evaluation.classification_metrics import CLASSIFICATION_METRICS, classification_scores
from pathduet.evaluation.fold_metrics import evaluate_predictions
from pathduet.evaluation.patient_average import average_patients
from pathduet.evaluation.predictions import read_predictions
from pathduet.evaluation.survival_metrics import comparable_pairs, survival_scores

CLASSES = ["a", "b", "c"]
TYPE = Task.of("type", {"kind": "classification", "column": "type", "classes": ["a", "b"]})
SURVIVAL = Task.of("survival", {"kind": "survival", "time": "days", "event": "event"})


def mann_whitney_auc(positive: np.ndarray, score: np.ndarray) -> float:
    """Share of (positive, negative) pairs ranked right, ties half."""
    pairs = [(p, n) for p in score[positive] for n in score[~positive]]
    return float(np.mean([1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs]))


def brute_force_c_index(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> tuple[float, int]:
    """Harrell's definition, pair by pair; a death and a censoring on the same day: the censored outlived."""
    right = total = 0.0
    for i, j in itertools.permutations(range(len(time)), 2):
        if not event[i]:
            continue
        if time[i] < time[j] or (time[i] == time[j] and not event[j]):
            total += 1
            right += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    return right / total, int(total)


def test_a_hand_made_case_gives_the_values_worked_out_on_paper():
    # truth a a b b c; predicted a b b b a
    truth = np.array([0, 0, 1, 1, 2])
    p = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.1, 0.5, 0.4], [0.6, 0.1, 0.3]])
    scores = classification_scores(truth, p, CLASSES)
    assert scores.confusion == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    values = scores.values
    assert values["accuracy"] == pytest.approx(3 / 5)
    assert values["sensitivity"] == pytest.approx((1 / 2 + 2 / 2 + 0) / 3)
    # true negatives over negatives: a 2/3, b 2/3, c 4/4
    assert values["specificity"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    # F1: a 2*1/(2*1+1+1), b 2*2/(2*2+1), c 0
    assert values["f1"] == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)
    # AUC: a: (.8 beats .2 .1 .6; .3 beats .2 .1) 5/6; b: (.7 > all 3; .5 > .1 .1, not .6) 5/6;
    # c: (.3 beats .1 .1 .1, not .4) 3/4
    assert values["auc"] == pytest.approx((5 / 6 + 5 / 6 + 3 / 4) / 3)
    assert scores.notes == {}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 40))
def test_auc_is_the_mann_whitney_statistic_averaged_over_classes(seed, n):
    rng = np.random.default_rng(seed)
    truth = np.concatenate([[0, 1, 2], rng.integers(0, 3, n)])
    probability = rng.dirichlet(np.ones(3), len(truth)).round(1)
    expected = np.mean([mann_whitney_auc(truth == k, probability[:, k]) for k in range(3)])
    assert classification_scores(truth, probability, CLASSES).values["auc"] == pytest.approx(expected)


def test_a_class_without_test_cases_is_left_out_of_the_averages_and_named():
    truth = np.array([0, 0, 1, 1])
    p = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])
    scores = classification_scores(truth, p, CLASSES)
    # The last case is taken for the absent class: b is found in 1 of 2, nothing is averaged for c.
    assert scores.values["sensitivity"] == pytest.approx((1 + 1 / 2) / 2)
    assert scores.values["specificity"] == 1.0
    assert scores.values["f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert set(scores.notes) == set(CLASSIFICATION_METRICS) - {"accuracy"}
    assert all("without: c" in note for note in scores.notes.values())


def test_one_class_alone_leaves_auc_and_specificity_undefined_with_the_reason():
    scores = classification_scores(np.array([1, 1]), np.array([[0.1, 0.8, 0.1], [0.6, 0.3, 0.1]]), CLASSES)
    assert scores.values["auc"] is None and scores.values["specificity"] is None
    assert scores.values["accuracy"] == 0.5 and scores.values["sensitivity"] == 0.5
    assert "all 2 cases are b" in scores.notes["auc"]


def test_a_prediction_that_is_not_finite_makes_no_number():
    p = np.array([[0.9, 0.1], [np.nan, np.nan]])
    scores = classification_scores(np.array([0, 1]), p, ["a", "b"])
    assert all(scores.values[name] is None for name in CLASSIFICATION_METRICS)
    assert "1 of 2" in scores.notes["accuracy"]
    survival = survival_scores(np.array([1.0, 2.0]), np.array([1.0, 1.0]), np.array([np.inf, 0.0]))
    assert survival.values["c_index"] is None and "not finite" in survival.notes["c_index"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 25))
def test_c_index_equals_brute_force_with_tied_times_risks_and_censoring(seed, n):
    rng = np.random.default_rng(seed)
    time, event = rng.integers(1, 8, n).astype(float), rng.integers(0, 2, n).astype(float)
    risk = rng.integers(0, 5, n).astype(float)
    scores = survival_scores(time, event, risk)
    if not comparable_pairs(time, event).any():
        assert scores.values == {"c_index": None, "n_comparable": 0}
        return
    expected, pairs = brute_force_c_index(time, event, risk)
    assert scores.values["c_index"] == pytest.approx(expected)
    assert scores.values["n_comparable"] == pairs


def test_higher_risk_means_earlier_death():
    time, event = np.array([10.0, 20.0, 30.0]), np.ones(3)
    assert survival_scores(time, event, np.array([3.0, 2.0, 1.0])).values["c_index"] == 1.0
    assert survival_scores(time, event, np.array([1.0, 2.0, 3.0])).values["c_index"] == 0.0


def test_without_a_comparable_pair_there_is_a_reason_instead_of_an_error():
    scores = survival_scores(np.array([5.0, 9.0]), np.zeros(2), np.array([1.0, 0.0]))
    assert scores.values == {"c_index": None, "n_comparable": 0}
    assert "no comparable pair among 2 cases with 0 events" in scores.notes["c_index"]


def table(**columns: object) -> pd.DataFrame:
    base = {"cohort": "x", "part": "test", "fold": 0}
    return pd.DataFrame({**base, **columns})


def test_slides_of_a_patient_are_averaged_before_the_patient_metric():
    predictions = table(
        slide_id=["s1", "s2", "s3"], patient_id=["p", "p", "q"], label=["a", "a", "b"],
        p_a=[0.9, 0.3, 0.4], p_b=[0.1, 0.7, 0.6],
    )  # fmt: skip
    metrics = evaluate_predictions(predictions, TYPE, "teacher", 0, resamples=0)
    assert metrics["patient"]["accuracy"] == 1.0  # p: mean 0.6 for a
    assert metrics["slide"]["accuracy"] == pytest.approx(2 / 3)
    assert (metrics["n_patients"], metrics["n_slides"], metrics["unit"]) == (2, 3, "patient")


def test_patient_risk_is_the_risk_of_the_mean_hazards():
    hazards = np.array([[0.1, 0.4], [0.5, 0.2]])
    survival = np.cumprod(1 - hazards, axis=1)
    predictions = table(
        slide_id=["s1", "s2"], patient_id="p", survival_days=100.0, event=1.0, risk=-survival.sum(axis=1),
        h_1=hazards[:, 0], h_2=hazards[:, 1],
    )  # fmt: skip
    averaged = average_patients(predictions)
    assert averaged.loc[0, "risk"] == pytest.approx(-(0.7 + 0.7 * 0.7))
    assert averaged.loc[0, "h_1"] == pytest.approx(0.3)


def test_a_slide_without_a_prediction_does_not_vanish_in_its_patients_mean():
    predictions = table(
        slide_id=["s1", "s2"], patient_id="p", survival_days=9.0, event=1.0, risk=[np.nan, 1.0]
    )
    assert np.isnan(average_patients(predictions).loc[0, "risk"])


def test_slides_of_a_patient_that_contradict_each_other_are_an_error():
    predictions = table(
        slide_id=["s1", "s2"], patient_id="p", label=["a", "b"], p_a=[0.5, 0.5], p_b=[0.5, 0.5]
    )
    with pytest.raises(InputError, match="patient p, label"):
        evaluate_predictions(predictions, TYPE, "teacher", 0)


def test_training_rows_and_unlabelled_rows_are_not_scored():
    predictions = table(
        slide_id=["s1", "s2", "s3", "s4"], patient_id=["p", "q", "r", "t"], label=["a", "b", None, "a"],
        p_a=[0.9, 0.1, 0.5, 0.0], p_b=[0.1, 0.9, 0.5, 1.0],
    )  # fmt: skip
    predictions["part"] = ["test", "test", "test", "train"]
    metrics = evaluate_predictions(predictions, TYPE, "student", 1, resamples=0)
    assert metrics["patient"]["accuracy"] == 1.0 and metrics["n_labelled"]["patient"] == 2
    assert "1 of 3" in metrics["notes"]["patient.n"]


def test_a_label_that_the_model_does_not_know_is_an_error():
    predictions = table(slide_id=["s"], patient_id=["p"], label=["c"], p_a=[0.5], p_b=[0.5])
    with pytest.raises(InputError, match="c"):
        evaluate_predictions(predictions, TYPE, "teacher", 0)


def test_a_model_of_other_classes_than_the_tasks_is_refused():
    predictions = table(slide_id=["s"], patient_id=["p"], label=["a"], p_b=[0.5], p_a=[0.5])
    with pytest.raises(InputError, match="about b, a, the task's classes are a, b"):
        evaluate_predictions(predictions, TYPE, "teacher", 0)


def test_ids_that_look_like_missing_values_or_numbers_survive_the_file(tmp_path):
    path = tmp_path / "predictions.tsv"
    path.write_text("slide_id\tpatient_id\tcohort\tlabel\tp_a\nNA\t007\tnan\t\t0.5\n\t1e3\tc\tx\t\n")
    read = read_predictions(path)
    assert read["slide_id"].tolist() == ["NA", ""]
    assert read["patient_id"].tolist() == ["007", "1e3"]
    assert read["cohort"].tolist() == ["nan", "c"]
    assert read["label"].isna().tolist() == [True, False] and np.isnan(read.loc[1, "p_a"])


def test_the_paper_protocol_counts_slides_and_says_so():
    predictions = table(
        slide_id=["s1", "s2", "s3"], patient_id=["p", "p", "q"], survival_days=[5.0, 5.0, 9.0],
        event=1.0, risk=[3.0, 2.0, 1.0],
    )  # fmt: skip
    metrics = evaluate_predictions(predictions, SURVIVAL, "teacher", 0, protocol="paper", resamples=0)
    assert metrics["unit"] == "slide"
    assert metrics["slide"]["n_comparable"] == 2 and metrics["patient"]["n_comparable"] == 1


def test_several_cohorts_are_also_scored_apart():
    predictions = table(
        slide_id=list("abcd"), patient_id=list("pqrs"), survival_days=[1.0, 2.0, 1.0, 2.0], event=1.0,
        risk=[2.0, 1.0, 1.0, 2.0],
    )  # fmt: skip
    predictions["cohort"] = ["x", "x", "y", "y"]
    metrics = evaluate_predictions(predictions, SURVIVAL, "teacher", 0, resamples=0)
    assert metrics["by_cohort"]["x"]["c_index"] == 1.0 and metrics["by_cohort"]["y"]["c_index"] == 0.0
