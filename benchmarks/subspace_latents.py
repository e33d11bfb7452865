"""Four subspaces against known truth: does each representation contain its own programme, and only that?

    python benchmarks/subspace_latents.py run --out subspace_latents.jsonl
    python benchmarks/subspace_latents.py report subspace_latents.jsonl --out docs/results/subspace_latents.md

The phantom is `feature_phantom`'s with four independent programmes: each drives half of its subspace's genes and shows in
its own channel (extent and look of tumour cells, necrosis, vessels, leading edge); all have equal weights in the hazard, and
each has a diagnosis. Teacher, student and distilled student train as in `comparison.py`. Ridge regression predicts every
programme from each subspace's part of X_R (both magnifications): R2 on the test half. Two looks: `nuclei`, like the
encoder's features of the pixel phantom, in which the programme of the cells moves most tiles and that of the vessels hardly
any; and `distinct`, in which all four are visible. Genes alone and mean tile features alone serve as references. A row of
the output is one number; rows are appended as they are computed, and existing seeds and tasks are skipped.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from comparison import networks
from feature_phantom import (
    FOUR,
    SIZES,
    TASKS,
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
    read_rows,
    refuse_mixed,
    table_head,
    what_it_says,
    where,
    write_page,
)
from truth import METRIC, inputs_found, latents_found

from pathduet.training.config import TrainingConfig

SUBSPACES = list(FOUR.genes)
MODELS = ("teacher", "student", "distilled")
LOOKS = ("nuclei", "distinct")


def found(run: Run) -> Iterator[tuple[str, str, float]]:
    """Yield (model, metric, value) of one seed and task."""
    yield from inputs_found(run.phantom)
    test = run.phantom.part(False)
    for name, train in networks(run):
        if name not in MODELS:
            continue
        network = train()
        logits, _, _ = answers(network, test)
        predicted = probability_and_risk(run.phantom, logits, run.sizes.expert_rule)
        metric = METRIC[run.task]
        yield name, metric, scores(run.phantom, test, predicted)[metric]
        yield from ((name, key, value) for key, value in latents_found(run.phantom, network).items())


def execute(arguments: argparse.Namespace) -> None:
    """Append the rows of the missing seeds and tasks."""
    code = benchmark_code(Path(__file__))
    done = {(row["look"], row["task"], row["seed"]) for row in read_rows(arguments.out)}
    for seed, look, task in product(arguments.seeds, LOOKS, METRIC):
        if (look, task, seed) not in done:
            start = time.process_time()
            phantom = make_phantom(seed, task, n_patients=arguments.patients, look=look, programmes=FOUR)
            config = TrainingConfig.start_values(
                TASKS[task], "teacher", epochs=EPOCHS, learning_rate=RATE, batch_size=BATCH, seed=seed
            )
            run = Run(seed, task, phantom, config, replace(SIZES, subspaces=tuple(SUBSPACES)))
            rows = [*found(run), ("", "cpu_s", time.process_time() - start)]
            same = {"look": look, "task": task, "seed": seed, "patients": arguments.patients, "code": code}
            append_rows(
                arguments.out,
                *(
                    {**same, "model": model, "metric": metric, "value": value}
                    for model, metric, value in rows
                ),
            )


def r2(wide: pd.DataFrame, model: str) -> np.ndarray:
    """Return (seeds, K, K) R^2: parts of X_R in rows, programmes in columns."""
    return np.stack(
        [
            np.stack([wide[model, f"R2 z_{latent} from X_{s}"] for latent in SUBSPACES], axis=1)
            for s in SUBSPACES
        ],
        axis=1,
    )


def task_lines(rows: pd.DataFrame, look: str, task: str) -> list[str]:
    """Return the tables of one look and task as Markdown lines."""
    wide = rows.pivot_table(index="seed", columns=["model", "metric"], values="value")
    seeds = ", ".join(str(seed) for seed in wide.index)
    metric = METRIC[task]
    lines = [f"## {task}, look {look}, seeds {seeds}", "", *table_head(["model", metric.replace("_", "-")])]
    lines += [f"| {model} | {interval(wide[model, metric].to_numpy())} |" for model in MODELS]
    heads = ["model", "part", *(f"z_{s}" for s in SUBSPACES), "the programme: own - other parts", "seeds above all",
             "the part: own - other programmes", "seeds above all"]  # fmt: skip
    lines += ["", *table_head(heads)]
    for model in ("genes", *MODELS):
        found = r2(wide, model)
        for k, s in enumerate(SUBSPACES):
            others = [i for i in range(len(SUBSPACES)) if i != k]
            own = found[:, k, k]
            cells = [f"{found[:, k, i].mean():.2f}" for i in range(len(SUBSPACES))]
            cells[k] = f"**{cells[k]}**"
            for cross in (found[:, others, k], found[:, k, others]):
                above = int((own > cross.max(axis=1)).sum())
                cells += [interval(own - cross.mean(axis=1)), f"{above} of {len(own)}"]
            lines.append(f"| {model} | {s} | {' | '.join(cells)} |")
    tiles = [f"{wide['mean tile features', f'R2 z_{s}'].mean():.2f}" for s in SUBSPACES]
    return [*lines, f"| mean tile features | | {' | '.join(tiles)} | | | | |", ""]


def report(arguments: argparse.Namespace) -> None:
    """Print (or write) the page."""
    table = pd.DataFrame(read_rows(*arguments.rows))
    refuse_mixed(table, ("patients", "code"), "versions of the code, or sizes")
    first, seconds = table.iloc[0], table.loc[table["metric"] == "cpu_s", "value"]
    lines = [
        "# Four subspaces against known truth", "",
        f"    {arguments.command}", "    python benchmarks/subspace_latents.py report subspace_latents.jsonl --out docs/results/subspace_latents.md", "",
        where(f"{arguments.machine}; {seconds.mean():.0f} CPU s a seed and task", first["code"], "scikit-learn"), "",
        f"Each seed: {first['patients']} patients, half to train and half to test, one slide each of {SIZES.tokens} tokens at both magnifications, {FOUR.genes['cells']} genes a subspace, "
        f"half of which follow its programme. Programmes are independent; each shows in one channel of the slides. {EPOCHS} epochs in batches of {BATCH}, peak rate {RATE:g}; the distilled student goes on "
        "from the student for 200 steps, at half the rate, taught by three teachers out of fold. A row is one subspace's part of X_R (both magnifications), a column R2 of a programme on the test half by ridge regression, mean over seeds; "
        "its own in bold. Own minus cross, mean over seeds and its 95 % t interval, in two ways: of one programme, the R2 from its own part minus the mean R2 from the other parts (a column); and of one "
        "part, the R2 of its own programme minus the mean R2 of the others (a row), which also depends on how well each programme can be seen at all.", "",
    ]  # fmt: skip
    lines += what_it_says(arguments.message)
    for look, task in product(LOOKS, METRIC):
        part = table[(table["look"] == look) & (table["task"] == task)]
        if len(part):
            lines += task_lines(part, look, task)
    write_page(lines, arguments.out)


def main() -> None:
    """Read the command line."""
    line = CommandLine(__doc__)
    line.runs(execute).add_argument("--patients", type=int, default=240)
    line.reports(report, "python benchmarks/subspace_latents.py run --out subspace_latents.jsonl")
    line.execute()


if __name__ == "__main__":
    main()
