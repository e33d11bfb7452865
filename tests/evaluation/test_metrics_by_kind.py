"""Every metric against scikit-learn and SciPy on random data, and its weighted replicates against repeated rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sklearn

from pathduet.cohort.tasks import Task
from pathduet.evaluation.bootstrap import classification_replicates, patient_counts, regression_replicates
from pathduet.evaluation.calibration import regression_calibration
from pathduet.evaluation.classification_metrics import classification_metrics, classification_scores
from pathduet.evaluation.metrics import METRIC_NAMES, metric_names, score
from pathduet.evaluation.regression_metrics import REGRESSION_METRICS, regression_scores

STEPS = ["I", "II", "III", "IV"]


def task(**entry: object) -> Task:
    return Task.of("t", {"column": "t", **entry})


def drawn(seed: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth, and rounded probabilities (so that there are ties) that know something of it."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    alpha = 1 + 2 * np.eye(k)[truth]
    return truth, np.array([rng.dirichlet(a) for a in alpha]).round(2)


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_two_classes_are_scikit_learns_of_the_positive_one(seed, positive):
    truth, probability = drawn(seed, 40, 2)
    predicted = probability.argmax(axis=1)
    happened, called, stated = truth == positive, predicted == positive, probability[:, positive]
    found = classification_scores(truth, probability, ["no", "yes"], positive).values
    assert found == pytest.approx({
        "auc": sklearn.roc_auc_score(happened, stated),
        "average_precision": sklearn.average_precision_score(happened, stated),
        "accuracy": sklearn.accuracy_score(truth, predicted),
        "balanced_accuracy": sklearn.balanced_accuracy_score(truth, predicted),
        "sensitivity": sklearn.recall_score(happened, called),
        "specificity": sklearn.recall_score(~happened, ~called),
        "f1": sklearn.f1_score(happened, called),
    })  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_ordered_classes_are_scikit_learns_macro_averages(seed):
    truth, probability = drawn(seed, 60, 4)
    predicted = probability.argmax(axis=1)
    found = classification_scores(truth, probability, STEPS, ordered=True).values
    one_hot = np.eye(4)[truth]
    assert found["auc"] == pytest.approx(np.mean([sklearn.roc_auc_score(one_hot[:, k], probability[:, k]) for k in range(4)]))  # fmt: skip
    assert found["average_precision"] == pytest.approx(
        sklearn.average_precision_score(one_hot, probability, average="macro")
    )
    assert found["balanced_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(truth, predicted))
    assert found["sensitivity"] == found["balanced_accuracy"]
    assert found["f1"] == pytest.approx(sklearn.f1_score(truth, predicted, average="macro"))
    assert found["quadratic_kappa"] == pytest.approx(
        sklearn.cohen_kappa_score(truth, predicted, weights="quadratic")
    )


def test_kappa_knows_the_order_of_the_classes():
    truth = np.array([0, 1, 2, 3])
    near, far = np.eye(4)[[1, 1, 2, 3]], np.eye(4)[[3, 1, 2, 3]]
    values = [classification_scores(truth, p, STEPS, ordered=True).values for p in (near, far)]
    assert values[0]["accuracy"] == values[1]["accuracy"]
    assert values[0]["quadratic_kappa"] > values[1]["quadratic_kappa"]


def test_two_classes_of_which_one_has_no_case_keep_what_is_defined():
    probability = np.array([[0.2, 0.8], [0.7, 0.3]])
    scores = classification_scores(np.array([1, 1]), probability, ["no", "yes"], positive=1)
    assert scores.values["sensitivity"] == 0.5 and scores.values["f1"] == pytest.approx(2 / 3)
    undefined = {name for name, value in scores.values.items() if value is None}
    assert undefined == {"auc", "average_precision", "balanced_accuracy", "specificity"} == set(scores.notes)
    assert "all 2 cases are yes" in scores.notes["auc"]
    negatives = classification_scores(np.array([0, 0]), probability, ["no", "yes"], positive=1)
    assert negatives.values["f1"] is None and negatives.values["specificity"] == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_values_are_scikit_learns_and_scipys(seed):
    rng = np.random.default_rng(seed)
    truth = rng.gamma(2, 10, 30).round()
    prediction = (truth + rng.normal(0, 15, 30)).round(-1)
    assert regression_scores(truth, prediction).values == pytest.approx({
        "r2": sklearn.r2_score(truth, prediction),
        "spearman": stats.spearmanr(truth, prediction).statistic,
        "mae": sklearn.mean_absolute_error(truth, prediction),
    })  # fmt: skip


def test_values_without_spread_leave_r2_and_ranks_undefined_with_the_reason():
    flat = regression_scores(np.array([3.0, 3.0]), np.array([1.0, 2.0]))
    assert flat.values == {"r2": None, "spearman": None, "mae": 1.5}
    assert "all 2 cases have the same value" in flat.notes["r2"]
    constant = regression_scores(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    assert constant.values["r2"] == 0 and constant.values["spearman"] is None
    assert "predicted alike" in constant.notes["spearman"]
    broken = regression_scores(np.array([1.0, 3.0]), np.array([np.nan, 2.0]))
    assert set(broken.values.values()) == {None} and "1 of 2" in broken.notes["mae"]


@pytest.mark.parametrize("positive", [None, 1])
def test_replicates_of_classes_are_the_metrics_of_the_repeated_rows(positive):
    k = 4 if positive is None else 2
    truth, probability = drawn(11, 30, k)
    weight = patient_counts(30, 8, np.random.default_rng(1))
    weight[0, truth == 1] = 0
    weight[1, truth != 1] = 0
    found = classification_replicates(truth, probability, weight, positive, ordered=True)
    for r, counts in enumerate(weight):
        rows = np.repeat(np.arange(30), counts.astype(int))
        expected = classification_scores(truth[rows], probability[rows], STEPS[:k], positive, True).values
        for name in classification_metrics(ordered=True):
            value = np.nan if expected[name] is None else expected[name]
            assert found[name][r] == pytest.approx(value, nan_ok=True), (r, name)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_replicates_of_values_are_the_metrics_of_the_repeated_rows(offset):
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 9, 25) / 10 + offset
    prediction = (truth + rng.normal(0, 0.3, 25)).round(1)
    weight = patient_counts(25, 8, rng)
    weight[0, truth != truth[0]] = 0  # one value alone
    found = regression_replicates(truth, prediction, weight)
    for r, counts in enumerate(weight):
        rows = np.repeat(np.arange(25), counts.astype(int))
        expected = regression_scores(truth[rows], prediction[rows]).values
        for name in REGRESSION_METRICS:
            value = np.nan if expected[name] is None else expected[name]
            assert found[name][r] == pytest.approx(value, nan_ok=True), (r, name)


def test_each_kind_of_task_has_its_metrics():
    steps = task(kind="classification", classes=STEPS, ordered=True)
    assert metric_names(steps)[0] == "auc" and metric_names(steps)[-1] == "quadratic_kappa"
    binary = task(kind="classification", classes=["no", "yes"])
    assert "quadratic_kappa" not in metric_names(binary)
    survival, value = task(kind="survival", time="t", event="e"), task(kind="regression")
    assert metric_names(survival) == ("c_index",) and metric_names(value) == ("r2", "spearman", "mae")
    for one in (steps, binary, survival, value):
        assert set(metric_names(one)) <= set(METRIC_NAMES)


def test_the_positive_class_is_the_tasks():
    truth, probability = drawn(3, 30, 2)
    rows = pd.DataFrame({"label": np.array(["low", "high"])[truth], "p_low": probability[:, 0], "p_high": probability[:, 1]})  # fmt: skip
    values = [
        score(rows, task(kind="classification", classes=["low", "high"], positive=name)).values
        for name in ("low", "high")
    ]
    assert values[0]["sensitivity"] == pytest.approx(values[1]["specificity"])
    assert values[0]["sensitivity"] != values[1]["sensitivity"]


def test_calibration_of_values_finds_the_line_that_was_put_in():
    predicted = np.linspace(0, 10, 40)
    rows = pd.DataFrame({"slide_id": "", "patient_id": [f"p{i:02d}" for i in range(40)], "cohort": "c",
                         "value": 3 + 0.5 * predicted, "prediction": predicted})  # fmt: skip
    found = {(r["of"], r["measure"]): r["value"] for r in regression_calibration(rows, task(kind="regression"), "patient")}  # fmt: skip
    assert found[("all cases", "slope")] == pytest.approx(0.5)
    assert found[("all cases", "intercept")] == pytest.approx(3)
    assert found[("group 1", "predicted")] == pytest.approx(predicted[:10].mean())
    assert found[("group 4", "observed")] == pytest.approx(3 + 0.5 * predicted[30:].mean())
    few = rows.iloc[:8]
    assert {r["of"] for r in regression_calibration(few, task(kind="regression"), "patient")} == {"all cases"}
    assert regression_calibration(rows.assign(prediction=1.0), task(kind="regression"), "patient") == []
