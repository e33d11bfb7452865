"""What other tools are told is the history: every epoch once, whether or not the training was interrupted."""

from __future__ import annotations

import dataclasses
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import fake_cohort
import pandas as pd
import pytest

from pathduet.core.errors import InputError
from pathduet.training import TrainingConfig, train_model
from pathduet.training.dataset import SlideDataset


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> fake_cohort.FakeCohort:
    return fake_cohort.make(tmp_path_factory.mktemp("cohort"))


def train(cohort: fake_cohort.FakeCohort, out: Path, logger: str = "tensorboard") -> Path:
    config = dataclasses.replace(fake_cohort.SMALL, dropout=0.3)
    model = fake_cohort.to_train("diagnosis", "teacher", TrainingConfig(epochs=4, batch_size=4), config)
    train_model(model, cohort.data("diagnosis"), out, device="cpu", logger=logger)
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
    shown, plain = train(cohort, tmp_path / "a"), train(cohort, tmp_path / "b", logger="none")
    assert_equals_history(shown)
    assert not (plain / "tensorboard").exists()
    for name in ("history.tsv", "model.json", "weights.safetensors"):
        assert (shown / name).read_bytes() == (plain / name).read_bytes()


@pytest.mark.parametrize(("batches", "save_every"), [(3, 0), (5, 0), (7, 0), (5, 30)])
def test_a_resumed_training_writes_no_step_twice(
    cohort: fake_cohort.FakeCohort,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batches: int,
    save_every: int,
) -> None:
    """Nor does one that starts again because it had no checkpoint yet."""
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("pathduet.training.loop.SAVE_EVERY", save_every)
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


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_without_the_package_it_says_what_to_install(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf"training\.logger: .*{name} is not installed.*pathduet\[{name}\]"):
        train(cohort, tmp_path, name)
    assert not (tmp_path / "history.tsv").exists()


@pytest.mark.slow
def test_mlflow_gets_the_history(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    history = pd.read_csv(train(cohort, tmp_path / "a", "mlflow") / "history.tsv", sep="\t")
    train(cohort, tmp_path / "b", "mlflow")  # the experiment is there by then
    client = mlflow.MlflowClient()
    first = client.search_runs([client.get_experiment_by_name("pathduet").experiment_id])
    assert len(first) == 2
    assert {(run.info.run_name, run.info.status) for run in first} == {
        ("diagnosis teacher fold 0", "FINISHED")
    }
    for name in history.columns.drop("epoch"):
        told = client.get_metric_history(first[0].info.run_id, name)
        assert [one.step for one in told] == history["epoch"].tolist()
        assert [one.value for one in told] == pytest.approx(history[name].tolist())


def test_weights_and_biases_gets_the_history(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stand-in that writes down what it is told: no server was asked."""
    calls: list[tuple[str, object]] = []

    class Run:
        def log(self, values: dict[str, float], step: int) -> None:
            calls.append(("log", {"epoch": step, **values}))

        def finish(self) -> None:
            calls.append(("finish", None))

    def init(**settings: object) -> Run:
        calls.append(("init", settings))
        return Run()

    stand_in = ModuleType("wandb")
    stand_in.__spec__, stand_in.init = ModuleSpec("wandb", None), init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    history = pd.read_csv(train(cohort, tmp_path, "wandb") / "history.tsv", sep="\t")
    (_, settings), *logged, end = calls
    assert settings["project"] == "pathduet" and settings["name"] == "diagnosis teacher fold 0"  # type: ignore[index]
    assert end == ("finish", None) and len(logged) == len(history)
    for (_, row), expected in zip(logged, history.to_dict("records"), strict=True):
        assert row == pytest.approx(expected)
