"""Time and memory of one training step at full size, of both variants; DPC-KNN; and the loader's share of an epoch.

    python benchmarks/train_step.py                        # all, printed (about 18 GB of memory for `released`)
    python benchmarks/train_step.py --batch 1              # smaller: B = 1
    python benchmarks/train_step.py --only steps --skip-released

Full size: 4 slides, 2 x 2,500 x 1,024 features, 59 + 361 genes, float32. Every figure comes from a separate process:
peak memory is that process's largest resident set, less its memory before the first step (both are printed). On a GPU,
memory is the allocator's peak. Steps are timed in CPU seconds and in wall seconds; on a busy machine compare the CPU
seconds. An uncounted warm-up step comes first; the released variant is so slow that its first step counts. A part whose
estimated memory is not free is skipped, and the output states it; instead of the released teacher, one of its
magnifications is then measured (half of its work) for both variants.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FEATURES, TOKENS, GENES, CLASSES = 1024, 2500, {"tumor": 59, "tme": 361}, 4
#: GiB that a part needs at four slides (measured, or estimated from the released variant's position bias).
NEEDS = {
    "teacher released": 17.5,
    "student released": 11.0,
    "inference released": 8.0,
    "half-teacher released": 10.5,
}


def networks(kind: str) -> Any:
    """Return a fresh teacher or student, e.g. ``teacher paper``, ``teacher plain`` (attention) or ``student released``."""
    import torch

    from pathduet.models import ModelConfig, ReleasedStudent, ReleasedTeacher, Student, Teacher
    from pathduet.models.released import ReleasedConfig

    model, variant = kind.split()
    torch.manual_seed(0)
    if variant == "released":
        config = ReleasedConfig(head_dim=64)
        if model == "teacher":
            return ReleasedTeacher(config, FEATURES, GENES, CLASSES)
        return ReleasedStudent(config, FEATURES, CLASSES)
    config = ModelConfig(attention="plain") if variant == "plain" else ModelConfig()
    if model == "teacher":
        return Teacher(config, FEATURES, GENES, CLASSES)
    return Student(config, FEATURES, CLASSES)


def make_batch(size: int, device: Any) -> Any:
    """Return a batch of random slides."""
    import torch

    from pathduet.training.dataset import Batch

    generator = torch.Generator().manual_seed(1)
    patches = {m: torch.randn(size, TOKENS, FEATURES, generator=generator) for m in ("10x", "20x")}
    return Batch(
        index=torch.arange(size), slide_ids=tuple(f"s{i}" for i in range(size)), patches=patches,
        repeats={m: torch.ones(size, dtype=torch.int64) for m in patches},
        genes={s: torch.randn(size, n, generator=generator) for s, n in GENES.items()}, has_expression=torch.ones(size, dtype=torch.bool),
        label=torch.arange(size) % CLASSES, event=torch.ones(size), value=torch.zeros(size),
    ).to(device)  # fmt: skip


def step_part(name: str, size: int, steps: int) -> dict[str, float]:
    """Time steps of one kind in this process."""
    import torch

    from pathduet.training import TrainingConfig
    from pathduet.training.objectives import (
        DistilledObjective,
        StudentObjective,
        TeacherObjective,
        TeacherTargets,
    )
    from pathduet.training.task_targets import ClassTarget

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config, outcome = TrainingConfig(), ClassTarget(("a", "b", "c", "d"))
    what, _, variant = name.partition(" ")
    batch = make_batch(size, device)
    if what == "teacher-forward":
        network = networks("teacher paper").to(device).eval()

        @torch.no_grad()
        def once() -> None:
            network(batch.patches["10x"], batch.patches["20x"], batch.genes)
    elif what == "half-teacher":  # one magnification, task loss: half of the work, no DEV and no coordination
        network = networks(f"teacher {variant}").to(device).train()

        def once() -> None:
            genes = {s: network.genes[s](x) for s, x in batch.genes.items()}
            masks = {s: network.gene_mask(s) for s in genes}
            fused = network.fusion["10x"](network.patches["10x"](batch.patches["10x"]), genes, masks)
            logits = network.classifier["10x"](fused.representation)
            outcome.loss(logits, batch.observed).backward()
    elif what == "inference":
        network = networks(f"student {variant}").to(device).eval()

        @torch.no_grad()
        def once() -> None:
            network(batch.patches["10x"], batch.patches["20x"])
    else:
        network = networks(f"{'student' if what == 'distilled' else what} {variant}").to(device).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
        teacher = networks("teacher paper").to(device).eval() if what == "distilled" else None

        def once() -> None:
            objective: Any
            if what == "teacher":
                objective = TeacherObjective(outcome, config)
            elif what == "student":
                objective = StudentObjective(outcome, config)
            else:  # query the teacher in the step, as if its outputs were not kept
                with torch.no_grad():
                    said = teacher(batch.patches["10x"], batch.patches["20x"], batch.genes)  # type: ignore[misc]
                targets = TeacherTargets(said.logits, said.representation)
                objective = DistilledObjective(outcome, config, None, targets)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = objective.loss(network, batch)
            loss.total.backward()
            objective.coordinate(network)
            optimizer.step()

    return timed(once, steps, device)


def dpc_part(tokens: int) -> dict[str, float]:
    """Time DPC-KNN of one slide of `tokens` tokens of width 128."""
    import torch

    from pathduet.models import dpc_knn

    x = torch.randn(1, tokens, 128, generator=torch.Generator().manual_seed(0))
    return timed(lambda: dpc_knn(x, 2), 2, torch.device("cpu"))


def timed(once: Any, steps: int, device: Any) -> dict[str, float]:
    """Call `once` to warm up, then `steps` times (0: once, without warm-up); return medians in seconds and peak memory in GiB."""
    import torch

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    base = peak()
    if steps:
        once()
        wait()
    cpu, wall = [], []
    for _ in range(max(steps, 1)):
        c, w = time.process_time(), time.perf_counter()
        once()
        wait()
        cpu.append(time.process_time() - c)
        wall.append(time.perf_counter() - w)
    memory = peak()
    if device.type == "cuda":
        base, memory = 0.0, torch.cuda.max_memory_allocated() / 2**30
    return {
        "cpu_s": sorted(cpu)[len(cpu) // 2], "wall_s": sorted(wall)[len(wall) // 2],
        "peak_gib": memory, "step_gib": memory - base,
    }  # fmt: skip


def peak() -> float:
    """Return this process's largest resident set so far in GiB."""
    from pathduet.core.hardware import peak_memory_mib

    return peak_memory_mib() / 2**10


def loader_part(slides: int) -> dict[str, float]:
    """Time reading batches of 4 from HDF5, first from the files and then from the cache, at full size."""
    from epoch import Size, make_cohort

    from pathduet.models import ModelConfig
    from pathduet.training.dataset import SlideDataset

    size = Size(slides, (TOKENS, TOKENS), FEATURES, GENES, ModelConfig())
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cohort(Path(folder), size)
        dataset = SlideDataset(cases, size.config, cache_mib=512)
        found = {}
        for name in ("file", "cache"):
            seconds = []
            for start in range(0, slides, 4):
                c = time.process_time()
                dataset.batch(range(start, start + 4))
                seconds.append(time.process_time() - c)
            found[f"{name}_cpu_s"] = sorted(seconds)[len(seconds) // 2]
    return {**found, "peak_gib": peak()}


def child(arguments: argparse.Namespace) -> None:
    """Measure one part in this process and print it as JSON."""
    from pathduet.core.hardware import limit_threads

    limit_threads(arguments.threads)
    name = arguments.part
    if name.startswith("dpc"):
        found = dpc_part(int(name.split()[1]))
    elif name == "loader":
        found = loader_part(16)
    else:
        found = step_part(name, arguments.batch, arguments.steps)
    print(json.dumps(found))


def available_gib() -> float:
    """Return the memory available without swapping; unknown counts as enough."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20


def measure(name: str, arguments: argparse.Namespace) -> dict[str, float] | None:
    """Run one part in a separate process and print its line; None if memory is insufficient."""
    need = NEEDS.get(name, 0.0) * arguments.batch / 4
    if need and need + arguments.keep_free > available_gib():
        print(
            f"{name:24s} left out: needs some {need:.1f} GiB and is to leave {arguments.keep_free:g}, "
            f"{available_gib():.1f} GiB available",
            flush=True,
        )
        return None
    command = [sys.executable, __file__, "--part", name, "--batch", str(arguments.batch)]
    command += ["--steps", str(0 if "released" in name else arguments.steps)]
    command += ["--threads", str(arguments.threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        print(f"{name:24s} failed ({done.returncode}): {done.stderr.strip()[-200:]}", flush=True)
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    shown = ", ".join(f"{key} {value:.3f}" for key, value in found.items())
    print(f"{name:24s} {shown}", flush=True)
    return found


def main() -> None:
    """Measure the requested parts and print ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=4, help="slides a step")
    parser.add_argument("--steps", type=int, default=5, help="counted steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=["steps", "teacher", "half", "dpc", "loader"])
    parser.add_argument(
        "--keep-free",
        type=float,
        default=1.0,
        help="GiB of the available memory that must stay free; negative where there is swap",
    )
    parser.add_argument("--skip-released", action="store_true")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        child(arguments)
        return
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"$ python {' '.join(sys.argv)}")
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, {gpu}, load {load},")
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}; B = {arguments.batch}, threads {arguments.threads}\n"
    )
    found: dict[str, dict[str, float] | None] = {}
    if arguments.only in (None, "steps"):
        names = ["teacher paper", "student paper", "inference paper", "teacher-forward", "distilled paper"]
        names += ["teacher plain", "student plain"]
        if not arguments.skip_released:
            names += ["student released", "inference released", "teacher released"]
        found |= {name: measure(name, arguments) for name in names}
    if arguments.only == "teacher":
        found |= {name: measure(name, arguments) for name in ("teacher paper", "teacher released")}
    alone = found.get("teacher released", {}) is None  # skipped
    if arguments.only == "half" or alone:
        found |= {name: measure(name, arguments) for name in ("half-teacher paper", "half-teacher released")}
    if arguments.only in (None, "dpc"):
        found |= {name: measure(name, arguments) for name in ("dpc 2500", "dpc 10000")}
    if arguments.only in (None, "loader"):
        found["loader"] = measure("loader", arguments)
    print()
    ratios(found)


def ratios(found: dict[str, dict[str, float] | None]) -> None:
    """Print the ratios between the figures."""
    for model in ("teacher", "half-teacher", "student", "inference"):
        ours, theirs = found.get(f"{model} paper"), found.get(f"{model} released")
        if ours and theirs:
            print(
                f"{model}: released / paper: CPU time {theirs['cpu_s'] / ours['cpu_s']:.0f} x, "
                f"peak memory {theirs['peak_gib'] / ours['peak_gib']:.1f} x, "
                f"memory of the step alone {theirs['step_gib'] / ours['step_gib']:.1f} x"
            )
    distilled, forward, student = (
        found.get(name) for name in ("distilled paper", "teacher-forward", "student paper")
    )
    if distilled and forward and student:
        together = forward["cpu_s"] + student["cpu_s"]
        print(
            f"distillation step / (teacher forward + student step): {distilled['cpu_s'] / together:.2f} "
            f"(with the teacher asked in every step; training asks it once a slide and keeps the answers: "
            f"about {student['cpu_s'] / together:.2f})"
        )
    loader, teacher = found.get("loader"), found.get("teacher paper")
    if loader and teacher:
        for name in ("file", "cache"):
            share = loader[f"{name}_cpu_s"] / teacher["cpu_s"]
            print(f"loading a batch of 4 from the {name}: {share:.0%} of a teacher step's CPU time")


if __name__ == "__main__":
    main()
