"""Loading time of an epoch: slides read from HDF5, compared with batches already in memory.

    python benchmarks/epoch.py                 # both cohorts, teacher and student
    python benchmarks/epoch.py --cohort demo --rounds 10

Two synthetic cohorts: `demo`, like the demo's training part (28 slides, 144 tokens, 1,280 features, 181 + 319 genes, some
40 tiles at 10x and 150 at 20x), and `full`, at the paper's size (24 slides, 2,500 tokens and tiles, 1,024 features, 59 +
361 genes). An epoch is `pathduet.training.fit` with the next batch read in a thread, as in every run; `file` keeps nothing
between epochs (`cache_mib: 0`), `cache` keeps everything. The kinds alternate, and the median is printed, in wall and in
CPU seconds; on a busy machine compare the latter. `loading` is the time of the epoch's batches alone.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from pathduet.cohort.tasks import Task
from pathduet.models import ModelConfig, Student, Teacher
from pathduet.training import TrainingConfig, fit
from pathduet.training.dataset import Batch, SlideDataset, SlideSample
from pathduet.training.loop import epoch_batches
from pathduet.training.objectives import StudentObjective, TeacherObjective
from pathduet.training.task_targets import ClassTarget

CLASSES = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Size:
    """Size of a synthetic cohort; `tiles` at 10x and 20x."""

    slides: int
    tiles: tuple[int, int]
    features: int
    genes: dict[str, int]
    config: ModelConfig


SIZES = {
    "demo": Size(
        28,
        (40, 150),
        1280,
        {"tumor": 181, "tme": 319},
        ModelConfig(tokens=144, offset_kernel=3, stride=2, offset_range_points=2.0),
    ),
    "full": Size(24, (2500, 2500), 1024, {"tumor": 59, "tme": 361}, ModelConfig()),
}


class Expression:
    """Random z-scores for every patient."""

    def __init__(self, genes: dict[str, int]) -> None:
        self.genes = {s: [f"{s}{i}" for i in range(n)] for s, n in genes.items()}
        self.rng = np.random.default_rng(1)

    def row_for(self, patient_id: str, slide_id: str) -> dict[str, Any]:
        """Return one patient's rows."""
        return {s: self.rng.standard_normal(len(g)).astype(np.float32) for s, g in self.genes.items()}


class InMemory:
    """The batches of one epoch, built in advance."""

    def __init__(self, dataset: SlideDataset, plan: Sequence[Sequence[int]]) -> None:
        self.length = len(dataset)
        self.made = {tuple(indices): dataset.batch(indices) for indices in plan}

    def __len__(self) -> int:
        return self.length

    @property
    def patients(self) -> list[list[int]]:
        """Every patient has one slide."""
        return [[i] for i in range(self.length)]

    def batch(self, indices: Sequence[int], /) -> Batch:
        """Return a batch of the plan."""
        return self.made[tuple(indices)]


def make_cohort(folder: Path, size: Size) -> list[SlideSample]:
    """Write feature files like the slide jobs: float16 in chunks of 256 rows."""
    rng = np.random.default_rng(0)
    cases = []
    for i in range(size.slides):
        path = folder / f"s{i}.h5"
        with h5py.File(path, "w") as file:
            for m, n in zip(("10x", "20x"), size.tiles, strict=True):
                group = file.create_group(m)
                values = rng.standard_normal((n, size.features)).astype(np.float16)
                group.create_dataset("features", data=values, chunks=(min(256, n), size.features))
                side, edge = int(np.ceil(n**0.5)), 1024 if m == "10x" else 512
                group["grid"] = np.stack(np.divmod(np.arange(n), side)[::-1], axis=1).astype(np.int32)
                group["coords"] = group["grid"][:] * edge
                group.attrs.update(tile_level0_px_x=edge, tile_level0_px_y=edge)
        cases.append(SlideSample(f"s{i}", f"p{i}", "made", "train", path, i % len(CLASSES)))
    return cases


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Return wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def epoch(size: Size, model: str, config: TrainingConfig, items: Any, device: torch.device) -> None:
    """Train a fresh network for one epoch."""
    outcome = ClassTarget(CLASSES)
    network: Any
    objective: Any
    if model == "teacher":
        network = Teacher(size.config, size.features, size.genes, len(CLASSES))
        objective = TeacherObjective(outcome, config)
    else:
        network = Student(size.config, size.features, len(CLASSES))
        objective = StudentObjective(outcome, config)
    fit(network.to(device), objective, items, config, device=device)


def load(items: SlideDataset, plan: Sequence[Sequence[int]]) -> None:
    """Read an epoch's batches and discard them."""
    for indices in plan:
        items.batch(indices)


def measure(name: str, model: str, cases: Sequence[SlideSample], rounds: int, device: torch.device) -> None:
    """Time epochs of one cohort and model and print the times."""
    size = SIZES[name]
    config = TrainingConfig.start_values(Task("classes", "classification"), model, epochs=1)
    plan = epoch_batches([[i] for i in range(size.slides)], size.slides, config, 0)
    file, cache = (SlideDataset(cases, size.config, Expression(size.genes), mib) for mib in (0, 4096))
    items = {"file": file, "cache": cache, "memory": InMemory(cache, plan)}
    works: dict[str, Callable[[], None]] = {
        kind: partial(epoch, size, model, config, given, device) for kind, given in items.items()
    }
    works["loading"] = partial(load, file, plan)
    for work in works.values():  # warm-up, not counted
        work()
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in works}
    for _ in range(rounds):
        for kind, work in works.items():
            found[kind].append(seconds(work))
    print(f"{name} {model}, {size.slides} slides in batches of {config.batch_size}")
    spent = {
        kind: tuple(statistics.median(column) for column in zip(*pairs, strict=True))
        for kind, pairs in found.items()
    }
    for kind, (wall, cpu) in spent.items():
        print(f"  {kind:8s} wall {wall:7.3f} s, CPU {cpu:7.3f} s")
    for what, i in (("wall", 0), ("CPU", 1)):
        file_s, cache_s, memory_s, loading_s = (spent[kind][i] for kind in works)
        print(
            f"  epoch from file / in memory {file_s / memory_s:.2f} ({what}), from cache / in memory "
            f"{cache_s / memory_s:.2f}, loading alone / computing alone {loading_s / memory_s:.2f}"
        )


def main() -> None:
    """Measure the requested cohorts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cohort", choices=list(SIZES), help="one of them only")
    parser.add_argument("--rounds", type=int, default=5, help="counted epochs of each kind")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"$ python {' '.join(sys.argv)}")
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, {gpu}, load {load},")
    print(f"Python {platform.python_version()}, torch {torch.__version__}; threads {arguments.threads}\n")
    for name in [arguments.cohort] if arguments.cohort else list(SIZES):
        with tempfile.TemporaryDirectory() as folder:
            cases = make_cohort(Path(folder), SIZES[name])
            for model in ("teacher", "student"):
                measure(name, model, cases, arguments.rounds, device)


if __name__ == "__main__":
    main()
