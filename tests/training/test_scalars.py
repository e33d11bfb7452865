"""TensorBoard's curves are the history: every epoch once, whether or not the training was interrupted."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import fake_cohort
import pandas as pd
import pytest

from pathduet.core.errors import InputError
from pathduet.training import TrainingConfig, train_model
from pathduet.training.dataset import SlideDataset


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> fake_cohort.FakeCohort:
    return fake_cohort.make(tmp_path_factory.mktemp("cohort"))


def train(cohort: fake_cohort.FakeCohort, out: Path, tensorboard: bool = True) -> Path:
    config = dataclasses.replace(fake_cohort.SMALL, dropout=0.3)
    model = fake_cohort.to_train("diagnosis", "teacher", TrainingConfig(epochs=4, batch_size=4), config)
    train_model(model, cohort.data("diagnosis"), out, device="cpu", tensorboard=tensorboard)
    return out


def curves(folder: Path) -> pd.DataFrame:
    """Read the event files back: a row an event."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(
        str(folder / "tensorboard"), size_guidance={"scalars": 0}, purge_orphaned_data=False
    )
    found.Reload()
    return pd.DataFrame(
        [(name, e.step, e.value) for name in found.Tags()["scalars"] for e in found.Scalars(name)],
        columns=["name", "epoch", "value"],
    )


def assert_equals_history(folder: Path) -> None:
    history = pd.read_csv(folder / "history.tsv", sep="\t").melt("epoch", var_name="name")
    found = curves(folder)
    assert not found.duplicated(["name", "epoch"]).any(), "no step is written twice"
    both = history.merge(found, on=["name", "epoch"], how="outer", suffixes=("", "_curve"), validate="1:1")
    assert len(both) == 4 * history["name"].nunique()
    assert both["value_curve"].to_numpy() == pytest.approx(both["value"].to_numpy(), rel=1e-6)  # float32


def test_the_curves_are_the_history_and_change_nothing_else(
    cohort: fake_cohort.FakeCohort, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    shown, plain = train(cohort, tmp_path / "a"), train(cohort, tmp_path / "b", tensorboard=False)
    assert_equals_history(shown)
    assert not (plain / "tensorboard").exists()
    for name in ("history.tsv", "model.json", "weights.safetensors"):
        assert (shown / name).read_bytes() == (plain / name).read_bytes()


@pytest.mark.parametrize("batches", [3, 5, 7])
def test_a_resumed_training_writes_no_step_twice(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    pytest.importorskip("tensorboard")
    read, seen = SlideDataset.batch, []

    def dies(self, indices):
        seen.append(indices)
        if len(seen) > batches:
            raise KeyboardInterrupt
        return read(self, indices)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SlideDataset, "batch", dies)
        train(cohort, tmp_path)
    assert len(curves(tmp_path)) > 0, "visible while it trains"
    assert_equals_history(train(cohort, tmp_path))


def test_without_the_package_it_says_what_to_install(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r"training\.tensorboard: .*not installed.*pathduet\[tensorboard\]"):
        train(cohort, tmp_path)
    assert not (tmp_path / "history.tsv").exists()
