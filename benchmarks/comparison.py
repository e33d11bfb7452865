"""Every model of the comparison against known truth, on the feature-level phantom, trained alike.

    python benchmarks/comparison.py search --seeds 100 101 102 --out comparison_search.jsonl
    python benchmarks/comparison.py run --seeds 0 1 2 3 4 --out comparison.jsonl
    python benchmarks/comparison.py report comparison.jsonl --search comparison_search.jsonl --out docs/results/comparison.md

The phantom is `feature_phantom`'s; half of the patients train, the other half is tested. Every network has the same
trainer, epochs, batch, peak learning rate, weight decay and class weights, and the same width where it has one; landmarks of Nystroem
attention are half of the width, as its models' authors have them. `search` tries both starts of the patch tokens for each baseline, on seeds of
its own; the better one is the baseline's default (`patch_start`). A row of the output is
one model of one seed and task; rows are appended as they come, and what is already there is not computed again. Seeds are the
outer loop, so that an unfinished run holds whole seeds of every model.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from feature_phantom import (
    FEATURES,
    GENES,
    SIZES,
    answers,
    interval,
    make_phantom,
    probability_and_risk,
    scores,
)
from feature_phantom import TASKS as PHANTOM_TASKS
from known_truth import (
    BASELINES,
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

from pathduet.catalogue import clinical_models, named, opponent_of
from pathduet.cohort.tasks import tasks_of
from pathduet.core.config import resolve
from pathduet.core.errors import PathDuetError
from pathduet.core.source_code import code_version
from pathduet.evaluation.multiple_testing import holm
from pathduet.evaluation.table_sections import p_text
from pathduet.models.method.config import PATCH_STARTS
from pathduet.training.config import TrainingConfig
from pathduet.training.objectives import (
    DistilledObjective,
    StudentObjective,
    TeacherObjective,
    TeacherTargets,
)
from pathduet.training.prototype_order import order_prototypes

TASKS = {"diagnosis": ("auc", "accuracy", "f1"), "survival": ("c_index",)}
LONGER = "student-longer"
OURS = ("teacher", "student", "distilled", LONGER)
TITLES = {LONGER: "Student, trained on for as long as the distilled one, untaught"}


def networks(run: Run) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Yield each network's name and what trains it; ours share the teacher and the student they learn from."""
    config, outcome, weights = run.config, run.phantom.outcome, run.weights
    trained: dict[str, nn.Module] = {}

    def teacher() -> nn.Module:
        objective = TeacherObjective(outcome, config, weights)
        trained["teacher"] = run.fit(run.teacher(), objective, config, "teacher")
        return trained["teacher"]

    def student() -> nn.Module:
        objective = StudentObjective(outcome, config, weights)
        trained["student"] = run.fit(run.student(), objective, config, "student")
        return trained["student"]

    def from_student(objective: Callable[[TrainingConfig], Any], name: str) -> nn.Module:
        """Train on from the student at half the rate, as the workflow's distillation does."""
        start = trained.get("student") or student()
        network = run.student()
        network.load_state_dict(start.state_dict())
        if name == "distilled":
            order_prototypes(network, run.train, list(range(len(run.train))), BATCH, CPU)
        second = replace(config, learning_rate=config.learning_rate / 2)
        return run.fit(network, objective(second), second, name)

    def distilled() -> nn.Module:
        logits, representation, _ = answers(trained.get("teacher") or teacher(), run.train)
        targets = TeacherTargets(logits, representation)
        return from_student(lambda c: DistilledObjective(outcome, c, weights, targets), "distilled")

    def longer() -> nn.Module:
        return from_student(lambda c: StudentObjective(outcome, c, weights), LONGER)

    yield from zip(OURS, (teacher, student, distilled, longer))
    for name in BASELINES:
        yield name, lambda name=name: run.baseline(name)  # type: ignore[misc]


def clinical_scores(run: Run) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each clinical baseline's metrics on the test half."""
    from pathduet.evaluation.covariates import Covariates, covariate_values
    from pathduet.evaluation.regressions import fit_regression

    config = resolve({"preset": "glioma", "sheets": {"patients": "patients.tsv"}})
    task, train, patients = tasks_of(config)[run.task], run.phantom.train, run.phantom.patients
    values, part = covariate_values(patients.astype(object), config["covariates"]), run.phantom.part(False)
    truth = patients.rename(columns={task.column: "label"}) if task.column else patients
    for model in clinical_models(config).values():
        if model.fits(task):
            columns = list(model.covariates)
            fitted = fit_regression(Covariates.of(values.loc[train, columns]), truth[train], task)
            found = (
                fitted.predict(values.loc[~train, columns])
                .drop(columns="predicted", errors="ignore")
                .to_numpy()
            )
            yield model.name, scores(run.phantom, part, found[:, 0] if task.kind == "survival" else found)
    if task.kind == "survival":
        yield "true_hazard", scores(run.phantom, part, patients.loc[~train, "log_hazard"].to_numpy())


def rows_of(run: Run, done: set[str], only: set[str] | None) -> Iterator[dict[str, Any]]:
    """Yield one row a model that is not done yet; a failed one's says why."""
    for name, train in networks(run):
        if name in done or (only is not None and name not in only):
            continue
        start = time.process_time()
        try:
            network = train()
            seconds = time.process_time() - start
            logits, _, _ = answers(network, run.phantom.part(False))
            found: dict[str, Any] = scores(
                run.phantom,
                run.phantom.part(False),
                probability_and_risk(run.phantom, logits, run.sizes.expert_rule),
            )
        except (PathDuetError, ValueError, RuntimeError) as error:
            yield {"model": name, "failed": f"{type(error).__name__}: {str(error)[:300]}"}
            continue
        parameters = sum(p.numel() for p in network.parameters())
        yield {"model": name, **found, "cpu_s": round(seconds, 2), "parameters": parameters}
    missing = {"logistic_age_sex", "cox_age", "true_hazard"} - done
    if missing & ({"logistic_age_sex"} if run.task == "diagnosis" else {"cox_age", "true_hazard"}):
        for name, found in clinical_scores(run):
            if name not in done:
                yield {"model": name, **found}


def trials_of(run: Run, done: set[str], only: set[str] | None) -> Iterator[dict[str, Any]]:
    """Yield one row for either start of each baseline that reads slides, named `model/start`."""
    part = run.phantom.part(False)
    for name in BASELINES:
        if "slides" not in BASELINES[name].learns_from or (only is not None and name not in only):
            continue
        for start in PATCH_STARTS:
            if (label := f"{name}/{start}") in done:
                continue
            logits, _, _ = answers(run.baseline(name, patch_start=start), part)
            found = scores(
                run.phantom, part, probability_and_risk(run.phantom, logits, run.sizes.expert_rule)
            )
            yield {"model": label, **found}


def execute(arguments: argparse.Namespace) -> None:
    """Append the rows that are not there yet."""
    code = code_version(Path(__file__))
    rows = read_rows(arguments.out)
    for seed in arguments.seeds:
        for task in arguments.tasks:
            done = {row["model"] for row in rows if (row["task"], row["seed"]) == (task, seed)}
            sizes = replace(SIZES, tokens=arguments.tokens)
            phantom = make_phantom(seed, task, n_patients=arguments.patients, n_tokens=arguments.tokens)
            config = TrainingConfig.start_values(
                PHANTOM_TASKS[task],
                "teacher",
                epochs=arguments.epochs,
                learning_rate=arguments.rate,
                batch_size=BATCH,
                seed=seed,
            )
            only = set(arguments.models) if arguments.models else None
            for row in arguments.rows_of(Run(seed, task, phantom, config, sizes), done, only):
                settings = {
                    "task": task, "seed": seed, "patients": arguments.patients, "tokens": arguments.tokens,
                    "epochs": arguments.epochs, "rate": arguments.rate, "batch": BATCH, "code": code,
                }  # fmt: skip
                append_rows(arguments.out, {**settings, **row})
                print(f"seed {seed} {task} {row}", flush=True)


def title(name: str) -> str:
    """Return a model's name for readers."""
    return TITLES.get(name) or (
        "True hazard (upper bound)" if name == "true_hazard" else named(name).full_title
    )


def started(name: str) -> str:
    """Return where a network's patch tokens start; - if it has none."""
    if name in OURS:
        return SIZES.patch_start
    return str(getattr(BASELINES[name].load_settings()(), "patch_start", "-")) if name in BASELINES else "-"


def codes_of(table: pd.DataFrame) -> str:
    """Return the version of the code, or each version with its models; a model of two versions is refused."""
    codes = table.groupby("code")["model"].unique()
    if table.groupby("model")["code"].nunique().max() > 1:
        raise SystemExit("a model's rows are of several versions of the code: one page shows one of them")
    if len(codes) == 1:
        return str(codes.index[0])
    return "; ".join(f"{code} ({', '.join(models)})" for code, models in codes.items())


def search_table(rows: pd.DataFrame) -> list[str]:
    """Return the search of the baselines' starts as Markdown lines: mean over seeds, and which start is the default."""
    rows = rows.join(rows["model"].str.extract(r"(?P<name>.+)/(?P<start>.+)"))
    heads = ["model"] + [f"{task}, {start}" for task in TASKS for start in PATCH_STARTS]
    heads += ["principal minus random, mean of both tasks", "default"]
    lines = table_head(heads)
    for name in rows["name"].unique():
        mine, cells, gaps = rows[rows["name"] == name], [], []
        for task, (metric, *_) in TASKS.items():
            wide = mine[mine["task"] == task].pivot_table(index="seed", columns="start", values=metric)
            cells += [f"{wide[start].mean():.3f}" for start in PATCH_STARTS]
            gaps.append((wide["principal"] - wide["random"]).mean())
        lines.append(f"| {title(name)} | {' | '.join(cells)} | {np.mean(gaps):+.3f} | {started(name)} |")
    return lines


def task_table(rows: pd.DataFrame, task: str) -> list[str]:
    """Return one task's table as Markdown lines: best first, failed models with their reason."""
    metrics = TASKS[task]
    failed = rows[rows["failed"].notna()] if "failed" in rows else rows.iloc[:0]
    rows = rows.drop(failed.index)
    wide = {m: rows.pivot_table(index="seed", columns="model", values=m) for m in metrics}
    first = wide[metrics[0]]
    order = list(first.mean().sort_values(ascending=False).index)
    tests = {}
    for name in order:
        against = LONGER if name == "distilled" else None
        if name not in ("teacher", "distilled", LONGER, "true_hazard"):
            against = opponent_of(name, name, named(name).reads)
        if against in first:
            tests[name] = (against, *paired((first[name] - first[against]).dropna().to_numpy()))
    adjusted = dict(zip(tests, holm([p for _, _, p in tests.values()])))
    heads = ["model", "reads", "tokens start", *[m.replace("_", "-") for m in metrics], "seeds", "difference", "p", "p (Holm)",
             "parameters", "CPU s"]  # fmt: skip
    lines = table_head(heads)
    for name in order:
        mine = rows[rows["model"] == name]
        against, gap, p = tests.get(name, ("", "", None))
        reads = "-" if name == "true_hazard" else named("student" if name == LONGER else name).reads
        cost = mine[["parameters", "cpu_s"]].mean() if "cpu_s" in mine else pd.Series(dtype=float)
        numbers = [f"{cost[k]:.{d}f}" if k in cost and pd.notna(cost[k]) else "-" for k, d in (("parameters", 0), ("cpu_s", 1))]  # fmt: skip
        cells = [
            title(name),
            reads,
            started(name),
            *[interval(wide[m][name].dropna().to_numpy()) for m in metrics],
            str(len(mine)),
        ]
        cells += [f"{gap} to {against}" if gap else "-"]
        cells += [p_text(q) for q in (p, adjusted.get(name))]
        lines.append("| " + " | ".join([*cells, *numbers]) + " |")
    for name, group in failed.groupby("model"):
        reasons = "; ".join(f"seed {r['seed']}: {r['failed']}" for r in group.to_dict("records"))
        lines.append(
            f"| {title(str(name))} | failed: {reasons.replace('|', '/')} |" + " |" * (len(heads) - 2)
        )
    return lines


def report(arguments: argparse.Namespace) -> None:
    """Print (or write) the tables of a finished or unfinished run."""
    table = pd.DataFrame(read_rows(*arguments.rows))
    refuse_mixed(table, ("patients", "tokens", "epochs", "rate"), "settings")
    setting = table.iloc[0]
    lines = [
        "# The comparison against known truth: a phantom of feature vectors", "",
        f"    {arguments.command}", "    python benchmarks/comparison.py report comparison.jsonl --search comparison_search.jsonl --out docs/results/comparison.md", "",
        where(arguments.machine, codes_of(table), "lifelines"), "",
        f"Each seed: {setting['patients']} patients, half to train and half to test, one slide each: {setting['tokens']} tokens of {FEATURES} features at "
        f"both magnifications; {GENES['tumor']} tumour and {GENES['tme']} TME genes. Every network: width {SIZES.width}, {setting['epochs']} epochs in batches of {setting['batch']}, "
        f"peak rate {setting['rate']:g}, the task's weight decay, class weights; landmarks of Nystroem attention: half of the width; every model that reads slides reads both "
        "magnifications; all else is its default, and where a model's tokens start was searched on other seeds, for every model. The distilled student goes on from the student for as many epochs again, at half the rate; so does "
        "its control, the student trained on untaught. CPU s: that stage's training alone.", "",
        "Mean over seeds and its 95 % t interval. Difference: to the teacher for models that read expression or clinical data, to the "
        "distilled student for models that read slides alone, the distilled student itself to its untaught control; paired by seed, "
        "p of the paired t test, Holm's correction within the table. So few seeds tell large differences only.", "",
    ]  # fmt: skip
    if arguments.message:
        lines += ["## What it says", "", arguments.message.read_text().strip(), ""]
    for task in TASKS:
        part = table[table["task"] == task]
        if len(part):
            seeds = ", ".join(str(s) for s in sorted(part["seed"].unique()))
            lines += [f"## {task}, seeds {seeds}", "", *task_table(part, task), ""]
    if arguments.search:
        tried = pd.DataFrame(read_rows(arguments.search))
        seeds = ", ".join(str(s) for s in sorted(tried["seed"].unique()))
        lines += [
            f"## Where baselines start their tokens: the search, seeds {seeds}", "",
            f"AUC and C-index of either start (`comparison.py search`, code {codes_of(tried)}). The better mean is the baseline's default, `patch_start`, in "
            "the package as here. The method's start was searched on seeds 100 to 104 ([truth.md](truth.md)).", "",
            *search_table(tried), "",
        ]  # fmt: skip
    write_page(lines, arguments.out)


def main() -> None:
    """Read the command line."""
    line = CommandLine(__doc__)
    for name, rows, seeds in (("run", rows_of, range(5)), ("search", trials_of, range(100, 103))):
        runs = line.runs(execute, seeds, name, rows_of=rows)
        runs.add_argument("--tasks", choices=list(TASKS), nargs="+", default=list(TASKS))
        runs.add_argument("--models", nargs="+", help="only these networks")
        runs.add_argument("--patients", type=int, default=300)
        runs.add_argument("--tokens", type=int, default=64)
        runs.add_argument("--epochs", type=int, default=EPOCHS)
        runs.add_argument("--rate", type=float, default=RATE)
    reports = line.reports(report, "python benchmarks/comparison.py run --out comparison.jsonl")
    reports.add_argument("--search", type=Path, help="rows of `search`, shown below the tables")
    line.execute()


if __name__ == "__main__":
    main()
