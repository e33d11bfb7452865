"""The method's switches through training, distillation and prediction, from files to files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import fake_cohort
import numpy as np
import pandas as pd
import pytest
import torch

from pathduet.core.errors import InputError
from pathduet.losses.dev import dev_loss
from pathduet.models import Teacher, pool_keys
from pathduet.training import TrainingConfig, load_model, predict_model, train_model, write_representations
from pathduet.training.dataset import SlideDataset
from pathduet.training.objectives import TeacherObjective
from pathduet.training.task_targets import ClassTarget

HARD = {"epochs": 30, "learning_rate": 1e-2, "weight_decay": 0.0, "batch_size": 4, "inner_folds": 0}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> fake_cohort.FakeCohort:
    return fake_cohort.make(tmp_path_factory.mktemp("cohort"), unpaired=("p01",))


def train(
    cohort: fake_cohort.FakeCohort, out: Path, model: str, change: dict, task: str = "diagnosis", **more
) -> Path:
    sources = {name: more.pop(name) for name in ("teacher_dir", "student_dir") if name in more}
    training = TrainingConfig.start_values(fake_cohort.TASKS[task], model, **more)
    config = dataclasses.replace(fake_cohort.SMALL, **change)
    train_model(
        fake_cohort.to_train(task, model, training, config, **sources), cohort.data(task), out, device="cpu"
    )
    return out


def predict(cohort: fake_cohort.FakeCohort, folder: Path, task: str = "diagnosis"):
    return predict_model(folder, cohort.data(task), device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"attention": "plain"}, {"magnifications": "10x"}, {"magnifications": "20x"}, {"gene_input": "vector"},
        {"aggregation": "mean"},
    ],
)  # fmt: skip
def test_every_switch_learns_eight_slides_by_heart_and_is_distilled(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, change: dict
) -> None:
    teacher = train(cohort, tmp_path / "teacher", "teacher", change, **HARD)
    student = train(cohort, tmp_path / "student", "student", change, **HARD | {"epochs": 45})
    distilled = train(
        cohort, tmp_path / "distilled", "distilled", change, teacher_dir=teacher, student_dir=student, **HARD
    )
    for folder in (teacher, student, distilled):
        history = pd.read_csv(folder / "history.tsv", sep="\t")
        assert history["task"].iloc[-1] < 0.1
        assert load_model(folder)[1].config == dataclasses.replace(fake_cohort.SMALL, **change)
        found = predict(cohort, folder)
        assert np.allclose(found.table.filter(regex="^p_").sum(axis=1), 1)
        read = [change["magnifications"]] if "magnifications" in change else ["10x", "20x"]
        assert list(found.representations) == read
    history = pd.read_csv(teacher / "history.tsv", sep="\t")
    assert ("dev" in history) == ("magnifications" not in change), "one magnification has nothing to compare"
    history = pd.read_csv(distilled / "history.tsv", sep="\t")
    assert (history[["mse", "kl"]] > 0).all(axis=None)
    assert (history["order"] == 0).all() == ("aggregation" in change), "two halves have no order to learn"


def test_predictions_have_the_columns_of_one_expert(cohort: fake_cohort.FakeCohort, tmp_path: Path) -> None:
    import h5py

    change, short = {"magnifications": "20x"}, {"epochs": 1}
    found = predict(cohort, train(cohort, tmp_path / "a", "teacher", change, **short))
    table = found.table
    assert (table["expert"] == "20x").all() and not table.filter(regex="^p10_").columns.size
    assert np.array_equal(table.filter(regex="^p_").to_numpy(), table.filter(regex="^p20_").to_numpy())
    write_representations(tmp_path / "r.h5", found)
    with h5py.File(tmp_path / "r.h5") as file:
        assert sorted(file) == ["20x", "patient_id", "slide_id"]
    survival = predict(
        cohort, train(cohort, tmp_path / "s", "student", change, "survival", **short), "survival"
    ).table
    assert "risk_10x" not in survival and np.array_equal(survival["risk"], survival["risk_20x"])


def test_one_magnification_reads_no_file_of_the_other(
    cohort: fake_cohort.FakeCohort, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read, seen = SlideDataset._read, set()

    def noted(self, case, magnification):
        seen.add(magnification)
        return read(self, case, magnification)

    monkeypatch.setattr(SlideDataset, "_read", noted)
    predict(cohort, train(cohort, tmp_path / "a", "student", {"magnifications": "10x"}, epochs=1))
    assert seen == {"10x"}


@pytest.mark.slow
def test_a_teacher_may_differ_where_its_student_does_not_look(
    cohort: fake_cohort.FakeCohort, tmp_path: Path
) -> None:
    teacher = train(cohort, tmp_path / "t", "teacher", {"gene_input": "vector"}, epochs=1)
    folder = train(
        cohort, tmp_path / "d", "distilled", {"aggregation": "mean"}, teacher_dir=teacher, epochs=5
    )
    assert pd.read_csv(folder / "history.tsv", sep="\t")["kl"].iloc[-1] > 0
    one = train(cohort, tmp_path / "one", "teacher", {"magnifications": "10x"}, epochs=1)
    with pytest.raises(InputError, match="another model configuration: magnifications is '10x', not 'both'"):
        train(cohort, tmp_path / "x", "distilled", {}, teacher_dir=one, epochs=1)
    student = train(cohort, tmp_path / "s", "student", {}, epochs=1)
    with pytest.raises(InputError, match="aggregation is 'ita', not 'mean'"):
        train(
            cohort, tmp_path / "y", "distilled", {"aggregation": "mean"}, teacher_dir=teacher,
            student_dir=student, epochs=1,
        )  # fmt: skip


def test_consistency_of_plain_attention_is_that_of_regions(cohort: fake_cohort.FakeCohort) -> None:
    from pathduet.expression.fold_matrix import load
    from pathduet.training.fold_data import fold_samples

    config = dataclasses.replace(fake_cohort.SMALL, attention="plain")
    outcome = ClassTarget(("a", "b", "c", "d"))
    cases = [case for case in fold_samples(
        cohort.slides, cohort.labels("diagnosis"), cohort.folds, 0, ClassTarget(fake_cohort.KINDS),
    ) if case.part == "train" and case.patient_id != "p01"]  # fmt: skip
    batch = SlideDataset(cases, config, load(cohort.expression)).batch(range(4))
    torch.manual_seed(0)
    teacher = Teacher(config, fake_cohort.FEATURES, fake_cohort.GENES, 4).eval()
    training = TrainingConfig(lambda_dev=100.0)
    parts = TeacherObjective(outcome, training).loss(teacher, batch).parts
    output = teacher(batch.patches["10x"], batch.patches["20x"], batch.genes)
    expected = sum(
        dev_loss(
            *(pool_keys(output.branches[m][s].attention, 2) for m in ("10x", "20x")),
            100.0,
            teacher.gene_mask(s),
        )
        for s in ("tumor", "tme")
    )
    assert float(parts["dev"].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert expected > 0
