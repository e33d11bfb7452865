"""Training of the comparison variant: its schedule, loss and gradients, and that its artifacts say which it is."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import fake_cohort
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathduet.features.token_map import token_rows
from pathduet.models.released import ReleasedConfig, ReleasedStudent, ReleasedTeacher
from pathduet.training import (
    TrainingConfig,
    coordinate_gradients,
    load_model,
    predict_model,
    train_model,
)
from pathduet.training.dataset import SlideDataset, SlideSample
from pathduet.training.released import released_dev_loss, released_learning_rate

RELEASED = ReleasedConfig(**dataclasses.asdict(fake_cohort.SMALL))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> fake_cohort.FakeCohort:
    return fake_cohort.make(tmp_path_factory.mktemp("cohort"))


def train(cohort: fake_cohort.FakeCohort, out: Path, model: str, **folders: Path) -> Path:
    training = TrainingConfig.start_values(
        fake_cohort.TASKS["diagnosis"], model, epochs=2, learning_rate=1e-3, cgc=True, min_steps=0
    )
    released = fake_cohort.to_train("diagnosis", f"released_{model}", training, RELEASED, **folders)
    train_model(released, cohort.data("diagnosis"), out, device="cpu")
    return out


def test_all_three_models_train_and_record_the_variant(
    cohort: fake_cohort.FakeCohort, tmp_path: Path
) -> None:
    teacher = train(cohort, tmp_path / "teacher", "teacher")
    student = train(cohort, tmp_path / "student", "student")
    distilled = train(cohort, tmp_path / "distilled", "distilled", teacher_dir=teacher, student_dir=student)
    for folder, model, kind in (
        (teacher, "released_teacher", ReleasedTeacher),
        (student, "released_student", ReleasedStudent),
        (distilled, "released_distilled", ReleasedStudent),
    ):
        record = json.loads((folder / "model.json").read_text())
        assert record["variant"] == "released" and record["base"] == record["model"] == model
        network, _, _ = load_model(folder)
        assert type(network) is kind
        found = predict_model(folder, cohort.data("diagnosis"), device="cpu")
        probability = found.table.filter(regex="^p_").to_numpy()
        assert np.isfinite(probability).all() and np.allclose(probability.sum(axis=1), 1)
    histories = [pd.read_csv(f / "history.tsv", sep="\t") for f in (teacher, distilled)]
    assert (histories[0]["dev"] > 0).all() and "conflict_rate" in histories[0]
    assert (histories[1]["mse"] > 0).all() and (histories[1]["order"] == 0).all(), "no order is learned"


def test_a_teacher_of_the_other_variant_is_refused(cohort: fake_cohort.FakeCohort, tmp_path: Path) -> None:
    from pathduet.core.errors import InputError

    teacher = train(cohort, tmp_path / "teacher", "teacher")
    with pytest.raises(InputError, match="a released_teacher"):
        distilled = fake_cohort.to_train(
            "diagnosis", "distilled", TrainingConfig(epochs=1), teacher_dir=teacher
        )
        train_model(distilled, cohort.data("diagnosis"), tmp_path / "x", device="cpu")


def test_the_learning_rate_swings_with_the_number_of_epochs_in_steps() -> None:
    config = TrainingConfig(learning_rate=1.0, epochs=10)
    rates = [released_learning_rate(step, 1000, config) for step in range(41)]
    assert rates[0] == rates[20] == rates[40] == 1.0 and rates[10] == rates[30] == pytest.approx(0, abs=1e-12)
    assert rates[5] == pytest.approx(0.5)


@given(st.integers(0, 9999))
@settings(max_examples=40, deadline=None)
def test_a_conflicting_gradient_is_reflected(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tumor, tme = (torch.randn(6, generator=generator, dtype=torch.float64) for _ in range(2))
    one, other = coordinate_gradients([tumor, tme], [0.2, 0.7], times=2)
    before = float(torch.cosine_similarity(tumor, tme, dim=0))
    after = float(torch.cosine_similarity(one, other, dim=0))
    assert torch.equal(other, tme)
    assert after == pytest.approx(abs(before), abs=1e-9) and float(one.norm()) == pytest.approx(
        float(tumor.norm())
    )


def test_dev_of_normalised_rows_by_hand() -> None:
    # One head, one query, three keys; C is 2 x 2.
    a = torch.tensor([[0.25, 0.75, 0.0], [0.5, 0.0, 0.5]]).view(2, 1, 1, 3)
    b = torch.tensor([[0.0, 0.25, 0.75], [0.25, 0.25, 0.5]]).view(2, 1, 1, 3)
    full = (a.flatten(1) @ b.flatten(1).T).numpy()
    rows = full / np.linalg.norm(full, axis=1, keepdims=True)
    expected = 10.0 * np.var(np.diag(rows), ddof=1)
    assert float(released_dev_loss(a, b, 10.0)) == pytest.approx(expected, rel=1e-5) and expected > 0
    assert float(released_dev_loss(a[:1], b[:1], 10.0)) == 0
    assert math.isfinite(float(released_dev_loss(a, b)))


def test_tokens_are_in_list_order(cohort: fake_cohort.FakeCohort) -> None:
    row = cohort.slides.iloc[0]
    case = SlideSample(row["slide_id"], row["patient_id"], "internal", "train", Path(row["features"]))
    assert fake_cohort.SMALL.token_order == "hilbert"
    batch = SlideDataset([case], RELEASED).batch([0])
    with h5py.File(case.features) as file:
        rows = token_rows(file["20x"]["grid"][:], 16, "raster")
        assert np.array_equal(batch.patches["20x"][0], file["20x"]["features"][:].astype(np.float32)[rows])
