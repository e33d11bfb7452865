"""Checks every GPU path: whether it agrees with the CPU, whether it waits, its speed and its memory.

    make gpu-check                                      # writes docs/results/gpu.md; fails if a check fails
    python benchmarks/gpu_check.py --device cpu --small # the same checks without a GPU: whether they run

Batches: a GPU's equals the CPU's. Networks: loss and gradients of a step, without dropout, of every network of the
catalogue, in float32 and in bfloat16 as in training, against the CPU in float32. Waiting: torch reports an error where the
host waits for a GPU's result in a batch, or in a step of the method's networks from the loss to the optimiser's step, the
first step excepted. Fit: two epochs, and with other initial weights from the first one's checkpoint. Encoders: features of
random tiles against the CPU. Memory: a GPU without free memory is a fault of the machine, not of a slide or model. Times are
wall seconds after a first step or batch, with the device idle before and after; memory is the allocator's peak.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from epoch import CLASSES, Expression, Size, make_cohort
from known_truth import table_head, write_page
from torch import Tensor, nn

from pathduet.catalogue import find, names
from pathduet.core.faults import lacks_memory, machine_fault
from pathduet.core.hardware import pick_device
from pathduet.models import ModelConfig
from pathduet.models.inputs import NetworkSizes
from pathduet.models.network_settings import network_settings
from pathduet.models.released import ReleasedConfig
from pathduet.slides.encoders.encoder import load_encoder, resnet50_trunk
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
from pathduet.training.optimizer import adamw
from pathduet.training.released import ReleasedTeacherObjective
from pathduet.training.task_targets import ClassTarget

OUTCOME = ClassTarget(CLASSES)
#: Largest relative difference of the loss, and smallest cosine of the gradients, against the CPU in float32.
BOUNDS = {"float32": (1e-3, 0.999), "bfloat16": (0.05, 0.9)}
#: cuDNN's convolutions in float32 round their inputs to TF32: 10 bits, as many as the float16 of a feature file has.
#: In bfloat16 a CPU's differ by 0.003 (ResNet50, random weights) and 0.07 (EfficientNet-lite0) on the same tiles.
FEATURE_BOUNDS = {"float32": 5e-3, "bfloat16": 0.12}
#: Tokens of the released networks: their attention over all pairs of 2,500 takes minutes on a CPU.
FEW_TOKENS = 144
#: More bytes than any device has.
TOO_MANY_BYTES = 2**59
SMALL_MODEL = ModelConfig(tokens=144, offset_kernel=3, stride=2, offset_range_points=2.0)
FULL = Size(16, (2500, 2500), 1024, {"tumor": 59, "tme": 361}, ModelConfig())
SMALL = Size(8, (200, 200), 48, {"tumor": 9, "tme": 16}, SMALL_MODEL)


@dataclass(frozen=True)
class Row:
    """One check: the result, and whether it is within its bound; None if it cannot be made on this machine."""

    what: str
    how: str
    found: str
    good: bool | None
    rate: str = ""
    memory_gib: float | None = None

    @property
    def cells(self) -> list[str]:
        """The row of the page."""
        memory = "" if self.memory_gib is None else f"{self.memory_gib:.2f}"
        good = {True: "yes", False: "**no**", None: "not checked"}[self.good]
        return [self.what, self.how, self.found, good, self.rate, memory]


class Clock:
    """Wall seconds and largest memory of some work on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.gpu = device, device.type == "cuda"
        self.seconds, self.gib = 0.0, None if not self.gpu else 0.0

    def __enter__(self) -> Clock:
        if self.gpu:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self.gpu:
            torch.cuda.synchronize(self.device)
            self.gib = torch.cuda.max_memory_allocated(self.device) / 2**30
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
    weights = torch.linspace(0.5, 1.5, len(CLASSES), device=device)
    if model.role == "baseline":
        return BaselineObjective(OUTCOME, config, weights)
    if model.role == "teacher":
        kind = ReleasedTeacherObjective if model.kind == "released" else TeacherObjective
        return kind(OUTCOME, config, weights)
    if model.role != "distilled":
        return StudentObjective(OUTCOME, config, weights)
    shape = ReleasedConfig() if model.kind == "released" else size.config
    generator = torch.Generator().manual_seed(1)
    said = [
        {m: torch.randn(slides, width, generator=generator).to(device) for m in shape.experts}
        for width in (len(CLASSES), len(size.genes) * shape.width)
    ]
    return DistilledObjective(OUTCOME, config, weights, TeacherTargets(*said))


class Training:
    """Training of a fresh network on a device, step by step, without dropout."""

    def __init__(self, name: str, size: Size, device: torch.device, bfloat16: bool = False) -> None:
        self.model, self.loss_of = network(name, size).to(device), objective(name, size, size.slides, device)
        self.optimizer = adamw(self.model, TrainingConfig())
        self.device, self.bfloat16 = device, bfloat16

    def step(self, batch: Batch) -> Tensor:
        """Do what a step of `fit` does; return the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            loss: Tensor = self.loss_of.loss(self.model, batch).total
        loss.backward()
        self.loss_of.coordinate(self.model)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach()

    @property
    def gradient(self) -> Tensor:
        """The last step's gradient, clipped."""
        parts = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
        return torch.cat(parts).cpu().double()


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
    with Clock(on_device.device) as clock, no_waiting(on_device.device):
        found = on_device.batch(rows)
    same = all(torch.equal(found.patches[m].cpu(), expected.patches[m]) for m in expected.patches)
    same &= all(torch.equal(found.genes[s].cpu(), expected.genes[s]) for s in expected.genes)
    rate = f"{1 / clock.seconds:.1f} batches/s"
    return Row("batch of 4 slides", "float16 tiles", "equal" if same else "differs", same, rate, clock.gib)


def step_agrees(name: str, size: Size, on_cpu: Batch, on_device: Batch, precision: str) -> Row:
    """Compare the first step's loss and gradient with the CPU's; time more steps, which must not wait."""
    device = on_device.label.device
    here, there = Training(name, size, device, precision == "bfloat16"), Training(name, size, CPU)
    gap = abs(float(here.step(on_device)) / float(there.step(on_cpu)) - 1)
    cosine = float(torch.cosine_similarity(here.gradient, there.gradient, dim=0))
    most, least = BOUNDS[precision]
    steps = 10 if device.type == "cuda" else 1
    with Clock(device) as clock, no_waiting(device) if find(name).kind == "method" else nullcontext():
        for _ in range(steps):
            here.step(on_device)
    text = f"loss {gap:.1e}, gradient's cosine {cosine:.4f}"
    rate = f"{steps / clock.seconds:.1f} steps/s"
    return Row(find(name).full_title, precision, text, gap <= most and cosine >= least, rate, clock.gib)


def fit_resumes(size: Size, on_device: SlideDataset, compiled: bool) -> Row:
    """Train a teacher for two epochs, and again from the first epoch's checkpoint, with zeros as initial weights."""
    config = TrainingConfig(epochs=2, batch_size=4, min_steps=0)
    # epochs this short end without a checkpoint otherwise
    every_epoch = patch("pathduet.training.loop.SAVE_EVERY", 0)
    with tempfile.TemporaryDirectory() as folder, every_epoch:
        checkpoint = Path(folder) / "checkpoint"
        ends = []
        for again in (False, True):  # fit keeps the checkpoint of the second-to-last epoch
            model = network("teacher", size).to(on_device.device)
            if again:
                for parameter in model.parameters():
                    nn.init.zeros_(parameter)
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


def onnx_agrees(folder: Path, device: str) -> Row:
    """Compare an encoder from an ONNX file with the CPU's."""
    import onnxruntime

    what, how = "encoder from an ONNX file", "float32"
    if device != "cpu" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return Row(what, how, "onnxruntime here has no CUDA (onnxruntime-gpu has)", None)
    torch.manual_seed(0)
    file, tiles = folder / "encoder.onnx", torch.zeros(2, 3, 224, 224)
    names = {"input_names": ["tiles"], "output_names": ["features"]}
    free = {"tiles": {0: "n"}, "features": {0: "n"}}
    torch.onnx.export(
        resnet50_trunk(3)[0].eval(), (tiles,), str(file), **names, dynamic_axes=free, dynamo=False
    )
    pixels = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), dtype=np.uint8)
    here, expected = (
        load_encoder(EncoderSettings(name="onnx", weights=str(file), device=d))(pixels)
        for d in (device, "cpu")
    )
    gap = float(np.linalg.norm(here - expected) / np.linalg.norm(expected))
    return Row(what, how, f"features {gap:.1e}", gap <= FEATURE_BOUNDS["float32"])


def memory_error_is_told(device: torch.device) -> Row:
    """Ask for more memory than there is; the device must go on working."""
    try:
        torch.empty(TOO_MANY_BYTES, dtype=torch.uint8, device=device)
    except RuntimeError as error:
        fault = machine_fault(error)
        good = fault is not None and lacks_memory(fault) and bool(torch.ones(2, device=device).sum() == 2)
        return Row("too little memory", "", type(error).__name__, good)
    return Row("too little memory", "", "no error", False)


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
        yield checked("encoder from an ONNX file", "float32", partial(onnx_agrees, Path(folder), str(device)))
        yield checked("too little memory", "", partial(memory_error_is_told, device))
        # float32 is compared as such; training is in bfloat16
        torch.backends.cudnn.allow_tf32 = False
        cases = make_cohort(Path(folder), size)
        on_cpu, on_device = (
            SlideDataset(cases, size.config, Expression(size.genes), 4096, device=d) for d in (CPU, device)
        )
        yield checked("batch", "float16 tiles", partial(batches_agree, size, on_cpu, on_device))
        some = range(min(4, size.slides))
        pair = on_cpu.batch(some), on_device.batch(some)
        few = [replace(b, patches={m: x[:, :FEW_TOKENS] for m, x in b.patches.items()}) for b in pair]
        for name in names("method", "released", "baseline"):
            both = few if find(name).kind == "released" else pair
            for precision in BOUNDS:
                yield checked(
                    find(name).full_title, precision, partial(step_agrees, name, size, *both, precision)
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
        f"{date.today()}, {name}, Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}.", "",
        *table_head(["what", "how", "against the CPU in float32", "within bounds", "rate", "GiB"]),
        *("| " + " | ".join(row.cells) + " |" for row in found), "",
    ]  # fmt: skip
    if arguments.out:
        write_page(lines, arguments.out)
    return 1 if any(row.good is False for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
