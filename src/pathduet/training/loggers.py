"""Training curves for other tools: rows of the history, one step per epoch, to TensorBoard, MLflow or Weights & Biases.

The history is the source. A training resumed from a checkpoint logs its earlier epochs again: TensorBoard's files are
rewritten, the others get a new run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from pathduet.core.errors import InputError

#: Packages of ``training.logger``; each is also the name of an extra.
LOGGERS = ("tensorboard", "mlflow", "wandb")
#: Name of the MLflow experiment and the Weights & Biases project.
PROJECT = "pathduet"


class Logger(Protocol):
    """Interface through which a training logs to another tool."""

    def add(self, row: Mapping[str, float]) -> None:
        """Log an epoch's row of the history, and flush it."""

    def close(self) -> None:
        """End the log."""


def require_logger(name: str) -> None:
    """Raise InputError if ``training.logger`` names a package that is not installed."""
    if name in LOGGERS and find_spec(name) is None:
        found = f"the package {name} is not installed"
        raise InputError.of("training.logger", found, f"pip install 'pathduet[{name}]', or set it to none")


def logger(name: str, folder: Path, label: str) -> Logger | None:
    """Return the logger of a training's history, None for ``none``.

    Parameters
    ----------
    name : str
        ``training.logger``.
    folder : Path
        The model's: TensorBoard's event files go into ``tensorboard/``, those of an earlier run in it are removed.
    label : str
        Name of the run in MLflow and Weights & Biases, which find their server by their usual environment variables.
    """
    require_logger(name)
    made: dict[str, Callable[[], Logger]] = {
        "tensorboard": lambda: _TensorBoard(folder / name),
        "mlflow": lambda: _MLflow(label),
        "wandb": lambda: _WandB(label, folder),
    }
    return made[name]() if name in made else None


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(str(folder))

    def add(self, row: Mapping[str, float]) -> None:
        for name, value in _values(row).items():
            self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    def __init__(self, label: str) -> None:
        from mlflow import MlflowClient

        self._client: Any = MlflowClient()
        experiment = self._client.get_experiment_by_name(PROJECT)
        known = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
        self._run = self._client.create_run(known, run_name=label).info.run_id

    def add(self, row: Mapping[str, float]) -> None:
        for name, value in _values(row).items():
            self._client.log_metric(self._run, name, value, step=int(row["epoch"]))

    def close(self) -> None:
        self._client.set_terminated(self._run)


class _WandB:
    def __init__(self, label: str, folder: Path) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._run: Any = wandb.init(project=PROJECT, name=label, dir=str(folder), reinit="create_new")

    def add(self, row: Mapping[str, float]) -> None:
        self._run.log(_values(row), step=int(row["epoch"]))

    def close(self) -> None:
        self._run.finish()


def _values(row: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if name != "epoch"}
