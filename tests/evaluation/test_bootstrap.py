"""The bootstrap: its vectorised replicates are the metrics, its interval covers, its draws are by patient."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_1samp

from pathduet.cohort.tasks import Task
from pathduet.evaluation.bootstrap import (
    classification_replicates,
    draw,
    interval,
    mean_interval,
    mean_replicates,
    patient_counts,
    replicates,
    survival_replicates,
)
from pathduet.evaluation.classification_metrics import CLASSIFICATION_METRICS, classification_scores
from pathduet.evaluation.paired import paired_differences
from pathduet.evaluation.resampled_t_test import corrected_resampled_p
from pathduet.evaluation.survival_metrics import survival_scores

SURVIVAL = Task.of("survival", {"kind": "survival", "time": "days", "event": "event"})


def survival_table(rng: np.random.Generator, n: int, noise: float = 1.0, slides: int = 1) -> pd.DataFrame:
    """Patients whose risk is a noisy function of their death time."""
    time = rng.exponential(900, n).round() + 1
    table = pd.DataFrame(
        {"patient_id": [f"p{i:04d}" for i in range(n)], "cohort": "c", "part": "test", "survival_days": time,
         "event": (rng.random(n) < 0.7).astype(float), "risk": -np.log(time) + noise * rng.normal(size=n)}
    )  # fmt: skip
    table = table.loc[table.index.repeat(slides)].reset_index(drop=True)
    table["slide_id"] = [f"s{i}" for i in range(len(table))]
    return table


def test_a_weighted_replicate_is_the_metric_of_the_repeated_rows():
    rng = np.random.default_rng(3)
    n, classes = 30, ["a", "b", "c"]
    truth, probability = rng.integers(0, 3, n), rng.dirichlet(np.ones(3), n).round(1)
    weight = patient_counts(n, 6, rng)
    # One replicate has lost a class altogether.
    weight[0, truth == 2] = 0
    found = classification_replicates(truth, probability, weight)
    for r, counts in enumerate(weight):
        rows = np.repeat(np.arange(n), counts.astype(int))
        expected = classification_scores(truth[rows], probability[rows], classes).values
        for name in CLASSIFICATION_METRICS:
            assert found[name][r] == pytest.approx(expected[name]), name


def test_a_weighted_c_index_is_that_of_the_repeated_patients():
    rng = np.random.default_rng(5)
    n = 40
    time, event = rng.integers(1, 15, n).astype(float), rng.integers(0, 2, n).astype(float)
    risk = rng.integers(0, 6, n).astype(float)
    weight = patient_counts(n, 8, rng)
    found = survival_replicates(time, event, risk, weight)["c_index"]
    for r, counts in enumerate(weight):
        rows = np.repeat(np.arange(n), counts.astype(int))
        assert found[r] == pytest.approx(
            survival_scores(time[rows], event[rows], risk[rows]).values["c_index"]
        )


def test_replicates_without_a_comparable_pair_are_undefined_not_zero():
    found = survival_replicates(
        np.array([1.0, 2.0]), np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.eye(2) * 2
    )
    assert np.isnan(found["c_index"]).all()


@pytest.mark.slow
def test_the_interval_covers_the_true_c_index_about_as_often_as_it_says():
    truth = survival_scores(*_columns(survival_table(np.random.default_rng(0), 6000))).values["c_index"]
    covered = 0
    for trial in range(80):
        rng = np.random.default_rng([1, trial])
        parts = [survival_table(rng, 50) for _ in range(3)]
        low, high = mean_interval([[part] for part in parts], SURVIVAL, "patient", resamples=200, seed=trial)[
            "c_index"
        ]
        covered += low <= truth <= high
    # A 95 % interval: at least 88 % of 80 trials is what chance and the bootstrap's bias allow.
    assert covered >= 0.88 * 80


def _columns(table: pd.DataFrame) -> list[np.ndarray]:
    return [table[name].to_numpy(dtype=float) for name in ("survival_days", "event", "risk")]


def test_the_same_seed_gives_the_same_interval_and_the_order_of_rows_does_not_matter():
    table = survival_table(np.random.default_rng(2), 40, slides=2)
    settings = {"task": SURVIVAL, "unit": "patient", "resamples": 100}
    first = mean_interval([[table]], **settings, seed=9)
    assert mean_interval([[table.sample(frac=1, random_state=1)]], **settings, seed=9) == first
    assert mean_interval([[table]], **settings, seed=10) != first


def test_slides_follow_their_patient():
    table = survival_table(np.random.default_rng(4), 12, slides=3)
    counts = draw([table], SURVIVAL, 5, 0)
    assert list(counts.columns) == sorted(set(table["patient_id"]))
    assert (counts.sum(axis=1) == 12).all()
    # Identical slides: three times every patient changes no share of pairs but those within a patient, which tie in time.
    by_slide = replicates(table, SURVIVAL, "slide", counts)["c_index"]
    by_patient = replicates(table, SURVIVAL, "patient", counts)["c_index"]
    np.testing.assert_allclose(by_slide, by_patient)


def test_folds_are_averaged_not_pooled():
    rng = np.random.default_rng(8)
    parts = [survival_table(rng, 60, noise=0.5) for _ in range(2)]
    # Another fold's model with a shifted scale: pooled ranks would break, the mean over folds must not.
    parts[1]["risk"] += 100
    low, high = mean_interval([[part] for part in parts], SURVIVAL, "patient", resamples=300, seed=0)[
        "c_index"
    ]
    mean = np.mean([survival_scores(*_columns(part)).values["c_index"] for part in parts])
    assert low < mean < high
    pooled = survival_scores(*_columns(pd.concat(parts))).values["c_index"]
    assert pooled < low


def test_an_interval_needs_half_of_the_replicates_to_be_defined():
    values = np.array([0.2, 0.4, np.nan, np.nan, np.nan])
    assert interval(values) is None
    low, high = interval(np.array([0.2, 0.4, 0.6, np.nan]))
    assert 0.2 <= low < high <= 0.6


def test_the_gain_is_the_difference_on_the_common_patients_and_its_draws_are_paired():
    rng = np.random.default_rng(6)
    ours = survival_table(rng, 80, noise=0.6)
    theirs = ours.assign(risk=ours["risk"] + 0.3 * rng.normal(size=len(ours)), slide_id="")
    settings = {"task": SURVIVAL, "unit": "patient", "seed": 0}
    differences, n_patients = paired_differences([[ours.iloc[5:]]], [[theirs]], **settings, resamples=300)
    found = differences["c_index"]
    a, b = (survival_scores(*_columns(t.iloc[5:])).values["c_index"] for t in (ours, theirs))
    assert found.value == pytest.approx(a - b) and found.n_patients == n_patients == 75
    alone = mean_interval([[ours]], SURVIVAL, "patient", resamples=300, seed=0)["c_index"]
    assert found.high - found.low < alone[1] - alone[0]
    same = paired_differences([[ours]], [[ours]], **settings, resamples=50)[0]["c_index"]
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, None)  # one training a fold has no p


def test_a_shared_draw_serves_every_model_of_the_external_cohort():
    table = survival_table(np.random.default_rng(7), 30)
    settings = {"task": SURVIVAL, "unit": "patient", "resamples": 200, "seed": 1}
    together = mean_interval([[table], [table], [table]], **settings, shared=True)["c_index"]
    # Three times the same model on the same patients is one model; independent draws would make it look surer.
    apart = mean_interval([[table], [table], [table]], **settings)["c_index"]
    assert together[1] - together[0] > 1.3 * (apart[1] - apart[0])


def test_trainings_of_a_fold_share_its_draw_and_their_metrics_are_averaged():
    rng = np.random.default_rng(11)
    first, other = survival_table(rng, 40), survival_table(rng, 40)
    again = first.assign(risk=first["risk"] + rng.normal(size=40))
    settings = {"task": SURVIVAL, "unit": "patient", "resamples": 100, "seed": 1}
    alike = mean_interval([[first, first, first], [other] * 3], **settings)["c_index"]
    assert alike == pytest.approx(mean_interval([[first], [other]], **settings)["c_index"])
    counts = draw([first], SURVIVAL, 5, 0)
    one, two = (replicates(table, SURVIVAL, "patient", counts)["c_index"] for table in (first, again))
    both = mean_replicates([first, again], SURVIVAL, "patient", counts)["c_index"]
    np.testing.assert_allclose(both, (one + two) / 2)


def test_the_p_over_folds_and_trainings_is_the_corrected_resampled_t_test():
    rng = np.random.default_rng(12)
    parts = [survival_table(rng, 40) for _ in range(3)]
    ours, theirs = (
        [[part.assign(risk=part["risk"] + noise * rng.normal(size=40)) for _ in range(3)] for part in parts]
        for noise in (0.5, 2.0)
    )
    settings = {"task": SURVIVAL, "unit": "patient", "resamples": 0, "seed": 0}
    found = paired_differences(ours, theirs, **settings)[0]["c_index"]
    scored = [
        [[survival_scores(*_columns(t)).values["c_index"] for t in fold] for fold in model]
        for model in (ours, theirs)
    ]
    each = np.subtract(*map(np.array, scored))
    assert found.value == pytest.approx(each.mean())
    assert found.p == pytest.approx(corrected_resampled_p(each))
    once = paired_differences(ours, [fold[:1] for fold in theirs], **settings)[0]["c_index"]
    against = np.array(scored[0]) - np.array(scored[1])[:, :1]
    assert once.p == pytest.approx(corrected_resampled_p(against))
    two = paired_differences([f[:2] for f in ours], [f[:2] for f in theirs], **settings)[0]["c_index"]
    assert two.p is None


def test_the_corrected_resampled_t_test_by_hand():
    # mean 0.03, squared deviations 4 + 1 + 0 + 0 + 1 + 4 = 10 (1e-4), variance 2e-4; (1/6 + 1/2) of it is 1.3333e-4, its root 0.011547;
    # t = 2.5981 with 5 degrees of freedom. Three folds: n_test / n_train = 1/2.
    differences = np.array([[0.01, 0.02], [0.03, 0.03], [0.04, 0.05]])
    assert corrected_resampled_p(differences) == pytest.approx(2 * t.sf(0.03 / 1.3333333e-4**0.5, 5))
    uncorrected = ttest_1samp(differences.ravel(), 0).pvalue
    assert uncorrected < 0.01 < corrected_resampled_p(differences)
    assert corrected_resampled_p(np.zeros((3, 3))) == 1
    for without in (np.full((3, 3), 0.1), differences[:1], np.array([[0.1], [np.nan]])):
        assert corrected_resampled_p(without) is None
