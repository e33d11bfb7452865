"""One training loop for every model and task: AdamW, warm-up and cosine, checkpoints that resume exactly."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pathduet.core.errors import PathDuetError
from pathduet.core.progress import track
from pathduet.training.checkpoint import History, load_checkpoint, save_checkpoint
from pathduet.training.config import TrainingConfig
from pathduet.training.loggers import Logger
from pathduet.training.objectives import Objective
from pathduet.training.optimizer import adamw


class TrainingError(PathDuetError):
    """Training cannot continue: a loss or gradient is no longer finite."""


class TrainingItems(Protocol):
    """Training items, such as a ``SlideDataset``."""

    def __len__(self) -> int:
        """Return the number of items."""

    @property
    def patients(self) -> Sequence[Sequence[int]]:
        """Positions of each patient's items."""

    def batch(self, indices: Sequence[int], /) -> Any:
        """Return some items stacked, on the training device, with `slide_ids` to name them in errors."""


#: Steps after which losses and gradients are read from a GPU and checked to be finite; also after each epoch.
READ_EVERY = 20
#: Seconds between checkpoints: a small cohort's epoch takes less time than writing one.
SAVE_EVERY = 30.0
#: Learning rate, given the step (from 0), the number of steps and the configuration.
Schedule = Callable[[int, int, TrainingConfig], float]


def learning_rate(step: int, steps: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step (from 0): linear warm-up, then a cosine to zero over all other steps."""
    warmup = round(config.warmup_fraction * steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(steps - warmup, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def epoch_batches(
    patients: Sequence[Sequence[int]], items: int, config: TrainingConfig, epoch: int
) -> list[list[int]]:
    """Return one epoch's batches of dataset positions; they depend on the seed and the epoch only.

    Patients take turns in rounds, in a new order each round, and a patient's slides take turns too: patients with many slides count no
    more than others, as in evaluation. A round unfinished at an epoch's end continues in the next epoch.

    Parameters
    ----------
    patients : sequence of sequence of int
        Positions of each patient's slides.
    items : int
        Number of items in an epoch.
    """
    start, count = epoch * items, len(patients)
    drawn: list[int] = []
    for turn in range(start // count, -(-(start + items) // count)):
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + turn)
        order = torch.randperm(count, generator=generator).tolist()
        drawn += [patients[p][(turn + p) % len(patients[p])] for p in order]
    drawn = drawn[start % count :][:items]
    return [drawn[i : i + config.batch_size] for i in range(0, items, config.batch_size)]


def read_ahead(dataset: TrainingItems, batches: Iterable[Sequence[int]]) -> Iterator[Any]:
    """Yield the dataset's batches in order, reading the next one in a thread while the current one is processed."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as reader:
        waiting = None
        for indices in batches:
            coming = reader.submit(dataset.batch, indices)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()


def fit(
    model: nn.Module,
    objective: Objective,
    dataset: TrainingItems,
    config: TrainingConfig,
    *,
    device: torch.device,
    checkpoint: Path | None = None,
    key: str = "",
    label: str = "training",
    schedule: Schedule = learning_rate,
    logger: Logger | None = None,
    items: int | None = None,
) -> History:
    """Train `model` in place; it keeps the last epoch's weights.

    Parameters
    ----------
    model : Module
        On `device`.
    objective : Objective
        Its loss.
    dataset : TrainingItems
        The training slides (or patients).
    config : TrainingConfig
        Optimisation.
    device : torch.device
        Device of the batches; a GPU computes in bfloat16 where that is safe.
    checkpoint : Path, optional
        Written after an epoch, but the last, if :data:`SAVE_EVERY` seconds have passed since the one before. If it exists and
        its key matches, training resumes from it, with the same weights as without the interruption (bit by bit on the CPU).
    key : str
        Identifies the run of the checkpoint; a checkpoint with another key is ignored.
    label : str
        Shown with the progress.
    schedule : callable
        Learning rate of each step.
    logger : Logger, optional
        Receives the history's rows and is closed at the end.
    items : int, optional
        Number of items in an epoch; default: that of the dataset.

    Returns
    -------
    list of dict
        One row per epoch: epoch (from 1), learning_rate of its last step, loss and its terms (means over
        slides), gradient_norm (before clipping), conflict_rate (share of magnifications and steps in which the
        subspaces' gradients conflicted, if that was checked), observed_probability (mean probability
        of the observed outcome, dropout on).

    Raises
    ------
    TrainingError
        If a loss or gradient is not finite; it names the slides of the batch.
    """
    if not len(dataset):
        raise ValueError("no slide to train on")
    optimizer = adamw(model, config)
    training = _Training(
        model, objective, dataset, config, optimizer, device, schedule, items or len(dataset)
    )
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(config.seed)
        history = load_checkpoint(checkpoint, key, model, optimizer, device)
        start = len(history)
        if logger is not None:
            for row in history:
                logger.add(row)

        def run() -> Iterator[None]:
            saved = time.monotonic()
            for epoch in range(start, training.epochs):
                row = yield from _epoch(training, epoch)
                history.append(row)
                if logger is not None:
                    logger.add(row)
                due = time.monotonic() - saved >= SAVE_EVERY and epoch + 1 < training.epochs
                if checkpoint is not None and due:
                    save_checkpoint(checkpoint, key, model, optimizer, history, device)
                    saved = time.monotonic()

        remaining = (training.epochs - start) * training.steps_per_epoch
        try:
            for _ in track(run(), remaining, label, "steps"):
                pass
        finally:
            if logger is not None:
                logger.close()
    return history


@dataclass(frozen=True)
class _Training:
    """State shared by all epochs of one training."""

    model: nn.Module
    objective: Objective
    dataset: TrainingItems
    config: TrainingConfig
    optimizer: torch.optim.Optimizer
    device: torch.device
    schedule: Schedule
    items: int

    @property
    def steps_per_epoch(self) -> int:
        batches = math.ceil(self.items / self.config.batch_size)
        return math.ceil(batches / self.config.accumulation)

    @property
    def epochs(self) -> int:
        """Configured number, or more to reach `min_steps`."""
        return max(self.config.epochs, math.ceil(self.config.min_steps / self.steps_per_epoch))


def _epoch(training: _Training, epoch: int) -> Generator[None, None, dict[str, float]]:
    """Train one epoch, yielding after each step; the generator's value is the history row."""
    model, objective, dataset, config = training.model, training.objective, training.dataset, training.config
    optimizer, device, steps_per_epoch = training.optimizer, training.device, training.steps_per_epoch
    model.train()
    parameters = list(model.parameters())
    plan = epoch_batches(dataset.patients, training.items, config, epoch)
    batches = read_ahead(dataset, plan)
    sizes = iter([len(indices) for indices in plan])
    curves = _Curves(epoch)
    rate = 0.0
    for step in range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch):
        group = list(itertools.islice(sizes, config.accumulation))
        slides = sum(group)
        rate = training.schedule(step, steps_per_epoch * training.epochs, config)
        for settings in optimizer.param_groups:
            settings["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        names: list[str] = []
        for count in group:
            batch = next(batches)
            names += batch.slide_ids
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = objective.loss(model, batch)
            values = {"loss": loss.total, **loss.parts}
            if len(loss.probability):
                values["observed_probability"] = loss.probability.mean()
            curves.add(values, count, batch.slide_ids)
            # costs nothing on a CPU, where sampling at NaN points would crash
            if device.type == "cpu":
                curves.read()
            (loss.total * (count / slides)).backward()
        conflict = objective.coordinate(model)
        norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm or math.inf)
        curves.add({"gradient_norm": norm}, 1, names)
        if conflict is not None:
            curves.add({"conflict_rate": conflict}, 1, names)
        optimizer.step()
        if (step + 1) % READ_EVERY == 0:
            curves.read()
        yield
    return {"epoch": epoch + 1, "learning_rate": rate, **curves.means()}


class _Curves:
    """Means of an epoch's values. They stay on the device until all are read at once, so that no step waits for a GPU."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.sums: dict[str, float] = {}
        self.weights: dict[str, int] = {}
        self._unread: list[tuple[dict[str, Tensor], int, Sequence[str]]] = []

    def add(self, values: Mapping[str, Tensor], weight: int, slide_ids: Sequence[str]) -> None:
        """Add values of some slides, all with the same weight."""
        self._unread.append(({name: value.detach() for name, value in values.items()}, weight, slide_ids))

    def read(self) -> None:
        """Sum the added values; TrainingError at the first loss or gradient that is not finite."""
        if not self._unread:
            return
        tensors = [value.double() for values, _, _ in self._unread for value in values.values()]
        numbers = iter(torch.stack(tensors).tolist())
        for values, weight, slide_ids in self._unread:
            found = {name: next(numbers) for name in values}
            if not math.isfinite(found.get("loss", 0.0)):
                shown = ", ".join(f"{name} {value:g}" for name, value in found.items())
                raise self._not_finite(f"the loss ({shown})", slide_ids)
            if not math.isfinite(found.get("gradient_norm", 0.0)):
                raise self._not_finite("the gradient", slide_ids)
            for name, value in found.items():
                self.sums[name] = self.sums.get(name, 0.0) + value * weight
                self.weights[name] = self.weights.get(name, 0) + weight
        self._unread.clear()

    def means(self) -> dict[str, float]:
        """Return the mean of each value."""
        self.read()
        return {name: total / self.weights[name] for name, total in self.sums.items()}

    def _not_finite(self, what: str, slide_ids: Sequence[str]) -> TrainingError:
        return TrainingError(
            f"{what} is not finite in epoch {self.epoch + 1}, at slides {', '.join(slide_ids)}; "
            "look at their features and expression, or lower training.learning_rate"
        )
