"""Shared code of the benchmarks against known truth: a run's phantom and settings, output rows, pages, the command line.

Every benchmark has two commands: `run` appends rows to a JSONL file and skips existing rows, `report` turns them into a
page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from feature_phantom import FEATURES, SIZES, TASKS, Part, Phantom, answers, fresh, interval
from torch import nn

from pathduet.catalogue import find, names
from pathduet.core.source_code import code_version
from pathduet.losses.class_weights import class_weights
from pathduet.models import ModelConfig, Student, Teacher
from pathduet.models.inputs import NetworkSizes
from pathduet.training.baseline_objective import BaselineObjective
from pathduet.training.config import TrainingConfig
from pathduet.training.loop import fit
from pathduet.training.networks import build_baseline
from pathduet.training.objectives import (
    DistilledObjective,
    StudentObjective,
    TeacherObjective,
    TeacherTargets,
)
from pathduet.training.prototype_order import order_prototypes
from pathduet.training.task_targets import ClassTarget

EPOCHS, BATCH, RATE = 10, 12, 1e-3
BASELINES = {name: find(name) for name in names("baseline")}
CPU = torch.device("cpu")


@dataclass
class Run:
    """One seed and task: the phantom, and the common settings of its models."""

    seed: int
    task: str
    phantom: Phantom
    config: TrainingConfig
    sizes: ModelConfig

    @property
    def train(self) -> Part:
        """The labelled slides of half of the patients."""
        return self.phantom.part(True, self.phantom.labelled)

    @property
    def outputs(self) -> int:
        """Number of a network's outputs."""
        return self.phantom.outcome.outputs

    @property
    def weights(self) -> torch.Tensor | None:
        """Weights of the classes in the loss."""
        if not isinstance(self.phantom.outcome, ClassTarget):
            return None
        first = [self.train.rows[slides[0]] for slides in self.train.patients]
        known = [label for label in self.phantom.label[torch.tensor(first)].tolist() if label >= 0]
        return class_weights(known, self.outputs)

    def teacher(self, kind: Any = Teacher) -> nn.Module:
        """Return a teacher with fresh weights."""
        genes = {s: values.shape[1] for s, values in self.phantom.genes.items()}
        return self._fresh(lambda: kind(self.sizes, FEATURES, genes, self.outputs))

    def student(self, kind: Any = Student) -> nn.Module:
        """Return a student with fresh weights."""
        return self._fresh(lambda: kind(self.sizes, FEATURES, self.outputs))

    def _fresh(self, build: Callable[[], nn.Module]) -> nn.Module:
        return fresh(build, self.train, self.seed, self.sizes.patch_start)

    def fit(
        self,
        network: nn.Module,
        objective: Any,
        config: TrainingConfig,
        name: str,
        part: Part | None = None,
        **more: Any,
    ) -> nn.Module:
        """Train a network in place, by default on :attr:`train`."""
        fit(network, objective, part or self.train, config, device=CPU, label=f"{self.task} {name}", **more)
        return network

    def baseline(self, name: str, part: Part | None = None, **changes: Any) -> nn.Module:
        """Return a trained baseline with the width of the other networks; all else is its default or in `changes`."""
        settings = BASELINES[name].load_settings()()
        widths = {"width": SIZES.width, "heads": SIZES.heads, "landmarks": SIZES.width // 2, "hidden": (64, 64), "gene_hidden": 64}  # fmt: skip
        changes = widths | changes
        settings = replace(
            settings, **{f.name: changes[f.name] for f in fields(settings) if f.name in changes}
        )
        counts = {s: values.shape[1] for s, values in self.phantom.genes.items()}
        genes = {s: tuple(f"{s.upper()}{i}" for i in range(n)) for s, n in counts.items()}
        sizes = NetworkSizes(FEATURES, genes, self.outputs)
        network = fresh(lambda: build_baseline(BASELINES[name], sizes, settings), self.train, self.seed)
        objective = BaselineObjective(self.phantom.outcome, self.config, self.weights)
        return self.fit(network, objective, self.config, name, part)


def pooled_components(run: Run) -> np.ndarray:
    """Return predictions for the test half's slides by penalised regression on principal components of mean features and expression."""
    from pathduet.evaluation.components import Components, joined
    from pathduet.evaluation.regressions import fit_regression

    phantom, task = run.phantom, TASKS[run.task]
    train = phantom.train & phantom.labelled & phantom.paired
    blocks = {
        "slides": [x.mean(dim=1) for x in phantom.tokens.values()],
        "expression": list(phantom.genes.values()),
    }
    values = joined(**{
        what: pd.DataFrame(np.concatenate(block, axis=1), index=phantom.patients.index).groupby(level=0).mean()
        for what, block in blocks.items()
    })  # fmt: skip
    known = phantom.patients[train].loc[lambda rows: ~rows.index.duplicated()]
    if task.kind == "classification":
        known = known.assign(
            label=[
                task.classes[k]
                for k in phantom.label[train].numpy()[~phantom.patients[train].index.duplicated()]
            ]
        )
    inputs = Components.of(values.loc[known.index])
    fitted = fit_regression(inputs, known, task)
    said = fitted.predict(values.loc[phantom.patients.index[~phantom.train].unique()])
    found = said.drop(columns="predicted", errors="ignore").to_numpy()
    return found[:, 0] if task.kind == "survival" else found


def out_of_fold(run: Run, train: Callable[[Part], nn.Module], asked: Part, inner: int) -> TeacherTargets:
    """Return predictions of teachers that have not seen the slides, like `pathduet.training.out_of_fold`.

    Parameters
    ----------
    train : callable
        Trains a teacher on a part.
    asked : Part
        The slides that the teachers predict.
    inner : int
        Inner folds; below two: a single teacher, of all slides with label and expression.
    """
    phantom = run.phantom
    learn = phantom.part(True, phantom.labelled & phantom.paired)
    if inner < 2:
        return TeacherTargets(*answers(train(learn), asked)[:2])
    people = learn.patients
    order = np.random.default_rng([run.seed, 7]).permutation(len(people))
    share, said = torch.full((inner, len(asked)), 1 / inner), []
    for k in range(inner):
        held = {int(learn.rows[i]) for p in order[k::inner] for i in people[p]}
        said.append(answers(train(Part(phantom, np.array([r for r in learn.rows if r not in held]))), asked))
        mine = torch.tensor([int(row) in held for row in asked.rows])
        share[:, mine] = torch.eye(inner)[:, k : k + 1]
    logits, representation = (
        {m: torch.einsum("tn,tnw->nw", share, torch.stack([one[kind][m] for one in said])) for m in said[0][kind]}
        for kind in (0, 1)
    )  # fmt: skip
    return TeacherTargets(logits, representation)


@dataclass
class Method:
    """The method's four networks of a run, each trained once: teacher, student, and two that continue from it.

    Those two train further, for the package's minimum number of steps of a distilled student, at half the rate.
    """

    run: Run
    #: Settings for training teachers; default: those of the others.
    teachers: Run | None = None
    trained: dict[str, nn.Module] = field(default_factory=dict)

    def network(self, name: str) -> nn.Module:
        """Return a network of the catalogue's method, or `distilled, own teacher`, trained."""
        if name not in self.trained:
            makers = {
                "teacher": self.teacher, "student": self._student, "student_longer": self._longer,
                "distilled": lambda: self._distilled(self.run.config.inner_folds),
                "distilled, own teacher": lambda: self._distilled(0),
            }  # fmt: skip
            self.trained[name] = makers[name]()
        return self.trained[name]

    def teacher(self, part: Part | None = None, **changes: Any) -> nn.Module:
        """Return a teacher, trained on all slides with label and expression, or on a part of them, with changed settings."""
        run, phantom = self.teachers or self.run, self.run.phantom
        shape = {key: changes.pop(key) for key in list(changes) if hasattr(run.sizes, key)}
        config = replace(run.config, **changes)
        network = replace(run, sizes=replace(run.sizes, **shape)).teacher()
        objective = TeacherObjective(phantom.outcome, config, run.weights)
        part = part or phantom.part(True, phantom.labelled & phantom.paired)
        return run.fit(network, objective, config, "teacher", part)

    def _student(self) -> nn.Module:
        run = self.run
        objective = StudentObjective(run.phantom.outcome, run.config, run.weights)
        return run.fit(run.student(), objective, run.config, "student")

    def _goes_on(self) -> tuple[nn.Module, TrainingConfig]:
        network = self.run.student()
        network.load_state_dict(self.network("student").state_dict())
        config, steps = (
            self.run.config,
            TrainingConfig.start_values(TASKS[self.run.task], "distilled").min_steps,
        )
        return network, replace(config, learning_rate=config.learning_rate / 2, min_steps=steps)

    def _longer(self) -> nn.Module:
        run, (network, config) = self.run, self._goes_on()
        objective = StudentObjective(run.phantom.outcome, config, run.weights)
        return run.fit(network, objective, config, "longer", items=int(run.phantom.train.sum()))

    def _distilled(self, inner: int) -> nn.Module:
        run, phantom, (network, config) = self.run, self.run.phantom, self._goes_on()
        # a slide can teach by its label, or by a teacher's prediction from its expression
        taught = phantom.part(True, phantom.labelled | phantom.paired)
        order_prototypes(network, taught, np.flatnonzero(phantom.paired[taught.rows]).tolist(), BATCH)
        train = self.teacher if inner > 1 else lambda part: self.network("teacher")
        targets = out_of_fold(run, train, taught, inner)
        objective = DistilledObjective(phantom.outcome, config, run.weights, targets)
        return run.fit(network, objective, config, "distilled", taught, items=int(phantom.train.sum()))


def read_rows(*paths: Path) -> list[dict[str, Any]]:
    """Return the existing rows."""
    return [json.loads(line) for path in paths if path.exists() for line in path.read_text().splitlines()]


def append_rows(path: Path, *rows: Mapping[str, Any]) -> None:
    """Append rows, all at once."""
    with path.open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def paired(values: np.ndarray) -> tuple[str, float | None]:
    """Return a paired difference's mean with its 95 % t interval over seeds, and the two-sided p of the t test."""
    from scipy.stats import ttest_1samp

    if len(values) < 2 or not values.std():
        return interval(values) if len(values) else "", None
    return interval(values), float(ttest_1samp(values, 0.0).pvalue)


def refuse_mixed(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Exit if the rows differ in a value that a page states only once."""
    if table[list(columns)].drop_duplicates().shape[0] > 1:
        raise SystemExit(f"the rows are of several {what}: one page shows one of them")


def benchmark_code(benchmark: Path) -> str:
    """Return a short hash of a benchmark's file, the modules beside it that it needs, and all package modules that they import."""
    found: set[Path] = set()
    ahead = [benchmark]
    while ahead:
        file = ahead.pop()
        if file not in found:
            found.add(file)
            imported = re.findall(r"^[ \t]*(?:from|import) (\w+)", file.read_text(), re.MULTILINE)
            ahead += [place for name in imported if (place := file.with_name(f"{name}.py")).is_file()]
    files = sorted(found)
    digest = hashlib.sha256(code_version(*files).encode())
    for file in files:
        digest.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]


def codes_of(table: pd.DataFrame, column: str = "model") -> str:
    """Return the version of the code, or each version with its models; refuse a model with two versions."""
    codes = table.groupby("code")[column].unique()
    if table.groupby(column)["code"].nunique().max() > 1:
        raise SystemExit(f"a {column}'s rows are of several versions of the code: one page shows one of them")
    if len(codes) == 1:
        return str(codes.index[0])
    return "; ".join(f"{code} ({', '.join(models)})" for code, models in codes.items())


def where(machine: str, code: str, *libraries: str) -> str:
    """Return a page's line about date, machine and versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("pathduet", "torch", "numpy", *libraries))
    place = f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores ({machine})"
    return f"{place}, Python {platform.python_version()}, {versions}, code {code}."


def table_head(heads: Sequence[str]) -> list[str]:
    """Return the first two lines of a Markdown table."""
    return ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]


def what_it_says(message: Path | None) -> list[str]:
    """Return the lines of a page's text on its tables; none without a file."""
    return ["## What it says", "", message.read_text().strip(), ""] if message else []


def write_page(lines: Iterable[str], out: Path | None) -> None:
    """Write a page, or print it."""
    text = "\n".join(lines)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text)


class CommandLine:
    """`run`, `report` and further commands of a benchmark."""

    def __init__(self, description: str | None) -> None:
        self.parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.commands = self.parser.add_subparsers(required=True)

    def runs(
        self, call: Any, seeds: Iterable[int] = range(10), name: str = "run", **defaults: Any
    ) -> argparse.ArgumentParser:
        """Add a command that appends rows."""
        command = self.commands.add_parser(name)
        command.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
        command.add_argument("--out", type=Path, required=True)
        command.set_defaults(call=call, **defaults)
        return command

    def reports(self, call: Any, made_by: str) -> argparse.ArgumentParser:
        """Add the command that writes a page."""
        command = self.commands.add_parser("report")
        command.add_argument("rows", type=Path, nargs="+")
        command.add_argument("--out", type=Path)
        command.add_argument("--message", type=Path, help="what the tables say, in Markdown")
        command.add_argument("--command", default=made_by)
        command.add_argument("--machine", default="shared", help="what else ran on the machine")
        command.set_defaults(call=call)
        return command

    def execute(self) -> None:
        """Parse the arguments and run the command."""
        arguments = self.parser.parse_args()
        torch.set_num_threads(1)
        arguments.call(arguments)
