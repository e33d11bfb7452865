"""Training runs: they learn, resume exactly, repeat exactly, look at the training part only, and say what is wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import fake_cohort
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pathduet.core.errors import InputError, Problem
from pathduet.features.token_map import nested_token_rows, parents, token_rows
from pathduet.losses.cgc import coordinate_gradients
from pathduet.losses.class_weights import class_weights
from pathduet.models import MAGNIFICATIONS, Student, Teacher
from pathduet.training import (
    TrainingConfig,
    TrainingError,
    load_model,
    predict_model,
    train_model,
    write_representations,
)
from pathduet.training import train as runs
from pathduet.training.dataset import Batch, SlideDataset, SlideSample, all_finite
from pathduet.training.fold_data import fold_samples, fold_target
from pathduet.training.loop import epoch_batches, fit, learning_rate, read_ahead
from pathduet.training.objectives import Loss, StudentObjective, TeacherObjective
from pathduet.training.task_targets import ClassTarget, SurvivalTarget

ARTIFACTS = ("history.tsv", "model.json", "weights.safetensors")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> fake_cohort.FakeCohort:
    return fake_cohort.make(tmp_path_factory.mktemp("cohort"), unpaired=("p01",))


def train(
    cohort: fake_cohort.FakeCohort, out: Path, task: str = "diagnosis", model: str = "teacher", **changes
) -> Path:
    sources = {name: changes.pop(name) for name in ("teacher_dir", "student_dir") if name in changes}
    data = cohort.data(task, changes.pop("slides", None))
    training = TrainingConfig.start_values(
        fake_cohort.TASKS[task],
        model,
        **{"epochs": 2, "min_steps": 0, "learning_rate": 1e-3, "inner_folds": 0} | changes,
    )
    train_model(fake_cohort.to_train(task, model, training, **sources), data, out, device="cpu")
    return out


def predict(
    cohort: fake_cohort.FakeCohort,
    folder: Path,
    task: str = "diagnosis",
    part="test",
    batch_size=8,
    **changes,
):
    data = dataclasses.replace(cohort.data(task), **changes)
    return predict_model(folder, data, part, batch_size=batch_size, device="cpu")


class Trained(dict[tuple[str, str], Path]):
    """Models by task and name, each trained when first asked for, long enough to learn eight slides by heart."""

    def __init__(self, cohort: fake_cohort.FakeCohort, folder: Path) -> None:
        self.cohort, self.folder = cohort, folder

    def __missing__(self, key: tuple[str, str]) -> Path:
        task, model = key
        changes: dict[str, Any] = {"epochs": 45 if model == "student" else 30}
        if model == "distilled":
            changes |= {f"{name}_dir": self[task, name] for name in ("teacher", "student")}
        changes |= {"learning_rate": 1e-2, "weight_decay": 0.0, "batch_size": 4}
        self[key] = train(self.cohort, self.folder / task / model, task, model, **changes)
        return self[key]


@pytest.fixture(scope="module")
def trained(cohort: fake_cohort.FakeCohort, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(cohort, tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("task", ["diagnosis", pytest.param("survival", marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", ["teacher", "student", "distilled"])
def test_every_model_overfits_eight_slides(trained: dict, task: str, model: str) -> None:
    history = pd.read_csv(trained[task, model] / "history.tsv", sep="\t")
    assert history["epoch"].tolist() == list(range(1, len(history) + 1))
    assert history["task"].iloc[-1] < 0.1
    assert history["observed_probability"].iloc[-1] > 0.95


@pytest.mark.slow
def test_a_planted_signal_is_found_in_the_test_part(cohort: fake_cohort.FakeCohort, trained: dict) -> None:
    for model in ("teacher", "student", "distilled"):
        table = predict(cohort, trained["diagnosis", model]).table
        assert set(table["patient_id"]) == {"p00", "p03", "p06", "p09"} and set(table["part"]) == {"test"}
        assert (table["label"] == table["predicted"]).mean() >= 0.5
        risk = predict(cohort, trained["survival", model], "survival").table
        assert np.corrcoef(risk["risk"], risk["survival_days"])[0, 1] < -0.5, "higher risk = shorter life"


def test_predictions_are_complete_and_consistent(cohort: fake_cohort.FakeCohort, trained: dict) -> None:
    found = predict(cohort, trained["diagnosis", "teacher"], part=("train", "test", "external"))
    table = found.table
    assert "p01" not in set(table["patient_id"]), "a teacher needs expression"
    assert table["slide_id"].is_monotonic_increasing and (table["fold"] == 0).all()
    assert table.groupby("part")["patient_id"].nunique().to_dict() == {"external": 2, "test": 4, "train": 7}
    classes = [name[2:] for name in table.columns if name.startswith("p_")]
    for prefix in ("p", "p10", "p20"):
        assert np.allclose(table[[f"{prefix}_{name}" for name in classes]].sum(axis=1), 1)
    both = [table[[f"{prefix}_{c}" for c in classes]].to_numpy() for prefix in ("p10", "p20")]
    assert np.allclose(table[[f"p_{c}" for c in classes]], np.mean(both, axis=0))
    surer = np.where(both[1].max(axis=1) > both[0].max(axis=1), "20x", "10x")
    assert surer.tolist() == table["expert"].tolist()
    assert [classes[i] for i in np.mean(both, axis=0).argmax(axis=1)] == table["predicted"].tolist()
    assert {m: x.shape for m, x in found.representations.items()} == dict.fromkeys(
        MAGNIFICATIONS, (len(table), 32)
    )
    survival = predict(cohort, trained["survival", "student"], "survival", part="external").table
    hazards = survival[["h_1", "h_2", "h_3"]].to_numpy()
    assert np.allclose(survival["risk"], -np.cumprod(1 - hazards, axis=1).sum(axis=1))
    assert set(survival["patient_id"]) == {"x0", "x1"}


def test_a_slide_is_predicted_alike_whatever_else_is_in_the_batch(
    cohort: fake_cohort.FakeCohort, trained: dict
) -> None:
    for model in ("teacher", "student"):
        whole = predict(cohort, trained["diagnosis", model], batch_size=8).table
        single = predict(cohort, trained["diagnosis", model], batch_size=1).table
        columns = [name for name in whole if name.startswith("p_")]
        assert np.allclose(whole[columns], single[columns], atol=1e-5)


def test_unlabelled_slides_are_predicted_but_not_trained_on(
    cohort: fake_cohort.FakeCohort, trained: dict, tmp_path: Path
) -> None:
    labels = fake_cohort.without_label(cohort.diagnosis, ["p00", "p02"])
    table = predict(cohort, trained["diagnosis", "student"], labels=labels).table
    assert table.loc[table["patient_id"] == "p00", "label"].isna().all()
    incomplete = dataclasses.replace(cohort, diagnosis=labels)
    record = json.loads((train(incomplete, tmp_path, model="student") / "model.json").read_text())
    assert record["training_part"] == {
        "patients": 7, "slides": 7, "patients_without_slides": 0, "slides_without_label": 1,
        "slides_without_expression": 0, "slides_paired": 0, "slides_taught_without_label": 0, "epoch_items": 7,
    }  # fmt: skip


def test_the_test_part_and_the_external_cohort_do_not_touch_the_model(
    cohort: fake_cohort.FakeCohort, tmp_path: Path
) -> None:
    survival = cohort.survival.copy()
    hidden = ["p00", "p03", "p06", "p09", "x0", "x1"]
    survival.loc[hidden, "survival_days"] = 3.0
    other = dataclasses.replace(
        cohort, survival=survival, slides=cohort.slides[~cohort.slides["patient_id"].isin(hidden[:2])]
    )
    one, two = train(cohort, tmp_path / "a", "survival"), train(other, tmp_path / "b", "survival")
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in ARTIFACTS)


@pytest.mark.parametrize("model", ["teacher", "student", "distilled"])
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    cohort: fake_cohort.FakeCohort, trained: dict, tmp_path: Path, model: str
) -> None:
    more = {"teacher_dir": trained["diagnosis", "teacher"]} if model == "distilled" else {}
    torch.manual_seed(1)
    one = train(cohort, tmp_path / "a", model=model, **more)
    torch.manual_seed(2)
    two = train(cohort, tmp_path / "b", model=model, **more)
    other = train(cohort, tmp_path / "c", model=model, seed=7, **more)
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in ARTIFACTS)
    assert (one / ARTIFACTS[2]).read_bytes() != (other / ARTIFACTS[2]).read_bytes()
    assert sorted(path.name for path in one.iterdir()) == sorted([*ARTIFACTS, "cost.json"])


@pytest.fixture
def saves_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathduet.training.loop.SAVE_EVERY", 0)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.usefixtures("saves_every_epoch")
@pytest.mark.parametrize("model", ["teacher", "student", "distilled"])
@pytest.mark.parametrize("batches", [3, 5])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    cohort: fake_cohort.FakeCohort,
    trained: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    batches: int,
) -> None:
    config = dataclasses.replace(fake_cohort.SMALL, dropout=0.3)
    monkeypatch.setattr(fake_cohort, "SMALL", config)
    more: dict = {"epochs": 4, "batch_size": 4}
    if model == "distilled":
        more["teacher_dir"] = train(cohort, tmp_path / "teacher", epochs=1)
    whole = train(cohort, tmp_path / "whole", model=model, **more)

    read, seen = SlideDataset.batch, []

    def dies(self: SlideDataset, indices: list[int]) -> Batch:
        seen.append(indices)
        if len(seen) > batches + (2 if model == "distilled" else 0):
            raise Killed
        return read(self, indices)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(SlideDataset, "batch", dies)
        train(cohort, tmp_path / "broken", model=model, **more)
    assert sorted(path.name for path in (tmp_path / "broken").glob("[!.]*")) == ["checkpoint.safetensors"]
    resumed = train(cohort, tmp_path / "broken", model=model, **more)
    assert all((whole / name).read_bytes() == (resumed / name).read_bytes() for name in ARTIFACTS)


@pytest.mark.usefixtures("saves_every_epoch")
def test_a_checkpoint_of_other_settings_is_ignored(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = runs._write
    monkeypatch.setattr(runs, "_write", lambda *_: None)  # leaves the checkpoint of epoch 1 of 2 behind
    train(cohort, tmp_path / "a", weight_decay=0.5)
    monkeypatch.setattr(runs, "_write", saved)
    assert (tmp_path / "a" / "checkpoint.safetensors").is_file()
    one, two = train(cohort, tmp_path / "a"), train(cohort, tmp_path / "b")
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in ARTIFACTS)


@pytest.mark.usefixtures("saves_every_epoch")
@pytest.mark.slow
def test_a_damaged_checkpoint_is_not_gone_on_from(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = runs._write
    monkeypatch.setattr(runs, "_write", lambda *_: None)  # leaves the checkpoint of epoch 1 of 2 behind
    train(cohort, tmp_path / "a")
    monkeypatch.setattr(runs, "_write", saved)
    checkpoint = tmp_path / "a" / "checkpoint.safetensors"
    whole, other = checkpoint.read_bytes(), train(cohort, tmp_path / "b")
    for name, damaged in {
        "bit": whole[:-1] + bytes([whole[-1] ^ 1]),
        "end": whole[:1000],
        "empty": b"",
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(checkpoint.with_name(f".{checkpoint.name}.sha256"), folder)
        (folder / checkpoint.name).write_bytes(damaged)
        one = train(cohort, folder)
        assert all((one / file).read_bytes() == (other / file).read_bytes() for file in ARTIFACTS)
        assert not list(folder.glob(".*"))


@pytest.mark.slow
def test_a_compiled_training_gives_the_same_model(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced as for a GPU, but run by torch itself: generating code takes minutes."""
    compile_module, compiled = torch.nn.Module.compile, []

    def traced(network: torch.nn.Module) -> None:
        compiled.append(type(network))
        compile_module(network, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    one, two = train(cohort, tmp_path / "a"), train(cohort, tmp_path / "b", compile=True)
    assert compiled == [Teacher]
    assert (one / "weights.safetensors").read_bytes() == (two / "weights.safetensors").read_bytes()


def slide_dataset(cohort: fake_cohort.FakeCohort, task: str = "diagnosis", **changes) -> SlideDataset:
    from pathduet.expression.fold_matrix import load

    outcome = fold_target(fake_cohort.TASKS[task], cohort.labels(task), cohort.folds, 0)
    cases = fold_samples(cohort.slides, cohort.labels(task), cohort.folds, 0, outcome)
    paired = [case for case in cases if case.part == "train" and case.patient_id != "p01"]
    return SlideDataset(paired, fake_cohort.SMALL, load(cohort.expression), **changes)


def make_teacher() -> Teacher:
    torch.manual_seed(0)
    return Teacher(fake_cohort.SMALL, fake_cohort.FEATURES, fake_cohort.GENES, 4)


def test_accumulated_batches_equal_one_large_batch(cohort: fake_cohort.FakeCohort) -> None:
    dataset, outcome = slide_dataset(cohort), ClassTarget(("a", "b", "c", "d"))
    histories = []
    for size, accumulation in ((6, 1), (3, 2)):
        torch.manual_seed(0)
        model = Student(fake_cohort.SMALL, fake_cohort.FEATURES, 4)
        config = TrainingConfig(epochs=3, batch_size=size, accumulation=accumulation, learning_rate=1e-3)
        histories.append(
            fit(model, StudentObjective(outcome, config), dataset, config, device=torch.device("cpu"))
        )
    for one, other in zip(*histories, strict=True):
        assert [one[name] for name in ("loss", "gradient_norm")] == pytest.approx(
            [other[name] for name in ("loss", "gradient_norm")], rel=1e-3
        )


def test_coordination_leaves_no_conflict_between_the_classifiers_blocks(
    cohort: fake_cohort.FakeCohort,
) -> None:
    dataset, outcome = slide_dataset(cohort), ClassTarget(("a", "b", "c", "d"))
    conflicts = []
    for seed in range(10):
        torch.manual_seed(seed)
        teacher = Teacher(fake_cohort.SMALL, fake_cohort.FEATURES, fake_cohort.GENES, 4)
        objective = TeacherObjective(outcome, TrainingConfig(cgc=True))
        batch = dataset.batch(range(4))
        objective.loss(teacher, batch).total.backward()
        before = {m: teacher.expert(m).weight.grad.clone() for m in MAGNIFICATIONS}
        bias = {m: teacher.expert(m).bias.grad.clone() for m in MAGNIFICATIONS}
        conflicts.append(objective.coordinate(teacher))
        for m in MAGNIFICATIONS:
            after, product = teacher.expert(m).weight.grad, (before[m][:, :16] * before[m][:, 16:]).sum()
            assert torch.equal(teacher.expert(m).bias.grad, bias[m])
            if product >= 0:
                assert torch.equal(after, before[m])
            else:
                cosine = torch.cosine_similarity(after[:, :16].flatten(), after[:, 16:].flatten(), dim=0)
                assert abs(cosine) < 1e-5
                unchanged = [torch.equal(after[:, s], before[m][:, s]) for s in (slice(0, 16), slice(16, 32))]
                assert sorted(unchanged) == [False, True], (
                    "one gradient is projected, the more confident one stays"
                )
    assert any(conflicts), "no conflict in any of ten starts: nothing was tested"


def test_coordination_of_what_the_branches_share_adds_up_to_the_plain_gradient_and_ends_conflicts(
    cohort: fake_cohort.FakeCohort,
) -> None:
    dataset, outcome = slide_dataset(cohort), ClassTarget(("a", "b", "c", "d"))
    batches = [dataset.batch(range(3)), dataset.batch(range(3, len(dataset)))]  # accumulated
    seen = []
    for seed in range(6):
        torch.manual_seed(seed)
        teacher = make_teacher()  # without dropout
        gradients: dict[tuple[str, str], torch.Tensor] = {}
        for scope in ("classifier", "shared"):
            objective = TeacherObjective(outcome, TrainingConfig(cgc=True, cgc_scope=scope, lambda_level=0.0))
            teacher.zero_grad()
            for batch in batches:
                objective.loss(teacher, batch).total.backward()
            if scope == "shared":
                block = teacher.patch_tokens("10x")
                parameters = list(block.parameters())
                asked = [
                    torch.cat([
                        torch.stack(found).sum(0).flatten()
                        for found in zip(*(
                            torch.autograd.grad(one.tokens, parameters, one.read[s].grad, retain_graph=True)
                            for one in objective._shared["10x"]
                        ), strict=True)
                    ])
                    for s in fake_cohort.GENES
                ]  # fmt: skip
                sure = torch.stack(objective._confidence["10x"]).sum(dim=0)
            rate = objective.coordinate(teacher)
            gradients[scope, "all"] = torch.cat(
                [x.grad.flatten() for x in teacher.patch_tokens("10x").parameters()]
            )
        plain = torch.stack(asked).sum(dim=0)
        assert torch.allclose(plain, gradients["classifier", "all"], atol=1e-5)
        expected = torch.stack(coordinate_gradients(asked, sure)).sum(dim=0)
        assert torch.allclose(gradients["shared", "all"], expected, atol=1e-6)
        conflict = bool(torch.dot(*asked) < 0)
        assert torch.equal(expected, plain) != conflict and (rate > 0 or not conflict)
        seen.append(conflict)
    assert any(seen), "no conflict: nothing was tested"
    assert not objective._shared


@pytest.mark.parametrize("outcome", [ClassTarget(("a", "b", "c", "d")), SurvivalTarget((1.0, 2.0, 3.0))])
def test_confidence_is_what_each_block_alone_gives_to_the_observed_outcome(
    cohort: fake_cohort.FakeCohort, outcome: ClassTarget | SurvivalTarget
) -> None:
    dataset, teacher = slide_dataset(cohort), make_teacher().eval()
    objective, batch = TeacherObjective(outcome, TrainingConfig(cgc=True)), dataset.batch(range(5))
    output = teacher(batch.patches["10x"], batch.patches["20x"], batch.genes)
    objective.loss(teacher, batch)
    layer = teacher.expert("10x")
    for s, block in enumerate((slice(0, 16), slice(16, 32))):
        logits = output.representation["10x"][:, block] @ layer.weight[:, block].T + layer.bias / 2
        if isinstance(outcome, ClassTarget):
            expected = sum(logits[b].softmax(0)[batch.label[b]] for b in range(5))
        else:
            expected = 0.0
            for b in range(5):
                h, t = logits[b].sigmoid(), int(batch.label[b])
                expected += (1 - h[:t]).prod() * (h[t] if batch.event[b] else 1 - h[t])
        assert float(objective._confidence["10x"][0][s]) == pytest.approx(expected.item(), rel=1e-5)


def test_switches_of_coordination_and_consistency(cohort: fake_cohort.FakeCohort, tmp_path: Path) -> None:
    off = pd.read_csv(train(cohort, tmp_path / "off", cgc=False, igc=False) / "history.tsv", sep="\t")
    on = pd.read_csv(train(cohort, tmp_path / "on", cgc=True) / "history.tsv", sep="\t")
    assert {"dev", "conflict_rate"} <= set(on) and not {"dev", "conflict_rate"} & set(off)
    assert on["conflict_rate"].between(0, 1).all() and (on["dev"] > 0).all()
    assert np.allclose(on["loss"], on["task"] + on["dev"] + on["level"])


@pytest.mark.slow
def test_distillation_pulls_the_student_to_the_teacher(
    cohort: fake_cohort.FakeCohort, trained: dict, tmp_path: Path
) -> None:
    teacher = trained["diagnosis", "teacher"]
    common = {
        "teacher_dir": teacher,
        "student_dir": trained["diagnosis", "student"],
        "epochs": 30,
        "learning_rate": 1e-2,
    }
    distances = []
    truth = predict(cohort, teacher, part="train")
    for weight in (0.0, 10.0):
        folder = train(cohort, tmp_path / f"{weight}", model="distilled", w_mse=weight, w_kl=weight, **common)
        found = predict(cohort, folder, part="train")
        rows = found.table["slide_id"].isin(truth.table["slide_id"]).to_numpy()
        distances.append(np.mean((found.representations["10x"][rows] - truth.representations["10x"]) ** 2))
    assert distances[1] < 0.5 * distances[0]


def test_distillation_starts_from_the_student_that_is_given(
    cohort: fake_cohort.FakeCohort, trained: dict, tmp_path: Path
) -> None:
    frozen = {"teacher_dir": trained["diagnosis", "teacher"], "epochs": 1, "learning_rate": 1e-12}
    student = trained["diagnosis", "student"]
    warm = train(cohort, tmp_path / "warm", model="distilled", student_dir=student, **frozen)
    fresh = train(cohort, tmp_path / "fresh", model="distilled", **frozen)
    learned, description, _ = load_model(student)
    evidence = json.loads((warm / "model.json").read_text())["order_evidence"]
    assert set(evidence) == set(description.config.experts)
    for m in description.config.experts:  # the expression may have exchanged the prototypes
        if evidence[m] < 0:
            learned.reorder(m, (1, 0))
    for folder, same in ((warm, True), (fresh, False)):
        found = load_model(folder)[0].state_dict()
        kept = {k: value for k, value in learned.state_dict().items() if not k.startswith("order.")}
        assert all(torch.allclose(found[k], value) for k, value in kept.items()) == same


def test_slides_without_expression_are_distilled_on_the_task_only(
    cohort: fake_cohort.FakeCohort, trained: dict, tmp_path: Path
) -> None:
    common = {"teacher_dir": trained["diagnosis", "teacher"], "student_dir": trained["diagnosis", "student"]}
    folder = train(cohort, tmp_path / "all", model="distilled", **common)
    record = json.loads((folder / "model.json").read_text())
    assert record["training_part"]["slides"] == 8 and record["training_part"]["slides_paired"] == 7
    alone = cohort.slides[cohort.slides["patient_id"].isin(["p01"])]
    history = pd.read_csv(
        train(cohort, tmp_path / "one", model="distilled", slides=alone, **common) / "history.tsv", sep="\t"
    )
    assert (history[["mse", "kl", "order"]] == 0).all(axis=None) and (history["task"] > 0).all()


def test_a_loss_that_is_not_finite_names_the_slides(cohort: fake_cohort.FakeCohort) -> None:
    dataset = slide_dataset(cohort)
    row = dataset.expression[2]
    assert row is not None
    row["tumor"][0] = torch.nan
    config = TrainingConfig(epochs=1, batch_size=1)
    objective = TeacherObjective(ClassTarget(("a", "b", "c", "d")), config)
    with pytest.raises(
        TrainingError, match=f"not finite in epoch 1, at slides {dataset.samples[2].slide_id};"
    ):
        fit(make_teacher(), objective, dataset, config, device=torch.device("cpu"))


def test_a_gradient_that_is_not_finite_is_refused(cohort: fake_cohort.FakeCohort) -> None:
    class Roots:
        def loss(self, model: nn.Module, batch: Batch) -> Loss:
            total = (next(model.parameters()).sum() * 0).sqrt()  # 0, with an infinite slope
            return Loss(total, {}, torch.zeros(1))

        def coordinate(self, model: nn.Module) -> None:
            return None

    with pytest.raises(TrainingError, match="gradient"):
        fit(
            nn.Linear(2, 2),
            Roots(),
            slide_dataset(cohort),
            TrainingConfig(epochs=1),
            device=torch.device("cpu"),
        )


def test_learning_rate_rises_linearly_then_falls_as_a_cosine_to_zero() -> None:
    config = TrainingConfig(learning_rate=1.0, warmup_fraction=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1.0 and rates[55] == pytest.approx(0.5) and 0 < rates[-1] < 0.001
    assert learning_rate(0, 1, dataclasses.replace(config, warmup_fraction=0.0)) == 1.0


def test_epochs_visit_every_slide_once_in_an_order_of_their_own() -> None:
    config = TrainingConfig(batch_size=4)
    orders = [
        [i for batch in epoch_batches([[i] for i in range(10)], 10, config, epoch) for i in batch]
        for epoch in range(3)
    ]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1] and orders[0] == [
        i for batch in epoch_batches([[i] for i in range(10)], 10, config, 0) for i in batch
    ]


def test_a_patient_with_many_slides_counts_no_more_than_one_with_one() -> None:
    patients = [[0], [1, 2, 3, 4, 5], [6, 7], [8]]
    config = TrainingConfig(batch_size=4)
    drawn = [i for epoch in range(40) for batch in epoch_batches(patients, 9, config, epoch) for i in batch]
    assert len(drawn) == 40 * 9
    counts = np.bincount(drawn)
    assert [sum(counts[i] for i in slides) for slides in patients] == [90] * 4
    assert counts[1:6].tolist() == [18] * 5 and counts[6:8].tolist() == [45] * 2


class Recorder:
    """Items that note when they are read; one of them cannot be."""

    def __init__(self, broken: int = -1) -> None:
        self.read: list[list[int]] = []
        self.broken = broken

    def __len__(self) -> int:
        return 9

    def batch(self, indices, /) -> list[int]:
        self.read.append(list(indices))
        if self.broken in indices:
            raise InputError([Problem("slide s7", "unreadable", "extract it again")])
        return list(indices)


@pytest.mark.parametrize(("fewest", "rows"), [(0, 2), (3, 2), (9, 3)])
def test_a_small_cohort_is_trained_for_more_epochs_until_there_are_enough_steps(
    fewest: int, rows: int
) -> None:
    class Items:
        patients: ClassVar = [[i] for i in range(10)]

        def __len__(self) -> int:
            return 10

        def batch(self, indices: Any, /) -> Any:
            batch = SimpleNamespace(slide_ids=tuple(map(str, indices)), x=torch.ones(len(indices), 1))
            batch.to = lambda device: batch
            return batch

    class Objective:
        def loss(self, model: Any, batch: Any) -> Loss:
            answer = model(batch.x).square().mean()
            return Loss(answer, {"task": answer}, answer.detach().expand(len(batch.x)))

        def coordinate(self, model: Any) -> None:
            return None

    config = TrainingConfig(epochs=2, min_steps=fewest, batch_size=3)  # four steps an epoch
    history = fit(torch.nn.Linear(1, 1), Objective(), Items(), config, device=torch.device("cpu"))
    assert len(history) == rows
    assert history[-1]["learning_rate"] < config.learning_rate / 10  # the schedule ends where training does


def test_reading_ahead_keeps_the_order_and_is_one_batch_ahead() -> None:
    items, plan = Recorder(), [[3, 1], [2], [0, 4]]
    found = []
    for batch in read_ahead(items, plan):
        found.append(batch)
        assert len(items.read) <= len(found) + 1, "no more than one batch waits in memory"
    assert found == items.read == plan
    assert list(read_ahead(items, [])) == []


def test_what_cannot_be_read_ahead_stops_the_training_when_its_turn_comes() -> None:
    batches = read_ahead(Recorder(broken=7), [[0], [7], [1]])
    assert next(batches) == [0]
    with pytest.raises(InputError, match="s7"):
        next(batches)


def test_items_are_the_token_maps_of_the_files(cohort: fake_cohort.FakeCohort) -> None:
    dataset = slide_dataset(cohort)
    batch = dataset.batch([3, 0])
    for b, i in enumerate((3, 0)):
        with h5py.File(dataset.samples[i].features) as file:
            grids = [file[m]["grid"][:] for m in MAGNIFICATIONS]
            parent = parents(*((grid + 0.5) * size for grid, size in zip(grids, (448, 224), strict=True)))
            maps = (token_rows(grids[0], 16), nested_token_rows(*grids, parent, 16))
            for m, rows in zip(MAGNIFICATIONS, maps, strict=True):
                expected = torch.from_numpy(file[m]["features"][:]).float()[torch.from_numpy(rows)]
                assert torch.equal(batch.patches[m][b], expected)
                assert batch.repeats[m][b] == np.bincount(rows).max()
    assert batch.repeats["10x"].tolist() == [3, 3]  # 16 of 7


def test_the_cache_keeps_to_its_limit_and_changes_nothing(cohort: fake_cohort.FakeCohort) -> None:
    roomy, tight, none = slide_dataset(cohort), slide_dataset(cohort), slide_dataset(cohort, cache_mib=0)
    tight.cache.limit = 700
    for i in (0, 1, 2, 0, 5, 1):
        batches = [dataset.batch([i]).patches["20x"] for dataset in (roomy, tight, none)]
        assert torch.equal(batches[0], batches[1]) and torch.equal(batches[0], batches[2])
        assert tight.cache.size == sum(tiles.nbytes for tiles in tight.cache._tiles.values()) <= 700
    assert len(roomy.cache) == 8 and len(tight.cache) > 0 and len(none.cache) == 0


def test_feature_moments_equal_numpys(cohort: fake_cohort.FakeCohort) -> None:
    dataset = slide_dataset(cohort)
    mean, sd = dataset.feature_moments()["10x"]
    tiles = []
    for case in dataset.samples:
        with h5py.File(case.features) as file:
            tiles.append(file["10x"]["features"][:].astype(float))
    stacked = np.concatenate(tiles)  # all slides have the same number of tiles here
    assert np.allclose(mean, stacked.mean(axis=0), atol=1e-3) and np.allclose(
        sd, stacked.std(axis=0), atol=1e-3
    )


def test_mixed_encoders_are_refused_naming_the_slide(cohort: fake_cohort.FakeCohort, tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    fake_cohort.write_features(path, np.random.default_rng(0), 0, weights_sha256="b" * 64)
    slides = cohort.slides.copy()
    slides.loc[slides["slide_id"] == "p02-s0", "features"] = path
    with pytest.raises(InputError, match=r"weights_sha256: 'aaa.* in 6 .*; 'bbb.* in 1 \(p02-s0\)"):
        train(cohort, tmp_path / "run", slides=slides)


def test_features_of_another_encoder_are_refused_at_inference(
    cohort: fake_cohort.FakeCohort, trained: dict, tmp_path: Path
) -> None:
    path = tmp_path / "other.h5"
    fake_cohort.write_features(path, np.random.default_rng(0), 0, encoder="resnet50")
    slides = cohort.slides[cohort.slides["patient_id"] == "x0"].assign(features=path)
    with pytest.raises(InputError, match="encoder: trained on 'random', features have 'resnet50'"):
        predict(cohort, trained["diagnosis", "student"], slides=slides, part="external")


def test_features_that_are_not_finite_or_missing_are_refused(
    cohort: fake_cohort.FakeCohort, tmp_path: Path
) -> None:
    path = tmp_path / "bad.h5"
    fake_cohort.write_features(path, np.random.default_rng(0), 0)
    with h5py.File(path, "a") as file:
        file["10x"]["features"][3, 1] = np.nan
    case = SlideSample("s1", "p1", "internal", "train", path)
    with pytest.raises(InputError, match="slide s1, 10x: values that are not finite"):
        SlideDataset([case], fake_cohort.SMALL).batch([0])
    with h5py.File(path, "a") as file:
        del file["20x"]["features"]
    with pytest.raises(InputError, match="slide s1, 20x"):
        SlideDataset([case], fake_cohort.SMALL).tiles(0, "20x")
    path.unlink()
    with pytest.raises(InputError, match=r"slide s1: no features\.h5"):
        SlideDataset([case], fake_cohort.SMALL).encoder()


def test_every_float16_is_told_finite_or_not_as_numpy_does() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for values in np.array_split(every, 64):
        assert all_finite(values) == np.isfinite(values).all()
    finite = every[np.isfinite(every)]
    assert all_finite(finite)
    for value in every[~np.isfinite(every)][::97]:
        assert not all_finite(np.append(finite[:5], value))
    assert all_finite(np.ones(3)) and not all_finite(np.array([1.0, np.inf], dtype=np.float32))


def test_a_teacher_of_another_fold_task_or_kind_is_refused(
    cohort: fake_cohort.FakeCohort, trained: dict, tmp_path: Path
) -> None:
    for folder, found in (
        (trained["survival", "teacher"], "task: survival, not diagnosis"),
        (trained["diagnosis", "student"], "a student"),
    ):
        with pytest.raises(InputError, match=found):
            train(cohort, tmp_path, model="distilled", teacher_dir=folder)
    with pytest.raises(ValueError, match="teacher_dir"):
        train(cohort, tmp_path, model="distilled")


def test_weights_that_do_not_belong_to_the_description_are_refused(trained: dict, tmp_path: Path) -> None:
    for name, source in (("weights.safetensors", "student"), ("model.json", "distilled")):
        (tmp_path / name).write_bytes((trained["diagnosis", source] / name).read_bytes())
    with pytest.raises(InputError, match="do not belong together"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="train it first"):
        load_model(tmp_path / "nothing")


@pytest.mark.slow
def test_loading_a_model_does_not_load_the_compiler_of_torch(trained: dict) -> None:
    load = "import sys; from pathduet.training.model_folder import load_model; load_model(sys.argv[1])"
    command = [sys.executable, "-c", f"{load}; sys.exit('torch._dynamo' in sys.modules)"]
    for model in ("teacher", "student"):
        assert subprocess.run([*command, str(trained["diagnosis", model])]).returncode == 0


def test_an_empty_training_part_is_refused(cohort: fake_cohort.FakeCohort, tmp_path: Path) -> None:
    only_test = cohort.slides[cohort.slides["patient_id"] == "p00"]
    with pytest.raises(InputError, match="diagnosis teacher fold 0, training part: 0 slides"):
        train(cohort, tmp_path, slides=only_test)
    unpaired = cohort.slides[cohort.slides["patient_id"] == "p01"]
    with pytest.raises(InputError, match="1 slides, 1 with a label, 0 of them usable"):
        train(cohort, tmp_path, slides=unpaired)


def test_class_weights_are_inverse_frequencies_with_mean_one() -> None:
    labels = [0, 0, 0, 1, 3, 3]
    weights = class_weights(labels, 4)
    assert weights.tolist() == pytest.approx([6 / (3 * 3), 6 / 3, 0, 6 / (3 * 2)])
    assert sum(float(weights[label]) for label in labels) / 6 == pytest.approx(1)


def test_representations_are_written_as_they_are(
    cohort: fake_cohort.FakeCohort, trained: dict, tmp_path: Path
) -> None:
    found = predict(cohort, trained["diagnosis", "student"])
    write_representations(tmp_path / "a.h5", found)
    write_representations(tmp_path / "b.h5", found)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["slide_id"].asstr()[:].tolist() == found.table["slide_id"].tolist()
        assert np.array_equal(file["20x"][:], found.representations["20x"])


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"w_kl": -1.0},
        {"warmup_fraction": 1.5},
        {"clip_norm": float("nan")},
    ],
)
def test_impossible_training_settings_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="training"):
        TrainingConfig(**change)


def test_start_values_by_task_and_model() -> None:
    tasks = fake_cohort.TASKS
    assert TrainingConfig.start_values(tasks["diagnosis"], "teacher").weight_decay == 0.01
    assert TrainingConfig.start_values(tasks["survival"], "teacher").weight_decay == 0.1
    assert TrainingConfig.start_values(tasks["size"], "distilled", epochs=3).epochs == 3
