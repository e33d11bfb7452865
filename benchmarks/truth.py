"""The models against known truth: a phantom of feature vectors, hundreds of patients in seconds.

    python benchmarks/truth.py run --task survival --seeds 0 1 2 --out truth.jsonl
    python benchmarks/truth.py report truth.jsonl --out docs/results/truth.md

The phantom is `feature_phantom`'s. Half of the patients train, the other half is tested. A row of the output is one
number: seed, task, arm, metric, value. Rows are appended as they come, and a seed that is already there is not
computed again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from feature_phantom import (
    FEATURES,
    GENES,
    SIZES,
    Part,
    Phantom,
    answers,
    fresh,
    interval,
    make_phantom,
    score,
)
from torch import Tensor, nn

from pathduet.evaluation.metrics import survival_scores
from pathduet.learning.config import TrainingConfig
from pathduet.learning.dataset import Batch
from pathduet.learning.objectives import (
    DistilledObjective,
    Loss,
    StudentObjective,
    TeacherObjective,
    TeacherTargets,
)
from pathduet.learning.outcomes import Outcome
from pathduet.learning.trainer import fit
from pathduet.models import MAGNIFICATIONS, Student, Teacher
from pathduet.models.snn import SnnConfig, snn_branch
from pathduet.phantom.layout import REGIONS


class Concatenation(nn.Module):
    """No attention, no subspaces: mean patch features of both magnifications and all genes, fused by an MLP."""

    def __init__(self, outputs: int, histology: bool = True, genes: bool = True) -> None:
        super().__init__()
        self.histology = nn.Sequential(nn.Linear(2 * FEATURES, 64), nn.ReLU()) if histology else None
        self.genes = snn_branch(sum(GENES.values()), SnnConfig(hidden=(64, 64))) if genes else None
        width = 64 * (histology + genes)
        self.head = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, outputs))

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (B, K)."""
        parts = []
        if self.histology is not None:
            means = torch.cat([batch.patches[m].mean(dim=1) for m in MAGNIFICATIONS], dim=1)
            parts.append(self.histology(means))
        if self.genes is not None:
            parts.append(self.genes(torch.cat([batch.tumor, batch.tme], dim=1)))
        return self.head(torch.cat(parts, dim=1))


@dataclass
class PlainObjective:
    """The task's loss of one set of logits."""

    outcome: Outcome

    def loss(self, model: nn.Module, batch: Batch, epoch: int) -> Loss:
        """Return the loss."""
        logits = model(batch)
        task = self.outcome.loss(logits, batch.label, batch.event)
        probability = self.outcome.probability(logits.detach(), batch.label, batch.event)
        return Loss(task, {"task": task}, probability)

    def coordinate(self, model: nn.Module) -> None:
        """Leave the gradients alone."""
        return


def probe(train: np.ndarray, test: np.ndarray, truth_train: np.ndarray, truth_test: np.ndarray) -> float:
    """Return R^2 on the test half of a ridge regression whose strength is chosen on the training half."""
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    model = RidgeCV(alphas=np.logspace(-1, 4, 16)).fit(scaler.transform(train), truth_train)
    return float(model.score(scaler.transform(test), truth_test))


def latents_found(phantom: Phantom, network: nn.Module) -> dict[str, float]:
    """Return R^2 of each latent from each half of X_R (both magnifications), and own minus cross."""
    halves = {}
    for train in (True, False):
        _, representation, _ = answers(network, phantom.part(train))
        c = representation["10x"].shape[1] // 2
        halves[train] = {
            s: torch.cat([representation[m][:, k * c : (k + 1) * c] for m in MAGNIFICATIONS], dim=1).numpy()
            for k, s in enumerate(("tumor", "tme"))
        }
    found = {}
    for latent in ("tumor", "tme"):
        truth = phantom.patients[f"z_{latent}"].to_numpy()
        for s in ("tumor", "tme"):
            found[f"R2 z_{latent} from X_{s}"] = probe(
                halves[True][s], halves[False][s], truth[phantom.train], truth[~phantom.train]
            )
    own = (found["R2 z_tumor from X_tumor"] + found["R2 z_tme from X_tme"]) / 2
    cross = (found["R2 z_tumor from X_tme"] + found["R2 z_tme from X_tumor"]) / 2
    return {**found, "R2 own": own, "R2 cross": cross}


def dice(phantom: Phantom, network: nn.Module) -> dict[str, float]:
    """Return the mean Dice on test slides of the tumor prototype's tokens with the tumour regions.

    Beside it: the better of the two orders slide by slide (what the clustering allows), calling everything tumour, and
    the share of slides on which the order given is the better one.
    """
    part = phantom.part(False)
    _, _, mask = answers(network, part)
    tumour = [region for region, (_, subspace, _) in REGIONS.items() if subspace == "tumor"]
    given, best, everything = [], [], []
    for m in MAGNIFICATIONS:
        truth = np.isin(phantom.regions[m][part.rows], tumour)
        found = mask[m].numpy()
        one, other = (2 * (x & truth).sum(1) / (x.sum(1) + truth.sum(1)) for x in (found, ~found))
        given.append(one)
        best.append(np.maximum(one, other))
        everything.append(2 * truth.sum(1) / (truth.shape[1] + truth.sum(1)))
    one, top = np.concatenate(given), np.concatenate(best)
    return {
        "Dice": float(one.mean()), "Dice, better order": float(top.mean()),
        "Dice, all tumour": float(np.mean(everything)), "order right": float((one >= top).mean()),
    }  # fmt: skip


def targets(network: nn.Module, part: Part) -> TeacherTargets:
    """Return the teacher's answers about the training half."""
    logits, representation, _ = answers(network, part)
    return TeacherTargets(logits, representation)


def experiments(
    seed: int, task: str, epochs: int, rate: float, sweep: bool
) -> Iterator[tuple[str, str, float]]:
    """Yield (arm, metric, value) of every model of one seed."""
    metric = "c_index" if task == "survival" else "auc"
    phantom = make_phantom(seed, task)
    train, test, outcome = phantom.part(True), phantom.part(False), phantom.outcome
    K, rules = outcome.outputs, (("max_confidence", "mean") if task != "survival" else ("mean",))
    config = TrainingConfig.start_values(task, "teacher", epochs=epochs, learning_rate=rate, seed=seed)
    relaxed = replace(config, batch_size=8)
    if task == "survival":
        truth = phantom.patients.iloc[test.rows]
        values = survival_scores(
            truth["survival_days"].to_numpy(), truth["event"].to_numpy(), truth["log_hazard"].to_numpy()
        ).values
        yield "true hazard", metric, float(values["c_index"] or np.nan)

    def trained(
        arm: str, build: Any, objective: Any, settings: TrainingConfig, start: Any = None
    ) -> nn.Module:
        network = fresh(build, train, seed)
        if start is not None:
            network.load_state_dict(start.state_dict())
        fit(network, objective, train, settings, device=torch.device("cpu"), label=f"{task} {seed} {arm}")
        return network

    def scores(arm: str, network: nn.Module) -> Iterator[tuple[str, str, float]]:
        logits, _, _ = answers(network, test)
        paired = isinstance(network, Teacher | Student)
        for rule in rules:
            suffix = "" if rule == rules[0] else f", {rule} of experts"
            if paired or not suffix:
                yield arm, metric + suffix, score(phantom, test, logits, rule)

    for arm, what in (
        ("genes alone (SNN)", {"histology": False}), ("histology alone (mean of tiles)", {"genes": False}),
        ("concatenation", {}),
    ):  # fmt: skip
        network = trained(arm, lambda w=what: Concatenation(K, **w), PlainObjective(outcome), config)
        yield from scores(arm, network)

    def teacher(arm: str, **changes: Any) -> nn.Module:
        settings = replace(config, **changes)
        return trained(
            arm,
            lambda: Teacher(SIZES, FEATURES, GENES["tumor"], GENES["tme"], K),
            TeacherObjective(outcome, settings),
            settings,
        )

    def student(arm: str, objective: Any, settings: TrainingConfig, start: Any = None) -> nn.Module:
        return trained(arm, lambda: Student(SIZES, FEATURES, K), objective, settings, start)

    best = teacher("teacher")
    yield from scores("teacher", best)
    for name, value in latents_found(phantom, best).items():
        yield "teacher", name, value
    plain = student("student", StudentObjective(outcome, relaxed), relaxed)
    yield from scores("student", plain)
    for name, value in {**latents_found(phantom, plain), **dice(phantom, plain)}.items():
        yield "student", name, value
    # Distillation goes on from the student: the fair control is a student that trains on for as long, untaught.
    second = replace(relaxed, learning_rate=rate / 2)
    longer = student("student, trained on", StudentObjective(outcome, second), second, plain)
    yield from scores("student, trained on", longer)
    for weight in (0.01, 1.0):
        settings = replace(second, w_mse=weight, w_kl=weight)
        arm = f"distilled, weights {weight:g}"
        taught = student(
            arm, DistilledObjective(outcome, settings, None, targets(best, train)), settings, plain
        )
        yield from scores(arm, taught)
        for name, value in {**latents_found(phantom, taught), **dice(phantom, taught)}.items():
            yield arm, name, value
    for arm, changes in (
        ("teacher, CGC off", {"cgc": False}), ("teacher, IGC off", {"igc": False}),
        ("teacher, both off", {"cgc": False, "igc": False}),
    ):  # fmt: skip
        network = teacher(arm, **changes)
        yield from scores(arm, network)
        found = latents_found(phantom, network)
        for name in ("R2 own", "R2 cross"):
            yield arm, name, found[name]
    if not sweep:
        return
    for arm, changes in (
        ("teacher, lambda 1e6", {"lambda_dev": 1e6}), ("teacher, rate 2e-4", {"learning_rate": 2e-4}),
    ):  # fmt: skip
        yield from scores(arm, teacher(arm, **changes))
    slow = replace(relaxed, learning_rate=2e-4)
    yield from scores(
        "student, rate 2e-4", student("student, rate 2e-4", StudentObjective(outcome, slow), slow)
    )


def run(arguments: argparse.Namespace) -> None:
    """Append the rows of the seeds that are not there yet."""
    torch.set_num_threads(1)
    path: Path = arguments.out
    done = set()
    if path.exists():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        done = {(row["task"], row["seed"]) for row in rows if row["metric"] == "cpu_s"}
    for seed in arguments.seeds:
        if (arguments.task, seed) in done:
            continue
        start = time.process_time()
        found = []
        for arm, metric, value in experiments(
            seed, arguments.task, arguments.epochs, arguments.rate, arguments.sweep
        ):
            print(f"seed {seed} {arguments.task} {arm}: {metric} {value:.3f}", flush=True)
            found.append((arm, metric, value))
        found.append(("", "cpu_s", time.process_time() - start))
        with path.open("a") as file:  # a whole seed at once
            for arm, metric, value in found:
                row = {
                    "task": arguments.task,
                    "seed": seed,
                    "epochs": arguments.epochs,
                    "rate": arguments.rate,
                }
                file.write(json.dumps({**row, "arm": arm, "metric": metric, "value": value}) + "\n")


COMPARISONS = (
    ("teacher", "genes alone (SNN)"), ("teacher", "histology alone (mean of tiles)"), ("teacher", "student"),
    ("teacher", "concatenation"), ("distilled, weights 0.01", "student"), ("distilled, weights 1", "student"),
    ("distilled, weights 0.01", "student, trained on"), ("distilled, weights 1", "student, trained on"),
    ("teacher", "teacher, CGC off"), ("teacher", "teacher, IGC off"), ("teacher", "teacher, both off"),
    ("teacher, lambda 1e6", "teacher"), ("teacher, rate 2e-4", "teacher"), ("student, rate 2e-4", "student"),
)  # fmt: skip


def report(arguments: argparse.Namespace) -> None:
    """Print (or write) the tables of a finished or unfinished run."""
    import pandas as pd

    table = pd.DataFrame(
        [json.loads(line) for path in arguments.rows for line in path.read_text().splitlines()]
    )
    lines = []
    for task, rows in table.groupby("task"):
        wide = rows.pivot_table(index="seed", columns=["arm", "metric"], values="value")
        metric = "c_index" if task == "survival" else "auc"
        settings = rows.iloc[0]
        seconds = rows.loc[rows["metric"] == "cpu_s", "value"]
        lines += [
            f"## {task}: {len(wide)} seeds ({', '.join(str(s) for s in wide.index)}), "
            f"{settings['epochs']} epochs, peak rate {settings['rate']:g}, {seconds.mean():.0f} CPU s a seed", "",
            "Mean over seeds and its 95 % t interval.", "",
            f"| model | {metric} on the test half |", "|---|---|",
        ]  # fmt: skip
        arms = [arm for arm in rows["arm"].unique() if (arm, metric) in wide]
        lines += [f"| {arm} | {interval(wide[arm, metric].dropna().to_numpy())} |" for arm in arms]
        mean_rule = f"{metric}, mean of experts"
        lines += [
            f"| {arm}, mean of the experts | {interval(wide[arm, mean_rule].dropna().to_numpy())} |"
            for arm in arms
            if (arm, mean_rule) in wide
        ]
        lines += [
            "",
            "| difference, paired by seed | mean and 95 % interval | seeds above 0 |",
            "|---|---|---|",
        ]
        for one, other in COMPARISONS:
            if one in arms and other in arms:
                gap = (wide[one, metric] - wide[other, metric]).dropna().to_numpy()
                lines.append(f"| {one} - {other} | {interval(gap)} | {(gap > 0).sum()} of {len(gap)} |")
        names = ["R2 z_tumor from X_tumor", "R2 z_tumor from X_tme", "R2 z_tme from X_tme", "R2 z_tme from X_tumor",
                 "R2 own", "R2 cross", "Dice", "Dice, better order", "Dice, all tumour", "order right"]  # fmt: skip
        lines += ["", "| model | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for arm in arms:
            cells = [
                interval(wide[arm, name].dropna().to_numpy()) if (arm, name) in wide else "" for name in names
            ]
            if any(cells):
                lines.append(f"| {arm} | " + " | ".join(cells) + " |")
        lines.append("")
    text = "\n".join(lines)
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        arguments.out.write_text(text)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    runs = commands.add_parser("run")
    runs.add_argument("--task", choices=["diagnosis", "survival"], default="survival")
    runs.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    runs.add_argument("--epochs", type=int, default=10)
    runs.add_argument("--rate", type=float, default=1e-3)
    runs.add_argument("--sweep", action="store_true", help="also other lambdas and rates")
    runs.add_argument("--out", type=Path, required=True)
    runs.set_defaults(call=run)
    reports = commands.add_parser("report")
    reports.add_argument("rows", type=Path, nargs="+")
    reports.add_argument("--out", type=Path)
    reports.set_defaults(call=report)
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    main()
