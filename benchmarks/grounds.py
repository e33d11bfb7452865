"""Each part of the method in conditions ("grounds") where it should help and in others where it should not.

    python benchmarks/grounds.py run --seeds 0 1 2 3 4 5 6 7 8 9 --out grounds.jsonl
    python benchmarks/grounds.py report grounds.jsonl --out docs/results/grounds.md

Phantoms of feature vectors (`feature_phantom.py`), each differing from the plain one in a single respect (`GROUNDS`). All
variants of a ground and seed use the same patients; a part's effect is the difference between two variants, paired by seed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from feature_phantom import GROUNDS, SIZES, answers, make_phantom, probability_and_risk, scores
from feature_phantom import TASKS as PHANTOM_TASKS
from known_truth import (
    BATCH,
    EPOCHS,
    RATE,
    CommandLine,
    Method,
    Run,
    append_rows,
    benchmark_code,
    codes_of,
    paired,
    pooled_components,
    read_rows,
    refuse_mixed,
    table_head,
    what_it_says,
    where,
    write_page,
)
from torch import nn

from pathduet.evaluation.multiple_testing import holm
from pathduet.evaluation.table_sections import p_text
from pathduet.training import TrainingConfig

METRICS = {"diagnosis": "auc", "survival": "c_index"}
#: The method's networks unchanged, and teachers with one change.
OURS = ("teacher", "student", "student_longer", "distilled", "distilled, own teacher")
VARIED: dict[str, dict[str, Any]] = {
    "teacher, CGC of classifiers": {"cgc": True, "cgc_scope": "classifier"},
    "teacher, CGC of shared tokens": {"cgc": True, "cgc_scope": "shared"},
    "teacher, no IGC": {"igc": False},
    "teacher, eq. 7 alone": {"igc": True, "lambda_level": 0.0},
    "teacher, offsets see": {"offset_input": "queries_and_patches"},
}
OTHERS = ("mcat", "bilinear", "pooled")
EVERYWHERE = tuple(GROUNDS)
#: Grounds with events or hazards, which classification does not have.
SURVIVAL_ALONE = ("one in twenty events", "interaction")
#: A part of the method: the variant with it, the variant without it, and the grounds that test it, whether it should help or not.
PARTS = {
    "CGC of the classifiers": ("teacher, CGC of classifiers", "teacher", ("plain", "shortcut", "silent subspace", "label noise")),
    "CGC of the shared tokens": ("teacher, CGC of shared tokens", "teacher", ("plain", "shortcut", "silent subspace", "label noise")),
    "IGC as eq. 7": ("teacher, eq. 7 alone", "teacher, no IGC", ("plain", "magnifications apart")),
    "IGC with its level": ("teacher", "teacher, no IGC", ("plain", "magnifications apart", "programmes correlated", "site shift")),
    "offsets that see the tissue": ("teacher, offsets see", "teacher", ("plain", "interaction")),
    "teacher over MCAT": ("teacher", "mcat", EVERYWHERE),
    "teacher over Bilinear": ("teacher", "bilinear", EVERYWHERE),
    "teacher over pooled features and components": ("teacher", "pooled", EVERYWHERE),
    "distilled out of fold": ("distilled", "student_longer", ("plain", "label noise", "three quarters without a label")),
    "distilled by its own teacher": ("distilled, own teacher", "student_longer", ("plain",)),
    "student, twice as long": ("student_longer", "student", ("plain", "label noise", "three quarters without a label")),
}  # fmt: skip


def arms_of(ground: str) -> set[str]:
    """Return the variants that a ground needs."""
    return {
        arm for with_it, without, grounds in PARTS.values() if ground in grounds for arm in (with_it, without)
    }


def arms(run: Run, wanted: set[str]) -> Iterator[tuple[str, Callable[[], nn.Module | np.ndarray]]]:
    """Yield each variant and the function that trains it; shared networks are trained once."""
    learn = run.phantom.part(True, run.phantom.labelled & run.phantom.paired)
    method = Method(run)
    known: dict[str, Callable[[], nn.Module | np.ndarray]] = {
        **{name: partial(method.network, name) for name in OURS},
        **{name: partial(method.teacher, **changes) for name, changes in VARIED.items()},
        "mcat": lambda: run.baseline("mcat", learn),
        "bilinear": lambda: run.baseline("bilinear", learn),
        "pooled": lambda: pooled_components(run),
    }
    yield from ((name, make) for name, make in known.items() if name in wanted)


def execute(arguments: argparse.Namespace) -> None:
    """Append the missing rows."""
    code, rows = benchmark_code(Path(__file__)), read_rows(arguments.out)
    for seed in arguments.seeds:
        for ground in arguments.grounds:
            for task in METRICS:
                if task == "diagnosis" and ground in SURVIVAL_ALONE:
                    continue
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
                wanted = arms_of(ground) & set(arguments.arms or arms_of(ground))
                for arm, train in arms(run, wanted):
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
    refuse_mixed(table, ("patients",), "settings")
    lines = ["# Where each part of the method helps, and where not", "", f"    {arguments.command}", "",
             where(arguments.machine, codes_of(table, "arm")), "",
             f"{table['patients'].iloc[0]} patients a seed, half to train and half to test, two to three times as many where labels or events are few; {SIZES.tokens} tokens at both "
             f"magnifications, width {SIZES.width}, {EPOCHS} epochs in batches of {BATCH} at {RATE:g}; seeds from 0. Mean difference over seeds, the same patients in both arms, and its 95 % t interval; Holm's "
             "correction within a table. Settings were chosen on seeds from 100.", ""]  # fmt: skip
    lines += what_it_says(arguments.message)
    for task in METRICS:
        wide = table[table["task"] == task].pivot_table(
            index=["ground", "seed"], columns="arm", values="score"
        )
        found = []
        for part, (with_it, without, grounds) in PARTS.items():
            for ground in grounds:
                if task == "diagnosis" and ground in SURVIVAL_ALONE:
                    continue
                if ground in wide.index.get_level_values(0) and {with_it, without} <= set(wide):
                    rows = wide.loc[ground]
                    values = (rows[with_it] - rows[without]).dropna().to_numpy()
                    found.append((part, ground, len(values), *paired(values)))
        if {"plain", "genes shuffled"} <= set(wide.index.get_level_values(0)) and "teacher" in wide:
            values = (
                (wide.loc["plain", "teacher"] - wide.loc["genes shuffled", "teacher"]).dropna().to_numpy()
            )
            found.append(("subspaces, teacher", "plain over genes shuffled", len(values), *paired(values)))
        adjusted = holm([p for *_, p in found])
        lines += [
            f"## {task}, difference in {METRICS[task].replace('_', '-')}",
            "",
            *table_head(["part", "ground", "seeds", "difference", "p", "p (Holm)"]),
        ]
        for (part, ground, count, gap, p), q in zip(found, adjusted, strict=True):
            lines.append(f"| {part} | {ground} | {count} | {gap} | {p_text(p)} | {p_text(q)} |")
        lines.append("")
    write_page(lines, arguments.out)


def main() -> None:
    """Read the command line."""
    line = CommandLine(__doc__)
    runs = line.runs(execute)
    runs.add_argument("--grounds", choices=list(GROUNDS), nargs="+", default=list(GROUNDS))
    runs.add_argument("--arms", nargs="+", help="only these")
    runs.add_argument("--patients", type=int, default=240)
    line.reports(report, "python benchmarks/grounds.py run --out grounds.jsonl")
    line.execute()


if __name__ == "__main__":
    main()
