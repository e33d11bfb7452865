"""Each part of the method on grounds where it should help and on others where it should not.

    python benchmarks/grounds.py run --seeds 0 1 2 3 4 5 6 7 8 9 --out grounds.jsonl
    python benchmarks/grounds.py report grounds.jsonl --out docs/results/grounds.md

Phantoms of feature vectors (`feature_phantom.py`), each otherwise than the plain one in a single respect (`GROUNDS`). Every arm of a ground
and seed sees the same patients; a part's effect is the difference between two arms, paired by seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from feature_phantom import GROUNDS, SIZES, Part, answers, make_phantom, probability_and_risk, scores
from feature_phantom import TASKS as PHANTOM_TASKS
from known_truth import (
    BATCH,
    CPU,
    EPOCHS,
    RATE,
    CommandLine,
    Run,
    append_rows,
    paired,
    read_rows,
    refuse_mixed,
    table_head,
    where,
    write_page,
)
from torch import nn

from pathduet.core.source_code import code_version
from pathduet.evaluation.multiple_testing import holm
from pathduet.training import TrainingConfig
from pathduet.training.objectives import (
    DistilledObjective,
    StudentObjective,
    TeacherObjective,
    TeacherTargets,
)
from pathduet.training.prototype_order import order_prototypes

METRICS = {"diagnosis": "auc", "survival": "c_index"}
#: A part of the method: the arm with it, and the arm without.
PARTS = {
    "CGC in the classifiers": ("teacher", "teacher, no CGC"),
    "CGC in the shared tokens": ("teacher, CGC shared", "teacher, no CGC"),
    "IGC as eq. 7": ("teacher", "teacher, no IGC"),
    "IGC with its level": ("teacher, IGC level", "teacher, no IGC"),
    "offsets that see the tissue": ("teacher, offsets see", "teacher"),
    "teacher over MCAT": ("teacher", "mcat"),
    "teacher over Bilinear": ("teacher", "bilinear"),
    "teacher over pooled features and components": ("teacher", "pooled"),
    "distilled by its own teacher": ("distilled, own teacher", "student, longer"),
    "distilled by teachers out of fold": ("distilled", "student, longer"),
    "student as long, over the student": ("student, longer", "student"),
}
INNER = 3


def halves(run: Run, part: Part, inner: int) -> Iterator[tuple[Part, Part]]:
    """Yield the labelled slides that a teacher of an inner fold learns from, and those it is asked about."""
    people = part.patients
    order = np.random.default_rng([run.seed, 7]).permutation(len(people))
    for k in range(inner):
        held = {int(i) for p in order[k::inner] for i in people[p]}
        rows = [i for i in range(len(part)) if i not in held]
        yield Part(run.phantom, part.rows[rows]), Part(run.phantom, part.rows[sorted(held)])


def pooled(run: Run) -> np.ndarray:
    """Return what a penalised regression on components of mean features and expression predicts of the test half's slides."""
    from pathduet.evaluation.components import Components
    from pathduet.evaluation.regressions import fit_regression

    phantom, task = run.phantom, PHANTOM_TASKS[run.task]
    blocks = [tokens.mean(dim=1).numpy() for tokens in phantom.tokens.values()]
    blocks = [
        np.concatenate(blocks, axis=1),
        np.concatenate([x.numpy() for x in phantom.genes.values()], axis=1),
    ]
    train = phantom.train & phantom.labelled & phantom.paired
    scaled = [(x - x[train].mean(0)) / x[train].std(0) / x.shape[1] ** 0.5 for x in blocks]
    values = (
        pd.DataFrame(np.concatenate(scaled, axis=1), index=phantom.patients.index).groupby(level=0).mean()
    )
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


def arms(run: Run, wanted: set[str]) -> Iterator[tuple[str, Callable[[], nn.Module | np.ndarray]]]:
    """Yield each arm and what trains it; what arms share is trained once."""
    phantom, config, outcome, weights = run.phantom, run.config, run.phantom.outcome, run.weights
    learn = phantom.part(True, phantom.labelled & phantom.paired)
    made: dict[str, nn.Module] = {}

    def teacher(part: Part = learn, **changes: Any) -> nn.Module:
        shape = {k: changes.pop(k) for k in list(changes) if hasattr(run.sizes, k)}
        chosen = replace(config, **changes)
        one = replace(run, sizes=replace(run.sizes, **shape))
        return run.fit(one.teacher(), TeacherObjective(outcome, chosen, weights), chosen, "teacher", part)

    def once(name: str, make: Callable[[], nn.Module]) -> nn.Module:
        if name not in made:
            made[name] = make()
        return made[name]

    def student() -> nn.Module:
        return run.fit(run.student(), StudentObjective(outcome, config, weights), config, "student")

    # every slide that somebody can say something about: with a label, or with expression for the teachers
    taught = phantom.part(True, phantom.labelled | phantom.paired)
    items = int(phantom.train.sum())

    def second(objective: Callable[[TrainingConfig], Any], part: Part, name: str) -> nn.Module:
        network = run.student()
        network.load_state_dict(once("student", student).state_dict())
        slower = replace(config, learning_rate=config.learning_rate / 2)
        if name != "longer":
            rows = [i for i, row in enumerate(part.rows) if phantom.paired[row]]
            order_prototypes(network, part, rows, BATCH, CPU)
        return run.fit(network, objective(slower), slower, name, part, items=items)

    def targets(inner: int) -> TeacherTargets:
        if inner < 2:
            logits, representation, _ = answers(once("teacher", teacher), taught)
            return TeacherTargets(logits, representation)
        parts = list(halves(run, learn, inner))
        said = [answers(teacher(rest), taught) for rest, _ in parts]
        mixed: list[dict[str, torch.Tensor]] = []
        owner = {int(row): k for k, (_, held) in enumerate(parts) for row in held.rows}
        share = torch.full((inner, len(taught)), 1 / inner)
        for i, row in enumerate(taught.rows):
            if int(row) in owner:
                share[:, i] = torch.nn.functional.one_hot(torch.tensor(owner[int(row)]), inner)
        for kind in (0, 1):
            mixed.append({
                m: torch.einsum("tn,tnw->nw", share, torch.stack([one[kind][m] for one in said])) for m in said[0][kind]
            })  # fmt: skip
        return TeacherTargets(mixed[0], mixed[1])

    def distilled(inner: int) -> nn.Module:
        found = targets(inner)
        return second(lambda c: DistilledObjective(outcome, c, weights, found), taught, "distilled")

    known: dict[str, Callable[[], nn.Module | np.ndarray]] = {
        "teacher": lambda: once("teacher", teacher),
        "teacher, no CGC": lambda: teacher(cgc=False),
        "teacher, CGC shared": lambda: teacher(cgc_scope="shared"),
        "teacher, no IGC": lambda: teacher(igc=False),
        "teacher, IGC level": lambda: teacher(lambda_level=0.3),
        "teacher, offsets see": lambda: teacher(offset_input="queries_and_patches"),
        "mcat": lambda: run.baseline("mcat", learn),
        "bilinear": lambda: run.baseline("bilinear", learn),
        "pooled": lambda: pooled(run),
        "student": lambda: once("student", student),
        "student, longer": lambda: second(
            lambda c: StudentObjective(outcome, c, weights), run.train, "longer"
        ),
        "distilled, own teacher": lambda: distilled(0),
        "distilled": lambda: distilled(INNER),
    }
    yield from ((name, make) for name, make in known.items() if not wanted or name in wanted)


def execute(arguments: argparse.Namespace) -> None:
    """Append the rows that are not there yet."""
    code, rows = code_version(Path(__file__)), read_rows(arguments.out)
    for seed in arguments.seeds:
        for ground in arguments.grounds:
            for task in METRICS:
                if (task, ground) == ("diagnosis", "one in twenty events"):
                    continue  # classes do not know of events
                done = {r["arm"] for r in rows if (r["task"], r["seed"], r["ground"]) == (task, seed, ground)}
                phantom = make_phantom(seed, task, n_patients=arguments.patients, ground=GROUNDS[ground])
                config = TrainingConfig.start_values(
                    PHANTOM_TASKS[task],
                    "teacher",
                    epochs=EPOCHS,
                    learning_rate=RATE,
                    batch_size=BATCH,
                    seed=seed,
                )
                run = Run(seed, task, phantom, config, SIZES)
                test = phantom.part(False)
                for arm, train in arms(run, set(arguments.arms or ())):
                    if arm in done:
                        continue
                    start = time.process_time()
                    made = train()
                    seconds = time.process_time() - start
                    said = made if isinstance(made, np.ndarray) else probability_and_risk(
                        phantom, answers(made, test)[0], SIZES.expert_rule
                    )  # fmt: skip
                    row = {
                        "ground": ground, "task": task, "seed": seed, "arm": arm, "patients": arguments.patients, "code": code,
                        "score": scores(phantom, test, said)[METRICS[task]], "cpu_s": round(seconds, 2),
                    }  # fmt: skip
                    append_rows(arguments.out, row)
                    print(row, flush=True)


def report(arguments: argparse.Namespace) -> None:
    """Print (or write) the page."""
    table = pd.DataFrame(read_rows(*arguments.rows))
    refuse_mixed(table, ("patients", "code"), "settings or versions")
    lines = ["# Where each part of the method helps, and where not", "", f"    {arguments.command}", "",
             where(arguments.machine, str(table["code"].iloc[0])), ""]  # fmt: skip
    if arguments.message:
        lines += ["## What it says", "", arguments.message.read_text().strip(), ""]
    for task in METRICS:
        wide = table[table["task"] == task].pivot_table(
            index=["ground", "seed"], columns="arm", values="score"
        )
        found = []
        for part, (with_it, without) in PARTS.items():
            for ground in GROUNDS:
                if ground in wide.index.get_level_values(0) and {with_it, without} <= set(wide):
                    rows = wide.loc[ground]
                    gap, p = paired((rows[with_it] - rows[without]).dropna().to_numpy())
                    found.append((part, ground, gap, p))
        adjusted = holm([p for *_, p in found])
        seeds = sorted(table["seed"].unique())
        lines += [
            f"## {task}, seeds {', '.join(map(str, seeds))}",
            "",
            *table_head(["part", "ground", "difference", "p", "p (Holm)"]),
        ]
        for (part, ground, gap, p), q in zip(found, adjusted, strict=True):
            shown = ["-" if x is None else f"{x:.2g}" for x in (p, q)]
            lines.append(f"| {part} | {ground} | {gap} | {shown[0]} | {shown[1]} |")
        lines.append("")
    write_page(lines, arguments.out)


def main() -> None:
    """Read the command line."""
    line = CommandLine(__doc__)
    runs = line.runs(execute, range(10))
    runs.add_argument("--grounds", choices=list(GROUNDS), nargs="+", default=list(GROUNDS))
    runs.add_argument("--arms", nargs="+", help="only these")
    runs.add_argument("--patients", type=int, default=240)
    line.reports(report, "python benchmarks/grounds.py run --out grounds.jsonl")
    line.execute()


if __name__ == "__main__":
    main()
