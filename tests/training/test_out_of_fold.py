"""Distillation from teachers that have not seen the slides, and the student that trains as long without one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pathduet.catalogue import find
from pathduet.losses.class_weights import class_weights
from pathduet.training import TrainingConfig, load_model, train_model
from pathduet.training import train as runs
from pathduet.training.dataset import SlideDataset, SlideSample
from pathduet.training.fold_data import FoldData
from pathduet.training.loop import epoch_batches
from pathduet.training.objectives import TeacherTargets, student_inputs
from pathduet.training.out_of_fold import inner_data, inner_parts, join_targets
from training import fake_cohort

UNLABELLED = ("p04", "p07")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> fake_cohort.FakeCohort:
    made = fake_cohort.make(tmp_path_factory.mktemp("cohort"), patients=18, unpaired=("p01",))
    hidden = fake_cohort.without_label(made.diagnosis, UNLABELLED)
    return dataclasses.replace(made, diagnosis=hidden)


def train(cohort: fake_cohort.FakeCohort, out: Path, model: str, **changes: object) -> Path:
    sources = {name: changes.pop(name) for name in ("teacher_dir", "student_dir") if name in changes}
    changed = {"epochs": 2, "min_steps": 0, "learning_rate": 1e-2} | changes
    training = TrainingConfig.start_values(fake_cohort.TASKS["diagnosis"], find(model).role, **changed)
    train_model(
        fake_cohort.to_train("diagnosis", model, training, **sources),
        cohort.data("diagnosis"),
        out,
        device="cpu",
    )  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def sources(cohort: fake_cohort.FakeCohort, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "teacher_dir": train(cohort, folder / "teacher", "teacher", epochs=20),
        "student_dir": train(cohort, folder / "student", "student"),
    }


def test_inner_folds_divide_patients_with_a_label_in_equal_shares_of_each_class() -> None:
    labels = pd.DataFrame(
        {"label": ["a"] * 9 + ["b"] * 5 + [None], "reason": ""}, index=[f"p{i}" for i in range(15)]
    )
    labels.loc["p14", "reason"] = "missing"
    task = fake_cohort.TASKS["diagnosis"]
    found = inner_parts(labels, task, list(labels.index), 3, seed=1)
    assert set(found) == set(labels.index) - {"p14"}
    table = pd.crosstab(labels["label"].loc[list(found)], pd.Series(found))
    assert (table.max(axis=1) - table.min(axis=1) <= 1).all() and np.ptp(list(table.sum())) <= 1
    assert found == inner_parts(labels, task, list(labels.index)[::-1], 3, seed=1)
    assert found != inner_parts(labels, task, list(labels.index), 3, seed=2)


def test_who_has_seen_a_patient_does_not_answer_for_it_and_all_answer_for_those_nobody_has_seen(
    tmp_path: Path,
) -> None:
    slides = [SlideSample(f"s{i}", p, "c", "train", tmp_path) for i, p in enumerate(("a", "b", "b", "new"))]
    dataset = SlideDataset(slides, fake_cohort.SMALL)
    answers = [
        TeacherTargets({"10x": torch.full((4, 2), v)}, {"10x": torch.full((4, 3), 10 * v)})
        for v in (1.0, 2.0)
    ]
    found = join_targets(answers, dataset, {"a": 1, "b": 0})
    assert found.logits["10x"][:, 0].tolist() == [2.0, 1.0, 1.0, 1.5]
    assert found.representation["10x"][:, 2].tolist() == [20.0, 10.0, 10.0, 15.0]


def test_the_test_part_and_the_held_patients_are_not_trained_on(cohort: fake_cohort.FakeCohort) -> None:
    data = cohort.data("diagnosis")
    parts = data.folds.set_index("patient_id")["fold"].astype(int)
    training = [p for p in parts.index if parts[p] != 0]
    inner = inner_parts(data.labels, data.task, training, 3, seed=0)
    for part in range(3):
        found = inner_data(data, 0, inner, part)
        assert set(found.slides["patient_id"]) <= set(training)
        held = {p for p, k in inner.items() if k == part}
        samples = found.samples(0, data.target(0), "train")
        assert held and not held & {s.patient_id for s in samples}
        assert {s.patient_id for s in samples if s.label >= 0} == set(inner) - held


@pytest.mark.slow
def test_targets_are_those_of_teachers_that_have_not_seen_the_patients(
    cohort: fake_cohort.FakeCohort, sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[set[str]] = []
    kept: list[TeacherTargets] = []
    plain, joined = runs.train_model, runs.join_targets

    def note(model: object, data: FoldData, *args: object, **kwargs: object) -> None:
        trained.append({s.patient_id for s in data.samples(0, model.target, "train") if s.label >= 0})  # type: ignore[attr-defined]
        plain(model, data, *args, **kwargs)  # type: ignore[arg-type]

    def keep(answers: list[TeacherTargets], dataset: SlideDataset, inner: dict[str, int]) -> TeacherTargets:
        found = joined(answers, dataset, inner)
        for i, sample in enumerate(dataset.samples):
            if sample.patient_id in inner:
                assert sample.patient_id not in trained[inner[sample.patient_id]]
                own = answers[inner[sample.patient_id]].logits["20x"][i]
                assert torch.equal(found.logits["20x"][i], own)
        kept.append(found)
        return found

    monkeypatch.setattr(runs, "train_model", note)
    monkeypatch.setattr(runs, "join_targets", keep)
    folder = tmp_path / "distilled"
    task = fake_cohort.TASKS["diagnosis"]
    training = TrainingConfig.start_values(task, "distilled", epochs=2, min_steps=0, inner_folds=3)
    plain(
        fake_cohort.to_train("diagnosis", "distilled", training, **sources),
        cohort.data("diagnosis"),
        folder,
        device="cpu",
    )
    assert len(trained) == 3 and len(kept) == 1 and not (folder / "teachers").exists()
    record = json.loads((folder / "model.json").read_text())
    assert record["inner_teachers"]["folds"] == 3
    counts = record["training_part"]
    assert counts["slides_taught_without_label"] == counts["slides_without_label"] > 0
    assert counts["epoch_items"] == counts["slides"]


def test_slides_without_a_label_change_what_is_learned_but_not_the_task_loss_or_class_weights(
    cohort: fake_cohort.FakeCohort, sources: dict[str, Path], tmp_path: Path
) -> None:
    common = {**sources, "inner_folds": 0, "batch_size": 32, "epochs": 1, "learning_rate": 1e-9}
    history = pd.read_csv(train(cohort, tmp_path / "all", "distilled", **common) / "history.tsv", sep="\t")
    network, description, record = load_model(tmp_path / "all")
    assert record["training_part"]["slides_taught_without_label"] > 0
    assert np.isfinite(history[["task", "kl", "mse", "observed_probability"]]).all(axis=None)
    data, expression = cohort.data("diagnosis"), cohort.data("diagnosis").expression()
    used = [
        sample
        for sample in data.samples(0, data.target(0), "train")
        if sample.label >= 0 or expression.row_for(sample.patient_id, sample.slide_id) is not None
    ]
    dataset = SlideDataset(used, description.config)
    training = TrainingConfig(**record["training_config"])
    (drawn,) = epoch_batches(dataset.patients, record["training_part"]["epoch_items"], training, 0)
    known = [i for i in drawn if used[i].label >= 0]
    assert 0 < len(known) < len(drawn)
    batch = dataset.batch(known)
    weights = class_weights(
        list({s.patient_id: s.label for s in used if s.label >= 0}.values()), 4
    ) if training.class_weights else None  # fmt: skip
    with torch.no_grad():
        output = network(*student_inputs(batch))
        expected = sum(data.target(0).loss(x, batch.observed, weights) for x in output.logits.values())
    assert history["task"][0] == pytest.approx(float(expected), rel=1e-4)


def test_the_longer_student_takes_as_many_steps_as_the_distilled_and_starts_where_it_starts(
    cohort: fake_cohort.FakeCohort, sources: dict[str, Path], tmp_path: Path
) -> None:
    longer = train(cohort, tmp_path / "longer", "student_longer", student_dir=sources["student_dir"])
    taught = train(cohort, tmp_path / "taught", "distilled", inner_folds=0, **sources)
    records = [json.loads((folder / "model.json").read_text()) for folder in (longer, taught)]
    assert records[0]["training_part"]["epoch_items"] == records[1]["training_part"]["epoch_items"]
    assert records[0]["training_config"] | {"inner_folds": 0} == records[1]["training_config"]
    frozen = train(
        cohort, tmp_path / "frozen", "student_longer", student_dir=sources["student_dir"], learning_rate=1e-12
    )
    one, other = (load_model(folder)[0].state_dict() for folder in (frozen, sources["student_dir"]))
    assert all(torch.allclose(one[k], other[k]) for k in other)
    assert set(pd.read_csv(longer / "history.tsv", sep="\t")) & {"mse", "kl", "order"} == set()


def test_a_finished_teacher_of_a_killed_job_is_not_trained_again(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train(cohort, tmp_path / "teacher", "teacher")
    monkeypatch.setattr(runs, "fit", lambda *_, **__: pytest.fail("trained again"))
    train(cohort, folder, "teacher")
