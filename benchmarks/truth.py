"""The models against known truth: a phantom of feature vectors, hundreds of patients in seconds.

    python benchmarks/truth.py run --task survival --seeds 0 1 2 3 4 5 6 7 8 9 --out truth.jsonl
    python benchmarks/truth.py report truth.jsonl --out docs/results/truth.md

The phantom is `feature_phantom`'s. Half of the patients train, the other half is tested. A row of the output is one
number: seed, task, arm, metric, value. Rows are appended as they are computed, and existing seeds are skipped.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from feature_phantom import (
    FEATURES,
    GENES,
    LOOKS,
    SIZES,
    TASKS,
    Part,
    Phantom,
    answers,
    fresh,
    interval,
    make_phantom,
    score,
)
from known_truth import CommandLine, append_rows, read_rows, table_head, write_page
from torch import Tensor, nn

from pathduet.evaluation.survival_metrics import survival_scores
from pathduet.models import MAGNIFICATIONS, ModelConfig, Student, Teacher
from pathduet.models.method.config import EXPERT_RULES
from pathduet.models.snn import SnnConfig, snn_branch
from pathduet.phantom.layout import REGIONS
from pathduet.training.config import TrainingConfig
from pathduet.training.dataset import Batch
from pathduet.training.loop import fit
from pathduet.training.objectives import (
    DistilledObjective,
    Loss,
    StudentObjective,
    TeacherObjective,
    TeacherTargets,
)
from pathduet.training.prototype_order import order_prototypes
from pathduet.training.task_targets import TaskTarget

Row = tuple[str, str, float]  # arm, metric, value


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
            parts.append(self.genes(torch.cat(list(batch.genes.values()), dim=1)))
        return self.head(torch.cat(parts, dim=1))


@dataclass
class PlainObjective:
    """The task's loss of one set of logits."""

    outcome: TaskTarget

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Return the loss."""
        logits = model(batch)
        task = self.outcome.loss(logits, batch.observed)
        probability = self.outcome.probability(logits.detach(), batch.observed)
        return Loss(task, {"task": task}, probability)

    def coordinate(self, model: nn.Module) -> None:
        """Leave the gradients unchanged."""
        return


def probe(train: np.ndarray, test: np.ndarray, truth_train: np.ndarray, truth_test: np.ndarray) -> float:
    """Return R^2 on the test half of a ridge regression whose strength is chosen on the training half."""
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    model = RidgeCV(alphas=np.logspace(-1, 4, 16)).fit(scaler.transform(train), truth_train)
    return float(model.score(scaler.transform(test), truth_test))


def latents_found(phantom: Phantom, network: nn.Module) -> dict[str, float]:
    """Return R^2 of each latent from each subspace's part of X_R (both magnifications), and their own and cross means."""
    subspaces, parts = list(phantom.genes), {}
    for train in (True, False):
        _, representation, _ = answers(network, phantom.part(train))
        c = representation["10x"].shape[1] // len(subspaces)
        parts[train] = {
            s: torch.cat([representation[m][:, k * c : (k + 1) * c] for m in MAGNIFICATIONS], dim=1).numpy()
            for k, s in enumerate(subspaces)
        }
    found = {}
    for latent in subspaces:
        truth = phantom.patients[f"z_{latent}"].to_numpy()
        for s in subspaces:
            found[f"R2 z_{latent} from X_{s}"] = probe(
                parts[True][s], parts[False][s], truth[phantom.train], truth[~phantom.train]
            )
    own = [found[f"R2 z_{s} from X_{s}"] for s in subspaces]
    cross = [found[f"R2 z_{a} from X_{b}"] for a, b in permutations(subspaces, 2)]
    return {**found, "R2 own": float(np.mean(own)), "R2 cross": float(np.mean(cross))}


def dice(phantom: Phantom, network: nn.Module) -> dict[str, float]:
    """Return the mean Dice on test slides of the tumor prototype's tokens with the tumour regions.

    Also returned: the better of the two orders slide by slide (the limit of the clustering), the score of calling all
    tokens tumour, and the share of slides on which the given order is the better one.
    """
    part = phantom.part(False)
    _, _, mask = answers(network, part)
    tumour = [region for region, (_, channel, _) in REGIONS.items() if channel == "cells"]
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
    """Return the teacher's predictions for the training half."""
    logits, representation, _ = answers(network, part)
    return TeacherTargets(logits, representation)


@dataclass(frozen=True)
class Settings:
    """Training settings of a run.

    Attributes
    ----------
    model : ModelConfig
        Of teachers and students.
    rate : float
        Peak learning rate of teachers and students; half of it for distillation.
    weight : float
        w_mse and w_kl.
    rule : str
        How the two experts' class probabilities are combined.
    oriented : bool
        Whether the expression decides the prototypes' order before distillation.
    epochs : int
        Epochs of every network of the method; distillation has as many again.
    decay : float
        Factor on the task's weight decay.
    """

    model: ModelConfig
    rate: float
    weight: float
    rule: str
    oriented: bool
    epochs: int = 10
    decay: float = 1.0


#: The package's defaults, and those before the search that docs/results/truth.md records.
DEFAULTS = Settings(SIZES, 1e-3, 1.0, "mean", True)
SETTINGS = {
    "defaults": DEFAULTS,
    "before": Settings(
        replace(SIZES, refinements=0, patch_start="random"), 2e-4, 0.01, "max_confidence", False
    ),
    "before, rate 1e-3": Settings(
        replace(SIZES, refinements=0, patch_start="random"), 1e-3, 1.0, "mean", False
    ),
    # trials: the defaults except for the named setting
    "raster order": replace(DEFAULTS, model=replace(SIZES, token_order="raster")),
    "rate 5e-4": replace(DEFAULTS, rate=5e-4),
    "rate 2e-3": replace(DEFAULTS, rate=2e-3),
    "20 epochs": replace(DEFAULTS, epochs=20),
    "decay x 0": replace(DEFAULTS, decay=0.0),
    "decay x 10": replace(DEFAULTS, decay=10.0),
}


def experiments(seed: int, task: str, look: str, chosen: Settings, parts: str) -> Iterator[Row]:
    """Yield (arm, metric, value) of every model of one seed."""
    metric = "c_index" if task == "survival" else "auc"
    phantom = make_phantom(seed, task, look=look, token_order=chosen.model.token_order)
    train, test, outcome = phantom.part(True), phantom.part(False), phantom.outcome
    K, cpu = outcome.outputs, torch.device("cpu")
    config = TrainingConfig.start_values(
        TASKS[task], "teacher", learning_rate=chosen.rate, seed=seed, epochs=chosen.epochs
    )
    config = replace(config, weight_decay=chosen.decay * config.weight_decay)
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
        network = fresh(build, train, seed, chosen.model.patch_start)
        if start is not None:
            network.load_state_dict(start.state_dict())
            if isinstance(objective, DistilledObjective) and chosen.oriented:
                order_prototypes(network, train, list(range(len(train))), 20)  # type: ignore[arg-type]
        fit(network, objective, train, settings, device=cpu, label=f"{task} {seed} {arm}")
        return network

    def scores(arm: str, network: nn.Module) -> Iterator[Row]:
        logits, _, _ = answers(network, test)
        paired = isinstance(network, Teacher | Student)
        yield arm, metric, score(phantom, test, logits, chosen.rule)
        if task != "survival" and paired:
            for rule in EXPERT_RULES:
                yield arm, f"{metric}, {rule}", score(phantom, test, logits, rule)

    if "s" in parts:
        plain = TrainingConfig.start_values(TASKS[task], "teacher", seed=seed)
        for arm, what in (
            ("genes alone (SNN)", {"histology": False}), ("histology alone (mean of tiles)", {"genes": False}),
            ("concatenation", {}),
        ):  # fmt: skip
            network = trained(arm, lambda w=what: Concatenation(K, **w), PlainObjective(outcome), plain)
            yield from scores(arm, network)

    def teacher(arm: str, **changes: Any) -> nn.Module:
        settings = replace(config, **changes)
        return trained(
            arm,
            lambda: Teacher(chosen.model, FEATURES, GENES, K),
            TeacherObjective(outcome, settings),
            settings,
        )

    def student(arm: str, objective: Any, settings: TrainingConfig, start: Any = None) -> nn.Module:
        return trained(arm, lambda: Student(chosen.model, FEATURES, K), objective, settings, start)

    def described(arm: str, network: nn.Module) -> Iterator[Row]:
        found = latents_found(phantom, network)
        if isinstance(network, Student):
            found |= dice(phantom, network)
        for name, value in found.items():
            yield arm, name, value

    best = teacher("teacher")
    yield from scores("teacher", best)
    yield from described("teacher", best)
    if "d" in parts:
        first = student("student", StudentObjective(outcome, relaxed), relaxed)
        yield from scores("student", first)
        yield from described("student", first)
        # Distillation continues from the student: the fair control trains equally long, without a teacher.
        second = replace(relaxed, learning_rate=chosen.rate / 2, w_mse=chosen.weight, w_kl=chosen.weight)
        longer = student("student, trained on", StudentObjective(outcome, second), second, first)
        yield from scores("student, trained on", longer)
        objective = DistilledObjective(outcome, second, None, targets(best, train))
        taught = student("distilled", objective, second, first)
        yield from scores("distilled", taught)
        yield from described("distilled", taught)
    if "c" in parts:
        for arm, changes in (
            ("teacher, CGC off", {"cgc": False}), ("teacher, IGC off", {"igc": False}),
            ("teacher, both off", {"cgc": False, "igc": False}), ("teacher, lambda 1e7", {"lambda_dev": 1e7}),
        ):  # fmt: skip
            network = teacher(arm, **changes)
            yield from scores(arm, network)
            found = latents_found(phantom, network)
            for name in ("R2 own", "R2 cross"):
                yield arm, name, found[name]


def run(arguments: argparse.Namespace) -> None:
    """Append the rows of the missing seeds."""
    kept = ("task", "look", "settings", "parts", "seed")
    done = {tuple(row[key] for key in kept) for row in read_rows(arguments.out)}
    for seed in arguments.seeds:
        row = {
            "task": arguments.task, "look": arguments.look, "settings": arguments.settings,
            "parts": arguments.parts, "seed": seed,
        }  # fmt: skip
        if tuple(row.values()) in done:
            continue
        start = time.process_time()
        chosen = SETTINGS[arguments.settings]
        found = list(experiments(seed, arguments.task, arguments.look, chosen, arguments.parts))
        found.append(("", "cpu_s", time.process_time() - start))
        append_rows(
            arguments.out,
            *({**row, "arm": arm, "metric": metric, "value": value} for arm, metric, value in found),
        )


COMPARISONS = (
    ("teacher", "genes alone (SNN)"), ("teacher", "histology alone (mean of tiles)"), ("teacher", "concatenation"),
    ("teacher", "distilled"), ("distilled", "student"), ("distilled", "student, trained on"),
    ("distilled", "histology alone (mean of tiles)"),
    ("teacher", "teacher, CGC off"), ("teacher", "teacher, IGC off"), ("teacher", "teacher, both off"),
    ("teacher, lambda 1e7", "teacher"),
)  # fmt: skip


def report(arguments: argparse.Namespace) -> None:
    """Print (or write) the tables of a finished or unfinished run."""
    table = pd.DataFrame(read_rows(*arguments.rows))
    lines = []
    for (task, look, settings), rows in table.groupby(["task", "look", "settings"], sort=False):
        wide = rows.pivot_table(index="seed", columns=["arm", "metric"], values="value")
        metric = "c_index" if task == "survival" else "auc"
        seconds = rows.loc[rows["metric"] == "cpu_s", "value"]
        lines += [
            f"### {task}, look {look}, {settings}: {len(wide)} seeds ({', '.join(str(s) for s in wide.index)}), "
            f"{seconds.sum() / len(wide):.0f} CPU s a seed", "", "Mean over seeds and its 95 % t interval.", "",
            f"| model | {metric} on the test half |", "|---|---|",
        ]  # fmt: skip
        arms = [arm for arm in rows["arm"].unique() if (arm, metric) in wide]
        for arm in arms:
            if (arm, "R2 own") in wide:
                wide[arm, "R2 own - cross"] = wide[arm, "R2 own"] - wide[arm, "R2 cross"]
        lines += [f"| {arm} | {interval(wide[arm, metric].dropna().to_numpy())} |" for arm in arms]
        for rule in EXPERT_RULES:
            name = f"{metric}, {rule}"
            lines += [
                f"| {arm}, experts by {rule} | {interval(wide[arm, name].dropna().to_numpy())} |"
                for arm in arms
                if (arm, name) in wide
            ]
        lines += [
            "",
            "| difference, paired by seed | mean and 95 % interval | seeds above 0 |",
            "|---|---|---|",
        ]
        for one, other in COMPARISONS:
            if one in arms and other in arms:
                gap = (wide[one, metric] - wide[other, metric]).dropna().to_numpy()
                if not len(gap):
                    continue
                lines.append(f"| {one} - {other} | {interval(gap)} | {(gap > 0).sum()} of {len(gap)} |")
        names = ["R2 z_tumor from X_tumor", "R2 z_tumor from X_tme", "R2 z_tme from X_tme", "R2 z_tme from X_tumor",
                 "R2 own", "R2 cross", "R2 own - cross", "Dice", "Dice, better order", "Dice, all tumour", "order right"]  # fmt: skip
        lines += ["", *table_head(["model", *names])]
        for arm in arms:
            cells = [
                interval(wide[arm, name].dropna().to_numpy()) if (arm, name) in wide else "" for name in names
            ]
            if any(cells):
                lines.append(f"| {arm} | " + " | ".join(cells) + " |")
        lines.append("")
    write_page(lines, arguments.out)


def main() -> None:
    """Read the command line."""
    line = CommandLine(__doc__)
    runs = line.runs(run)
    runs.add_argument("--task", choices=["diagnosis", "survival"], default="survival")
    runs.add_argument("--look", choices=sorted(LOOKS), default="nuclei")
    runs.add_argument("--settings", choices=list(SETTINGS), default="defaults")
    runs.add_argument(
        "--parts",
        default="sdc",
        help="of: s single modalities and concatenation, d distillation, c CGC and IGC",
    )
    line.reports(report, "python benchmarks/truth.py run --out truth.jsonl")
    line.execute()


if __name__ == "__main__":
    main()
