"""Class separation: scores by hand and by scikit-learn, pictures that repeat, reasons where nothing can be said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_score

from explain import fake_folds
from pathduet.explain.embedding import (
    embed,
    embedding_tables,
    linear_hits,
    neighbour_hits,
    score_values,
    scored_rows,
    silhouettes,
    true_labels,
)
from pathduet.explain.fold_results import FoldResult, read_folds_of
from pathduet.results import Results


def test_silhouettes_by_hand() -> None:
    values = np.array([[0.0], [1.0], [10.0], [12.0]])
    found = silhouettes(values, np.array(["a", "a", "b", "b"]))
    assert found == pytest.approx([1 - 1 / 11, 1 - 1 / 10, 1 - 2 / 9.5, 1 - 2 / 11.5])


def test_a_patient_never_votes_for_itself() -> None:
    values = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    labels = np.array(["a", "a", "b", "b", "b", "a"])
    assert neighbour_hits(values, labels, 1).tolist() == [1, 1, 0, 1, 1, 0]


def test_separable_classes_are_separated_and_shuffled_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 30)
    values = rng.normal(size=(60, 40)) + 6 * (labels == "b")[:, None]
    assert linear_hits(values, labels, 0).mean() == 1
    shuffled = rng.permutation(labels)
    assert abs(linear_hits(values, shuffled, 0).mean() - 0.5) < 0.25


def test_scores_of_known_clusters_are_averaged_over_folds(tmp_path: Path) -> None:
    fake_folds.write_grading(tmp_path, "teacher", fake_folds.folds_table())
    results, reasons = read_folds_of(Results(tmp_path), fake_folds.GRADING, "teacher", [0, 1])
    assert reasons == []
    coordinates, scores = embedding_tables(
        fake_folds.GRADING, {"teacher": results}, {}, method="tsne", seed=1, resamples=50
    )
    assert len(coordinates) == 24 and set(coordinates["class"]) == {"G2", "G3", "G4"}
    mean = scores[scores["fold"] == "mean"].set_index("measure")
    by_fold = [silhouette_score(r.representation, r.patients["label"]) for r in results]
    assert mean.loc["silhouette", "value"] == pytest.approx(np.mean(by_fold))
    assert mean.loc["neighbours", "value"] == mean.loc["linear", "value"] == 1
    assert (
        mean.loc["silhouette", "ci_low"] < mean.loc["silhouette", "value"] < mean.loc["silhouette", "ci_high"]
    )
    again = embedding_tables(
        fake_folds.GRADING, {"teacher": results}, {}, method="tsne", seed=1, resamples=50
    )
    pd.testing.assert_frame_equal(coordinates, again[0])
    pd.testing.assert_frame_equal(scores, again[1])


@pytest.mark.slow
def test_umap_repeats_with_its_seed() -> None:
    values = np.random.default_rng(0).normal(size=(14, 8))
    first = embed(values, "umap", 3)
    assert first.shape == (14, 2) and np.isfinite(first).all()
    assert np.array_equal(first, embed(values, "umap", 3))


def test_lonely_classes_and_tiny_folds_say_so() -> None:
    kept, reason = scored_rows(["a", "a", "b", "b", "c", None])
    assert kept.tolist() == [True] * 4 + [False] * 2 and reason.startswith("c: one test patient only")
    kept, reason = scored_rows(["a", "a", "b"])
    assert not kept.any() and "two test patients: 1;" in reason
    with pytest.raises(ValueError, match="needs 4"):
        embed(np.zeros((3, 2)), "tsne", 0)


def test_survival_classes_leave_out_patients_censored_before_the_day() -> None:
    patients = pd.DataFrame({"patient_id": list("wxyz"), "survival_days": [100.0, 100.0, 900.0, np.nan],
                             "event": [1.0, 0.0, 0.0, 1.0]})  # fmt: skip
    result = FoldResult(fake_folds.SURVIVAL, "student", 0, patients, None, edges=(200.0, 500.0, 800.0))
    labels = ["with event", None, "event-free", None]
    assert true_labels(result) == (labels, "with event or event-free at day 500")


def test_a_patient_without_a_class_is_in_none() -> None:
    patients = pd.DataFrame({"label": pd.array(["G2", None, "G4"], dtype="string")})
    result = FoldResult(fake_folds.GRADING, "student", 0, patients, None)
    assert true_labels(result)[0] == ["G2", None, "G4"]


def test_values_are_told_apart_by_rank_and_by_a_regression() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40)
    values = np.stack([truth, rng.normal(size=40), rng.normal(size=40)], axis=1)
    found = score_values(values, [*truth[:-1], None], 0, 0, 100)
    assert found.patients == 39 and found.chance == 0
    assert found.values["linear"] > 0.8 and found.values["neighbours"] > 0.5
    low, high = np.quantile(found.draws["neighbours"], [0.025, 0.975])
    assert low < found.values["neighbours"] < high
    none = score_values(rng.normal(size=(40, 3)), list(truth), 0, 0, 0)
    assert abs(none.values["neighbours"]) < 0.5 and none.values["linear"] < 0.2
    assert score_values(values[:5], [1.0] * 5, 0, 0, 0).reason.startswith(
        "5 test patients with a value, 1 different"
    )


@pytest.mark.parametrize("slides", [True, False])
def test_a_regression_has_values_in_place_of_classes(tmp_path: Path, slides: bool) -> None:
    """Also of patients without a slide: expression-only networks predict them."""
    fake_folds.write_ki67(tmp_path, "snn", fake_folds.folds_table(), slides=slides)
    results, reasons = read_folds_of(Results(tmp_path), fake_folds.KI67, "snn", [0, 1])
    assert reasons == [] and len(results[0].representation) == 12
    coordinates, scores = embedding_tables(
        fake_folds.KI67, {"snn": results}, {}, method="tsne", seed=1, resamples=20
    )
    assert coordinates.set_index("patient_id")["value"]["P07"] == 7
    assert coordinates.set_index("patient_id")["value"]["P03"] == ""
    means = scores[scores["fold"] == "mean"].set_index("measure")
    assert list(means.index) == ["neighbours", "linear"] and set(means["classes"]) == {"ki67"}
    assert (means["value"] > 0.85).all() and means["n_patients"].tolist() == [23, 23]
