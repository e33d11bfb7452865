"""The method's networks against known truth: does each subspace's part hold its own programme, and are prototypes regions?

    python benchmarks/truth.py run --out truth.jsonl
    python benchmarks/truth.py report truth.jsonl --out docs/results/truth.md

The phantom is `feature_phantom`'s with two programmes, look `nuclei`: half of the patients train, the other half is tested,
and the networks train as in `comparison.py`. Ridge regression predicts each programme from each subspace's part of X_R (both
magnifications), from the genes and from the mean tile features; the tokens of a student's tumor prototype are compared with
the true tumour regions. A row of the output is one number; rows are appended as they are computed, and existing seeds and
tasks are skipped.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from feature_phantom import (
    GENES,
    SIZES,
    TASKS,
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
    Method,
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
from torch import nn

from pathduet.models import MAGNIFICATIONS
from pathduet.models.method.config import EXPERT_RULES
from pathduet.phantom.layout import REGIONS
from pathduet.training.config import TrainingConfig

METRIC = {"survival": "c_index", "diagnosis": "auc"}
#: What the report compares, paired by seed.
DIFFERENCES = (("teacher", "distilled"), ("distilled", "student"), ("distilled", "student_longer"))


def probe(train: np.ndarray, test: np.ndarray, truth_train: np.ndarray, truth_test: np.ndarray) -> float:
    """Return R^2 on the test half of a ridge regression whose strength is chosen on the training half."""
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    model = RidgeCV(alphas=np.logspace(-1, 4, 16)).fit(scaler.transform(train), truth_train)
    return float(model.score(scaler.transform(test), truth_test))


def inputs_found(phantom: Phantom) -> Iterator[tuple[str, str, float]]:
    """Yield (input, metric, R^2) of each programme from each subspace's genes, and from the mean tile features."""
    tiles = torch.cat([phantom.tokens[m].mean(dim=1) for m in MAGNIFICATIONS], dim=1).numpy()
    train = phantom.train
    for latent in phantom.genes:
        truth = phantom.patients[f"z_{latent}"].to_numpy()
        for s, values in phantom.genes.items():
            genes = values.numpy()
            r2 = probe(genes[train], genes[~train], truth[train], truth[~train])
            yield "genes", f"R2 z_{latent} from X_{s}", r2
        yield (
            "mean tile features",
            f"R2 z_{latent}",
            probe(tiles[train], tiles[~train], truth[train], truth[~train]),
        )


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


def found(run: Run) -> Iterator[tuple[str, str, float]]:
    """Yield (model, metric, value) of one seed and task."""
    phantom, metric = run.phantom, METRIC[run.task]
    yield from inputs_found(phantom)
    test, method = phantom.part(False), Method(run)
    if run.task == "survival":
        hazard = phantom.patients.iloc[test.rows]["log_hazard"].to_numpy()
        yield "true hazard", metric, scores(phantom, test, hazard)[metric]
    for name in ("teacher", "student", "student_longer", "distilled"):
        network = method.network(name)
        logits, _, _ = answers(network, test)
        # hazards are always averaged
        for rule in EXPERT_RULES if run.task == "diagnosis" else (run.sizes.expert_rule,):
            value = scores(phantom, test, probability_and_risk(phantom, logits, rule))[metric]
            yield name, metric if rule == run.sizes.expert_rule else f"{metric}, {rule}", value
        more = latents_found(phantom, network) | ({} if name == "teacher" else dice(phantom, network))
        yield from ((name, key, value) for key, value in more.items())


def execute(arguments: argparse.Namespace) -> None:
    """Append the rows of the missing seeds and tasks."""
    code = benchmark_code(Path(__file__))
    done = {(row["task"], row["seed"]) for row in read_rows(arguments.out)}
    for seed, task in product(arguments.seeds, METRIC):
        if (task, seed) not in done:
            start = time.process_time()
            phantom = make_phantom(seed, task, n_patients=arguments.patients, look="nuclei")
            config = TrainingConfig.start_values(
                TASKS[task], "teacher", epochs=EPOCHS, learning_rate=RATE, batch_size=BATCH, seed=seed
            )
            rows = [*found(Run(seed, task, phantom, config, SIZES))]
            rows.append(("", "cpu_s", time.process_time() - start))
            same = {"task": task, "seed": seed, "patients": arguments.patients, "code": code}
            append_rows(
                arguments.out,
                *({**same, "model": m, "metric": what, "value": value} for m, what, value in rows),
            )


def table(wide: pd.DataFrame, first: str, names: list[str]) -> list[str]:
    """Return the models that have some of the metrics as Markdown lines: mean over seeds and its interval."""
    lines = table_head([first, *names])
    for model in wide.columns.get_level_values(0).unique():
        known = [(model, name) in wide for name in names]
        if model and any(known):
            cells = [
                interval(wide[model, n].to_numpy()) if k else "" for n, k in zip(names, known, strict=True)
            ]
            lines.append(f"| {model} | {' | '.join(cells)} |")
    return [*lines, ""]


def task_lines(rows: pd.DataFrame, task: str) -> list[str]:
    """Return one task's tables as Markdown lines."""
    wide = rows.pivot_table(index="seed", columns=["model", "metric"], values="value", sort=False)
    for model in wide.columns.get_level_values(0).unique():
        if (model, "R2 own") in wide:
            wide[model, "R2 own - cross"] = wide[model, "R2 own"] - wide[model, "R2 cross"]
    metric = METRIC[task]
    predictions = [name for name in wide.columns.get_level_values(1).unique() if name.startswith(metric)]
    lines = [f"## {task}, seeds {', '.join(str(seed) for seed in wide.index)}", ""]
    lines += [*table(wide, "model", predictions), *table_head(["difference", metric, "seeds above 0"])]
    for one, other in DIFFERENCES:
        gap = (wide[one, metric] - wide[other, metric]).to_numpy()
        lines.append(f"| {one} - {other} | {interval(gap)} | {(gap > 0).sum()} of {len(gap)} |")
    by_part = [f"R2 z_{latent} from X_{s}" for latent, s in product(GENES, GENES)]
    lines += ["", *table(wide, "model", [*by_part, "R2 own", "R2 cross", "R2 own - cross"])]
    lines += table(wide, "input", [f"R2 z_{latent}" for latent in GENES])
    return [*lines, *table(wide, "model", ["Dice", "Dice, better order", "Dice, all tumour", "order right"])]


def report(arguments: argparse.Namespace) -> None:
    """Print (or write) the page."""
    rows = pd.DataFrame(read_rows(*arguments.rows))
    refuse_mixed(rows, ("patients", "code"), "versions of the code, or sizes")
    first, seconds = rows.iloc[0], rows.loc[rows["metric"] == "cpu_s", "value"]
    lines = [
        "# Against known truth: what the representations hold", "",
        f"    {arguments.command}", "    python benchmarks/truth.py report truth.jsonl --out docs/results/truth.md", "",
        where(f"{arguments.machine}; {seconds.mean():.0f} CPU s a seed and task", first["code"], "scikit-learn"), "",
        f"Each seed: {first['patients']} patients, half to train and half to test, one slide each: {SIZES.tokens} tokens at both magnifications; {GENES['tumor']} tumour and {GENES['tme']} TME genes, half of "
        f"which follow their programme. Width {SIZES.width}, {EPOCHS} epochs in batches of {BATCH}, peak rate {RATE:g}; the distilled student goes on from the student for 200 steps, at half the rate, taught by "
        "three teachers out of fold; so does its control, the student trained on untaught (`student_longer`). R2: ridge regression of a programme on one subspace's part of X_R (both magnifications), on the test half. "
        "Dice: tokens of the tumor prototype with the true tumour regions, on test slides. Mean over seeds and its 95 % t interval; differences are paired by seed. "
        "Every number: [truth.jsonl](truth.jsonl).", "",
    ]  # fmt: skip
    lines += what_it_says(arguments.message)
    for task in METRIC:
        part = rows[rows["task"] == task]
        if len(part):
            lines += task_lines(part, task)
    write_page(lines, arguments.out)


def main() -> None:
    """Read the command line."""
    line = CommandLine(__doc__)
    line.runs(execute).add_argument("--patients", type=int, default=240)
    line.reports(report, "python benchmarks/truth.py run --out truth.jsonl")
    line.execute()


if __name__ == "__main__":
    main()
