"""Checks every GPU path: whether it agrees with the CPU, whether it waits, its speed and its memory.

    make gpu-check                                      # writes docs/results/gpu.md; fails if a check fails
    python benchmarks/gpu_check.py --device cpu --small # the same checks without a GPU: whether they run

Batches: a GPU's equals the CPU's. Networks: loss and gradients of a step, without dropout, of every network of the
catalogue, in float32 and in bfloat16 as in training, against the CPU in float32; on a GPU a step of the method's networks
must not wait for a result. Fit: two epochs, and again from the first one's checkpoint. Encoders: features of random tiles
against the CPU. Times are wall seconds with the device idle before and after; memory is the allocator's peak.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from epoch import CLASSES, Expression, Size, make_cohort
from known_truth import table_head, write_page
from torch import Tensor, nn

from pathduet.catalogue import find, names
from pathduet.core.hardware import pick_device
from pathduet.models import ModelConfig
from pathduet.models.inputs import NetworkSizes
from pathduet.models.network_settings import network_settings
from pathduet.models.released import ReleasedConfig
from pathduet.slides.encoders.encoder import load_encoder
from pathduet.slides.settings import EncoderSettings
from pathduet.training.baseline_objective import BaselineObjective
from pathduet.training.config import TrainingConfig
from pathduet.training.dataset import CPU, Batch, SlideDataset
from pathduet.training.loop import fit
from pathduet.training.networks import build_baseline
from pathduet.training.objectives import (
    DistilledObjective,
    StudentObjective,
    TeacherObjective,
    TeacherTargets,
)
from pathduet.training.released import ReleasedTeacherObjective
from pathduet.training.task_targets import ClassTarget

OUTCOME = ClassTarget(CLASSES)
#: Largest relative difference of the loss, and smallest cosine of the gradients, against the CPU in float32.
BOUNDS = {"float32": (1e-3, 0.999), "bfloat16": (0.05, 0.9)}
FEATURE_BOUNDS = {"float32": 1e-3, "bfloat16": 0.05}
SMALL_MODEL = ModelConfig(tokens=144, offset_kernel=3, stride=2, offset_range_points=2.0)
FULL = Size(16, (2500, 2500), 1024, {"tumor": 59, "tme": 361}, ModelConfig())
SMALL = Size(8, (200, 200), 48, {"tumor": 9, "tme": 16}, SMALL_MODEL)


@dataclass(frozen=True)
class Row:
    """One check: the result, and whether it is within its bound."""

    what: str
    how: str
    found: str
    good: bool
    rate: str = ""
    memory_gib: float | None = None

    @property
    def cells(self) -> list[str]:
        """The row of the page."""
        memory = "" if self.memory_gib is None else f"{self.memory_gib:.2f}"
        return [self.what, self.how, self.found, "yes" if self.good else "**no**", self.rate, memory]


class Clock:
    """Wall seconds and largest memory of some work on a device."""

    def __init__(self, device: torch.device) -> None:
        self.gpu = device.type == "cuda"
        self.seconds, self.gib = 0.0, None if not self.gpu else 0.0

    def __enter__(self) -> Clock:
        if self.gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self.gpu:
            torch.cuda.synchronize()
            self.gib = torch.cuda.max_memory_allocated() / 2**30
        self.seconds = time.perf_counter() - self._start


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Raise an error on everything that waits for a result of the GPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def network(name: str, size: Size) -> nn.Module:
    """Return a network of the catalogue with the weights of seed 0, in evaluation mode (without dropout)."""
    model = find(name)
    torch.manual_seed(0)
    if model.role == "baseline":
        genes = {s: tuple(f"{s}{i}" for i in range(n)) for s, n in size.genes.items()}
        sizes = NetworkSizes(size.features, genes, len(CLASSES))
        return build_baseline(model, sizes, network_settings(model, {})).eval()
    config: Any = ReleasedConfig() if model.kind == "released" else size.config
    genes = [size.genes] if model.role == "teacher" else []
    made: nn.Module = model.load_network()(config, size.features, *genes, len(CLASSES))
    return made.eval()


def objective(name: str, size: Size, slides: int, device: torch.device) -> Any:
    """Return a network's training objective; a distilled student's teacher answers at random."""
    model, config = find(name), TrainingConfig(cgc=True)
    if model.role == "baseline":
        return BaselineObjective(OUTCOME, config)
    if model.role == "teacher":
        return (ReleasedTeacherObjective if model.kind == "released" else TeacherObjective)(OUTCOME, config)
    if model.role != "distilled":
        return StudentObjective(OUTCOME, config)
    shape = ReleasedConfig() if model.kind == "released" else size.config
    generator = torch.Generator().manual_seed(1)
    said = [
        {m: torch.randn(slides, width, generator=generator).to(device) for m in shape.experts}
        for width in (len(CLASSES), len(size.genes) * shape.width)
    ]
    return DistilledObjective(OUTCOME, config, None, TeacherTargets(*said))


def one_step(
    name: str, size: Size, batch: Batch, device: torch.device, bfloat16: bool = False
) -> tuple[float, Tensor]:
    """Return loss and gradient of a fresh network's first step."""
    model, loss_of = network(name, size).to(device), objective(name, size, size.slides, device)
    ours = find(name).kind == "method"
    with no_waiting(device) if ours else nullcontext():
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            loss = loss_of.loss(model, batch).total
        loss.backward()
        loss_of.coordinate(model)
    gradient = torch.cat([p.grad.flatten().cpu().double() for p in model.parameters() if p.grad is not None])
    return float(loss.detach()), gradient


def checked(what: str, how: str, check: Callable[[], Row]) -> Row:
    """Return a check's row; an error also gives a row."""
    try:
        return check()
    except Exception as error:
        return Row(what, how, f"{type(error).__name__}: {str(error)[:200]}".replace("|", "/"), False)


def batches_agree(size: Size, on_cpu: SlideDataset, on_device: SlideDataset) -> Row:
    """Compare a batch on the device with the CPU's, bit by bit."""
    rows = range(min(4, size.slides))
    expected = on_cpu.batch(rows)
    on_device.batch(rows)  # reads the files
    with Clock(on_device.device) as clock:
        found = on_device.batch(rows)
    same = all(torch.equal(found.patches[m].cpu(), expected.patches[m]) for m in expected.patches)
    same &= all(torch.equal(found.genes[s].cpu(), expected.genes[s]) for s in expected.genes)
    rate = f"{1 / clock.seconds:.1f} batches/s"
    return Row("batch of 4 slides", "float16 tiles", "equal" if same else "differs", same, rate, clock.gib)


def step_agrees(name: str, size: Size, on_cpu: Batch, on_device: Batch, precision: str) -> Row:
    """Compare a step's loss and gradient with the CPU's; time more steps, including network building."""
    device = on_device.label.device
    bfloat16 = precision == "bfloat16"
    loss, gradient = one_step(name, size, on_cpu, CPU)
    found, own = one_step(name, size, on_device, device, bfloat16)
    gap, cosine = abs(found / loss - 1), float(torch.cosine_similarity(own, gradient, dim=0))
    most, least = BOUNDS[precision]
    steps = 5 if device.type == "cuda" else 1
    with Clock(device) as clock:
        for _ in range(steps):
            one_step(name, size, on_device, device, bfloat16)
    text = f"loss {gap:.1e}, gradient's cosine {cosine:.4f}"
    rate = f"{steps / clock.seconds:.1f} steps/s"
    return Row(find(name).full_title, precision, text, gap <= most and cosine >= least, rate, clock.gib)


def fit_resumes(size: Size, on_device: SlideDataset, compiled: bool) -> Row:
    """Train a teacher for two epochs, and again from the first epoch's checkpoint."""
    config = TrainingConfig(epochs=2, batch_size=4, min_steps=0)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        ends = []
        for _ in range(2):  # fit keeps the checkpoint of the second-to-last epoch
            model = network("teacher", size).to(on_device.device)
            if compiled:
                model.compile()
            with Clock(on_device.device) as clock:
                loss = objective("teacher", size, size.slides, on_device.device)
                history = fit(
                    model,
                    loss,
                    on_device,
                    config,
                    device=on_device.device,
                    checkpoint=checkpoint,
                    key="check",
                )
            ends.append(history[-1]["loss"])
    gap = abs(ends[1] / ends[0] - 1)
    rate = f"{len(on_device) / 4 / clock.seconds:.1f} steps/s"
    how = "compiled" if compiled else "bfloat16"
    return Row("fit, resumed", how, f"last loss {gap:.1e}", gap <= 0.01, rate, clock.gib)


def encoder_agrees(name: str, tiles: int, device: str, precision: str, compiled: bool) -> Row:
    """Compare features with the CPU's; time them while the next batch is being prepared."""
    settings = EncoderSettings(name=name, device="cpu", engine="torch")
    here = EncoderSettings(name=name, device=device, engine="torch", precision=precision, compile=compiled)
    pixels = np.random.default_rng(0).integers(0, 256, (min(tiles, 64), 224, 224, 3), dtype=np.uint8)
    encoder, expected = load_encoder(here), load_encoder(settings)(pixels)
    gap = float(np.linalg.norm(encoder(pixels) - expected) / np.linalg.norm(expected))
    calls = max(tiles // len(pixels), 1)
    with Clock(torch.device(device)) as clock:
        waiting = encoder.start(pixels)
        for _ in range(calls - 1):
            after = encoder.start(pixels)
            waiting()
            waiting = after
        waiting()
    rate = f"{calls * len(pixels) / clock.seconds:.0f} tiles/s"
    how = f"{precision}, compiled" if compiled else precision
    return Row(
        f"encoder {name}", how, f"features {gap:.1e}", gap <= FEATURE_BOUNDS[precision], rate, clock.gib
    )


def rows(size: Size, device: torch.device, tiles: int, compiled: bool) -> Iterator[Row]:
    """Yield every check's row."""
    # most CPUs refuse an encoder in bfloat16
    precisions = ("float32", "bfloat16") if device.type == "cuda" else ("float32",)
    kinds = [(one, False) for one in precisions] + ([(precisions[-1], True)] if compiled else [])
    for name in ("random", "efficientnet_lite0"):
        for precision, fast in kinds:
            check = partial(encoder_agrees, name, tiles, str(device), precision, fast)
            yield checked(f"encoder {name}", precision, check)
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cohort(Path(folder), size)
        on_cpu, on_device = (
            SlideDataset(cases, size.config, Expression(size.genes), 4096, device=d) for d in (CPU, device)
        )
        yield checked("batch", "float16 tiles", partial(batches_agree, size, on_cpu, on_device))
        some = range(min(4, size.slides))
        pair = on_cpu.batch(some), on_device.batch(some)
        for name in names("method", "released", "baseline"):
            # its attention over all pairs of tokens takes minutes on a CPU
            if find(name).kind == "released" and size.config.tokens > 1000:
                continue
            for precision in BOUNDS:
                yield checked(
                    find(name).full_title, precision, partial(step_agrees, name, size, *pair, precision)
                )
        for fast in (False, True) if compiled else (False,):
            yield checked("fit, resumed", "bfloat16", partial(fit_resumes, size, on_device, fast))


def main() -> int:
    """Print the page; 1 if a check failed, 2 if there is no GPU."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--small", action="store_true", help="small networks and few tiles")
    parser.add_argument(
        "--compiled", action=argparse.BooleanOptionalAction, default=True, help="torch.compile, too"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device = torch.device(pick_device(arguments.device))
    if device.type == "cpu" and arguments.device == "auto":
        print("no GPU here, so nothing was checked; --device cpu runs the checks on the CPU", file=sys.stderr)
        return 2
    size, tiles = (SMALL, 4) if arguments.small else (FULL, 2048)
    found = []
    for row in rows(size, device, tiles, arguments.compiled):
        print(" | ".join(row.cells), flush=True)
        found.append(row)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"
    lines = [
        "# What a GPU computes", "", "    make gpu-check", "",
        f"{date.today()}, {name}, Python {platform.python_version()}, torch {torch.__version__}.", "",
        *table_head(["what", "how", "against the CPU in float32", "within bounds", "rate", "GiB"]),
        *("| " + " | ".join(row.cells) + " |" for row in found), "",
    ]  # fmt: skip
    if arguments.out:
        write_page(lines, arguments.out)
    return 0 if all(row.good for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
