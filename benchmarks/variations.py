"""The tables of variations against known truth, on the feature-level phantom: ablation, gene selection, findings.

    python benchmarks/variations.py run --out variations.jsonl
    python benchmarks/variations.py report variations.jsonl --out docs/results/variations.md

The rows are those of the workflow's tables (`pathduet.variations`), trained as in `comparison.py`: same phantom, widths,
epochs, batches and rate. A row of the output is one model of one seed, task and table; rows are appended as they are
computed, and existing rows are skipped. Seeds are the outer loop. Gene selection has its own phantom, with two thirds spare genes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from feature_phantom import (
    FEATURES,
    GENES,
    SIZES,
    Part,
    Phantom,
    answers,
    interval,
    make_phantom,
    probability_and_risk,
    scores,
)
from known_truth import (
    BATCH,
    EPOCHS,
    RATE,
    CommandLine,
    Run,
    append_rows,
    benchmark_code,
    out_of_fold,
    paired,
    read_rows,
    refuse_mixed,
    table_head,
    what_it_says,
    where,
    write_page,
)
from torch import nn

from pathduet.catalogue import find
from pathduet.cohort.tasks import tasks_of
from pathduet.core import config as configuration
from pathduet.core.errors import PathDuetError
from pathduet.evaluation.multiple_testing import holm
from pathduet.evaluation.table_sections import p_text
from pathduet.expression.gene_selection import interdecile_range
from pathduet.models import ModelConfig, Student
from pathduet.training.config import TrainingConfig
from pathduet.training.loop import learning_rate
from pathduet.training.networks import choose
from pathduet.training.objectives import (
    DistilledObjective,
    StudentObjective,
    TeacherObjective,
    TeacherTargets,
)
from pathduet.training.prototype_order import order_prototypes
from pathduet.training.released import ReleasedTeacherObjective, released_learning_rate
from pathduet.variations import PlannedModel, planned_models, table_rows

TASKS = {
    "ablation": ("diagnosis", "survival"),
    "hvg": ("diagnosis",),
    "findings": ("diagnosis", "survival", "grading"),
}
TITLES = {
    "ablation": "Ablation (Table III)",
    "hvg": "Gene selection (Table IV)",
    "findings": "Findings (Fig. 2)",
}
METRIC = {"diagnosis": "auc", "grading": "auc", "survival": "c_index"}
PATIENTS = 160
SPARE_GENES = 2  # for each gene of the other tables
#: References for rows of these groups; all other rows are compared with the package's default.
REFERENCES = {"modality": "concat", "gene input": "snn-concat"}


def workflow() -> dict[str, Any]:
    """Return the demo's configuration, which names the tables' rows, with the package's share of genes."""
    share = configuration.defaults()["expression"]["hvg_fraction"]
    return configuration.resolve({"expression": {"hvg_fraction": share}})


def chosen_genes(phantom: Phantom, share: str, seed: int) -> Phantom:
    """Return the phantom with a share of each subspace's genes: `hvg30`, by the range between deciles on the training half, or `random30`."""
    kept = {}
    for s, values in phantom.genes.items():
        count = round(values.shape[1] * int(share.lstrip("hvgrandom")) / 100)
        if share.startswith("random"):
            order = np.random.default_rng([seed, len(s)]).permutation(values.shape[1])
        else:
            raw = values.numpy()[phantom.train] * phantom.gene_sd[s]
            order = np.argsort(-interdecile_range(raw), kind="stable")
        kept[s] = values[:, np.sort(order[:count])]
    return replace(phantom, genes=kept)


class TrainedModels:
    """Trained networks of one seed and task, each trained once."""

    def __init__(
        self, seed: int, task: str, tokens: int, config: Mapping[str, Any], spare_genes: int
    ) -> None:
        self.seed, self.task, self.tokens, self.config, self.spare = seed, task, tokens, config, spare_genes
        self.known = planned_models(config)
        self.phantoms: dict[str, Phantom] = {}
        self.trained: dict[str, tuple[nn.Module, float]] = {}
        self.targets: dict[tuple[str, int], TeacherTargets] = {}
        self.training = TrainingConfig.start_values(
            tasks_of(config)[task], "teacher", epochs=EPOCHS, learning_rate=RATE, batch_size=BATCH, seed=seed
        )
        decay = config["training"]["weight_decay"].get(task, self.training.weight_decay)
        self.training = replace(self.training, weight_decay=decay)
        self.distilled_steps = TrainingConfig.start_values(tasks_of(config)[task], "distilled").min_steps

    def sizes(self, model: PlannedModel) -> ModelConfig:
        """Return a model's sizes: the benchmark's, overridden by the model's."""
        sizes = replace(SIZES, tokens=self.tokens, **model.model)
        return choose(model.base).token_config(asdict(sizes))

    def run(self, model: PlannedModel) -> Run:
        """Return the phantom as a model receives it: with its token order and its genes."""
        sizes = self.sizes(model)
        genes = ("hvg30" if model.genes == "default" else model.genes) if self.spare else ""
        if (key := f"{sizes.token_order} {genes}") not in self.phantoms:
            phantom = make_phantom(
                self.seed,
                self.task,
                sizes.token_order,
                n_patients=PATIENTS,
                n_tokens=self.tokens,
                spare_genes=self.spare,
            )
            self.phantoms[key] = chosen_genes(phantom, genes, self.seed) if genes else phantom
        training = replace(self.training, **model.training)
        return Run(self.seed, self.task, self.phantoms[key], training, sizes)

    def network(self, model: PlannedModel) -> tuple[nn.Module, float]:
        """Return a model's trained network, and the CPU seconds of its own training."""
        # the rule that combines the experts' outputs does not change the training
        sizes = {key: value for key, value in model.model.items() if key != "expert_rule"}
        key = json.dumps(
            [model.base, sizes, dict(model.training), dict(model.settings), model.genes, model.trained_after]
        )
        if key not in self.trained:
            sources = [self.known[name] for name in model.trained_after]
            others = {find(source.base).role: self.network(source)[0] for source in sources}
            start = time.process_time()
            network = self._train(model, others)
            self.trained[key] = (network, time.process_time() - start)
        return self.trained[key]

    def _train(
        self, model: PlannedModel, others: Mapping[str, nn.Module], part: Part | None = None
    ) -> nn.Module:
        run = self.run(model)
        base = find(model.base)
        if base.role == "baseline":
            return run.baseline(model.base, **model.settings)
        outcome, weights, config = run.phantom.outcome, run.weights, run.config
        released = base.kind == "released"
        objective: Any
        if base.role == "teacher":
            config = replace(config, cgc=config.cgc or released)
            network = run.teacher(base.load_network())
            objective = (ReleasedTeacherObjective if released else TeacherObjective)(outcome, config, weights)
        else:
            network = run.student(base.load_network())
            objective = StudentObjective(outcome, config, weights)
        if base.role == "distilled":
            steps = 0 if released else self.distilled_steps
            config = replace(config, learning_rate=config.learning_rate / 2, min_steps=steps)
            network.load_state_dict(others["student"].state_dict())
            if isinstance(network, Student) and network.learns_order:
                order_prototypes(network, run.train, list(range(len(run.train))), BATCH)
            targets = self._targets(model, run, 0 if released else config.inner_folds, others["teacher"])
            objective = DistilledObjective(outcome, config, weights, targets)
        schedule = released_learning_rate if released else learning_rate
        return run.fit(network, objective, config, model.name, part, schedule=schedule)

    def _targets(self, model: PlannedModel, run: Run, inner: int, own: nn.Module) -> TeacherTargets:
        """Return out-of-fold predictions of a distilled model's teacher, computed once for all learners."""
        teacher = self.known[model.trained_after[0]]
        key = (teacher.name, inner)
        if key not in self.targets:
            train = (lambda part: self._train(teacher, {}, part)) if inner > 1 else (lambda part: own)
            self.targets[key] = out_of_fold(run, train, run.train, inner)
        return self.targets[key]

    def row(self, model: PlannedModel) -> dict[str, Any]:
        """Return a model's metrics on the test half, or the reason for their absence."""
        run = self.run(model)
        part = run.phantom.part(False)
        try:
            network, seconds = self.network(model)
            logits, _, _ = answers(network, part)
            found = scores(
                run.phantom, part, probability_and_risk(run.phantom, logits, run.sizes.expert_rule)
            )
        except (PathDuetError, ValueError, RuntimeError) as error:
            return {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        parameters = sum(p.numel() for p in network.parameters())
        return {
            METRIC[self.task]: found[METRIC[self.task]],
            "cpu_s": round(seconds, 2),
            "parameters": parameters,
        }


def rows_of(table: str, task: str, config: Mapping[str, Any]) -> list[PlannedModel]:
    """Return a table's rows for a task."""
    tasks = {name: task for name, task in tasks_of(config).items() if name in TASKS[table]}
    return [row for row in table_rows(table, config) if task in row.shown_for(tasks)]


def execute(arguments: argparse.Namespace) -> None:
    """Append the missing rows."""
    code = benchmark_code(Path(__file__))
    rows = read_rows(arguments.out)
    config = workflow()
    for seed in arguments.seeds:
        for table in arguments.tables:
            for task in TASKS[table]:
                done = {r["model"] for r in rows if (r["table"], r["task"], r["seed"]) == (table, task, seed)}
                trained = TrainedModels(
                    seed, task, arguments.tokens, config, SPARE_GENES if table == "hvg" else 0
                )
                for model in {one.name: one for one in rows_of(table, task, config)}.values():
                    if model.name in done:
                        continue
                    row = {"table": table, "task": task, "seed": seed, "tokens": arguments.tokens, "code": code,
                           "model": model.name, **trained.row(model)}  # fmt: skip
                    append_rows(arguments.out, row)
                    print(row, flush=True)


def reference(model: PlannedModel, group: Sequence[PlannedModel]) -> str:
    """Return the row that a model is compared with."""
    return REFERENCES.get(model.group) or next(
        one.name for one in group if one.name == one.base == model.base
    )


def table_lines(rows: pd.DataFrame, table: str, config: Mapping[str, Any]) -> list[str]:
    """Return one table as Markdown lines: in the workflow's order, failed models with their reason."""
    heads = ["group", "task", "row", "AUC or C-index", "seeds", "difference to the default", "p", "p (Holm)", "parameters", "CPU s"]  # fmt: skip
    found: list[tuple[list[str], tuple[str, float | None] | None, list[str]]] = []
    for task in TASKS[table]:
        mine = rows[rows["task"] == task]
        wide = mine.pivot_table(index="seed", columns="model", values=METRIC[task])
        shown = rows_of(table, task, config)
        for model in shown:
            one = mine[mine["model"] == model.name]
            failed = one["failed"].dropna() if "failed" in one else one.iloc[:0]["model"]
            group = [a for a in shown if a.group == model.group]
            head = [model.group, task, model.title]
            if model.name not in wide or not len(one):
                reason = "; ".join(sorted(set(failed))) or "not computed"
                found.append(
                    ([*head, f"failed: {reason}".replace("|", "/"), str(len(one))], None, ["-", "-"])
                )
                continue
            other, test = reference(model, group), None
            if other != model.name and other in wide:
                test = paired((wide[model.name] - wide[other]).dropna().to_numpy())
            values = wide[model.name].dropna().to_numpy()
            note = f" ({len(failed)} failed: {failed.iloc[0]})".replace("|", "/") if len(failed) else ""
            cost = [f"{one[key].mean():.{digits}f}" for key, digits in (("parameters", 0), ("cpu_s", 1))]
            found.append(([*head, interval(values) + note, str(len(values))], test, cost))
    adjusted = holm([None if test is None else test[1] for _, test, _ in found])
    lines = table_head(heads)
    for (head, test, cost), q in zip(found, adjusted, strict=True):
        gap, p = (
            ("default", None) if test is None and not head[3].startswith("failed") else (test or ("-", None))
        )
        lines.append("| " + " | ".join([*head, gap or "0", p_text(p), p_text(q), *cost]) + " |")
    return lines


def report(arguments: argparse.Namespace) -> None:
    """Print (or write) the tables of a finished or unfinished run."""
    table = pd.DataFrame(read_rows(*arguments.rows))
    refuse_mixed(table, ("tokens", "code"), "versions of the code")
    config = workflow()
    machine = f"{arguments.machine}; {table['cpu_s'].sum() / 60:.0f} CPU minutes of training"
    lines = [
        "# The tables of variations against known truth", "",
        f"    {arguments.command}", "    python benchmarks/variations.py report variations.jsonl --out docs/results/variations.md", "",
        where(machine, table.iloc[0]["code"]), "",
        f"Phantom and training as in [the comparison](comparison.md), but {PATIENTS} patients a seed, half to train and half to test, {table.iloc[0]['tokens']} tokens of {FEATURES} features at both "
        f"magnifications, {GENES['tumor']} tumour and {GENES['tme']} TME genes, width {SIZES.width}, {EPOCHS} epochs in batches of {BATCH} (distilled students at least the package's fewest steps), peak rate {RATE:g}. "
        f"Gene selection has {SPARE_GENES} spare genes beside each of those, which know nothing and on average vary less; genes are ranked by the range between "
        "deciles on the training half. Everything but what a row is named after is the package's default.", "",
        "Mean over seeds and its 95 % t interval. Difference: to the row of the same group that is the default, paired by seed, p of the paired t test, Holm's correction within the "
        "table. A default that stands in several groups is one training. Few seeds show large differences only.", "",
    ]  # fmt: skip
    lines += what_it_says(arguments.message)
    for name, title in TITLES.items():
        part = table[table["table"] == name]
        if len(part):
            seeds = ", ".join(str(s) for s in sorted(part["seed"].unique()))
            lines += [f"## {title}, seeds {seeds}", "", *table_lines(part, name, config), ""]
    write_page(lines, arguments.out)


def main() -> None:
    """Read the command line."""
    line = CommandLine(__doc__)
    runs = line.runs(execute)
    runs.add_argument("--tables", choices=list(TASKS), nargs="+", default=list(TASKS))
    runs.add_argument("--tokens", type=int, default=64)
    line.reports(report, "python benchmarks/variations.py run --out variations.jsonl")
    line.execute()


if __name__ == "__main__":
    main()
