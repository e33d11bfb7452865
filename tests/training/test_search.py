"""The search of settings: the same trials for everyone, nothing of the test part, resumable."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pathduet.training import search as searching
from pathduet.training.config import TrainingConfig
from pathduet.training.networks import ModelSettings, choose
from pathduet.training.search import candidates, inner_folds, observed_loss, search_settings, with_candidate
from pathduet.training.task_targets import ClassTarget, RegressionTarget, SurvivalTarget
from training import fake_cohort

SPACE = {
    "trials": 3, "inner_fraction": 0.3, "learning_rate": [1e-4, 1e-2], "weight_decay": [1e-3, 0.1], "dropout": [0.0, 0.5],
}  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> fake_cohort.FakeCohort:
    return fake_cohort.make(tmp_path_factory.mktemp("cohort"), patients=18)


def run(cohort: fake_cohort.FakeCohort, out: Path, base: str = "abmil", task: str = "diagnosis") -> Any:
    model = fake_cohort.to_train(task, base, TrainingConfig(epochs=1, batch_size=8))
    return search_settings(model, cohort.data(task, bins=4), SPACE, out)


def test_candidates_start_with_the_configured_settings_and_stay_in_range() -> None:
    many = candidates({**SPACE, "trials": 200}, 1, "survival", 0)
    assert len(many) == 200 and many[0] == searching.Candidate()
    for name in ("learning_rate", "weight_decay", "dropout"):
        low, high = SPACE[name]  # type: ignore[misc]
        drawn = np.array([getattr(c, name) for c in many[1:]])
        assert drawn.min() >= low * 0.999 and drawn.max() <= high * 1.001
        assert len(set(drawn)) > 100
    # evenly on a log scale: about half below the geometric mean
    below = np.mean([c.learning_rate < 1e-3 for c in many[1:]])  # type: ignore[operator]
    assert 0.35 < below < 0.65


def test_every_model_tries_the_same_settings_on_the_same_patients(
    cohort: fake_cohort.FakeCohort, tmp_path: Path
) -> None:
    tables = []
    for base in ("abmil", "snn", "student"):
        _, record = run(cohort, tmp_path / base, base)
        tables.append(pd.read_csv(tmp_path / base / "search.tsv", sep="\t"))
        assert record["trials"] == 3 and record["failed_trials"] == 0
    for table in tables[1:]:
        tried = ["learning_rate", "weight_decay"]
        pd.testing.assert_frame_equal(table[tried], tables[0][tried])
        assert list(table["dropout"][1:]) == list(tables[0]["dropout"][1:])


def test_the_search_never_opens_a_test_patients_slide_nor_needs_their_labels(tmp_path: Path) -> None:
    one = fake_cohort.make(tmp_path / "one", patients=18)
    first, _ = run(one, tmp_path / "a")
    tested = set(one.folds.loc[one.folds["fold"] == 0, "patient_id"])
    gone = one.slides[one.slides["patient_id"].isin(tested) | (one.slides["cohort"] != "internal")]
    for path in gone["features"]:
        Path(path).unlink()
    hidden = dataclasses.replace(one, diagnosis=fake_cohort.without_label(one.diagnosis, sorted(tested)))
    second, _ = run(hidden, tmp_path / "b")
    assert first == second
    losses = [pd.read_csv(tmp_path / name / "search.tsv", sep="\t")["loss"] for name in ("a", "b")]
    assert list(losses[0]) == list(losses[1])


def test_the_inner_split_is_by_patient_stratified_and_inside_the_training_part(
    cohort: fake_cohort.FakeCohort,
) -> None:
    def split(task: str) -> pd.Series:
        known = fake_cohort.TASKS[task]
        found = inner_folds(cohort.folds, cohort.labels(task), known, 0, 0.3, 42)
        return found.set_index("patient_id")["fold"]

    inner = split("diagnosis")
    training = cohort.folds.loc[cohort.folds["fold"] != 0, "patient_id"]
    assert sorted(inner.index) == sorted(training)
    held = inner.index[inner == 0]
    classes = cohort.diagnosis.loc[training, "label"]
    for name, count in classes.value_counts().items():
        mine = int((cohort.diagnosis.loc[held, "label"] == name).sum())
        assert (1 <= mine < count) if count > 1 else mine == 0
    assert inner.equals(split("diagnosis"))
    values = cohort.size.loc[training, "value"].rank(method="first")
    by_value = split("size")
    quarters = ((values[by_value.index[by_value == 0]] - 1) * 4 // len(training)).value_counts()
    assert sorted(quarters.index) == [0, 1, 2, 3] and (quarters == 1).all(), "alike from small to large"


def test_the_best_trial_is_chosen_and_a_failing_one_is_recorded(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.5, RuntimeError("too steep"), 0.5])

    def trial(*args: Any, **kwargs: Any) -> float:
        value = next(losses)
        if isinstance(value, Exception):
            raise value
        return value

    monkeypatch.setattr(searching, "_trial", trial)
    chosen, record = run(cohort, tmp_path)
    table = pd.read_csv(tmp_path / "search.tsv", sep="\t")
    assert list(table["chosen"]) == [False, False, True]
    assert table["failure"][1] == "RuntimeError: too steep" and np.isnan(table["loss"][1])
    assert chosen.training.learning_rate == table["learning_rate"][2] == record["chosen"]["learning_rate"]
    assert chosen.network.settings["dropout"] == table["dropout"][2]


def test_an_interrupted_search_goes_on_after_its_last_trial(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def trial(*args: Any, **kwargs: Any) -> float:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return float(len(calls))

    monkeypatch.setattr(searching, "_trial", trial)
    with pytest.raises(KeyboardInterrupt):
        run(cohort, tmp_path)
    assert not (tmp_path / "search.tsv").exists()
    run(cohort, tmp_path)
    assert len(calls) == 4  # one, the interrupted one, and the two that were left
    assert list(pd.read_csv(tmp_path / "search.tsv", sep="\t")["loss"]) == [1.0, 3.0, 4.0]
    assert not (tmp_path / "search").exists()


def test_the_loss_of_what_was_observed_is_that_of_the_definition() -> None:
    survival = pd.DataFrame(
        {"patient_id": ["a", "b"], "bin": [1, 1], "event": [1.0, 0.0], "h_1": [0.2, 0.2], "h_2": [0.5, 0.5]}
    )
    died, survived = 0.8 * 0.5, 0.8 * 0.5
    intervals = SurvivalTarget((1.0,))
    assert observed_loss(survival, intervals) == pytest.approx(-np.log([died, survived]).mean())
    first = survival.assign(bin=0)
    assert observed_loss(first, intervals) == pytest.approx(-np.log([0.2, 0.8]).mean())
    classes = pd.DataFrame(
        {
            "patient_id": ["a", "a", "b"],
            "label": ["x", "x", "y"],
            "p_x": [0.9, 0.7, 0.4],
            "p_y": [0.1, 0.3, 0.6],
        }
    )
    named = ClassTarget(("x", "y"))
    assert observed_loss(classes, named) == pytest.approx(-np.log([0.8, 0.6]).mean())
    assert np.isnan(observed_loss(classes.assign(label=None), named))
    values = pd.DataFrame(
        {"patient_id": ["a", "a", "b"], "value": [4.0, 4.0, 9.0], "prediction": [5.0, 7.0, 7.0]}
    )
    density = RegressionTarget(0.0, 2.0)
    assert observed_loss(values, density) == pytest.approx(((2 / 2) ** 2 + (2 / 2) ** 2) / 2 / 2)
    assert np.isnan(observed_loss(values.assign(value=np.nan), density))


def test_a_network_without_dropout_keeps_having_none(tmp_path: Path) -> None:
    plain = choose(
        "mine", {"width": 3}, {"file": "x.py", "network": "X", "sha256": "", "learns_from": ["slides"]}
    )
    settings = ModelSettings(plain, fake_cohort.SMALL, TrainingConfig())
    changed = with_candidate(settings, searching.Candidate(1e-3, 0.1, 0.4))
    assert changed.network.settings == {"width": 3} and changed.dropout is None
    assert changed.training.learning_rate == 1e-3
    assert json.dumps(changed.network.record())
