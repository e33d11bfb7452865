"""Every model of the comparison against known truth, on the feature-level phantom, with equal training.

    python benchmarks/comparison.py search --out comparison_search.jsonl
    python benchmarks/comparison.py run --search comparison_search.jsonl --out comparison.jsonl
    python benchmarks/comparison.py report comparison.jsonl --search comparison_search.jsonl --out docs/results/comparison.md

The phantom is `feature_phantom`'s; half of the patients train, the other half is tested. Every network has the same
trainer, epochs, batch, weight decay and class weights, and the same width if it has one; Nystroem attention has half as
many landmarks as the width, like its authors' models. `search` gives every network the same number of trials on separate
seeds: both starts of the patch tokens at two peak rates, or four rates without patch tokens; `run` uses the best mean of
each network and task. Networks that continue from a student start as that student. A row of the output is one model of
one seed and task; rows are appended as they are computed, and existing rows are skipped. Seeds are the outer loop, so an
unfinished run has complete seeds of every model.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

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
    EPOCHS,
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

from pathduet.catalogue import Model, catalogue_of, clinical_models, named, names, opponent_of
from pathduet.cohort.tasks import tasks_of
from pathduet.core.config import resolve
from pathduet.core.errors import PathDuetError
from pathduet.evaluation.multiple_testing import holm
from pathduet.evaluation.table_sections import p_text
from pathduet.models.method.config import PATCH_STARTS
from pathduet.training.config import TrainingConfig

TASKS = {"diagnosis": ("auc", "accuracy", "f1"), "survival": ("c_index",)}
OURS = names("method")
GLIOMA = {"preset": "glioma", "sheets": {"patients": "patients.tsv"}}
#: Networks that start as another one, and use its setting.
STARTS_AS = {"student_longer": "student", "distilled": "student"}
RATES, RATES_ALONE = (1e-3, 2e-3), (5e-4, 1e-3, 2e-3, 4e-3)

Setting = tuple[str | None, float]  # start of the patch tokens, peak learning rate


def has_tokens(name: str) -> bool:
    """Whether a network's patch tokens can start in either way."""
    return name in OURS or hasattr(BASELINES[name].load_settings()(), "patch_start")


def settings_tried(name: str) -> list[Setting]:
    """Return the four settings of a network's search."""
    if has_tokens(name):
        return list(product(PATCH_STARTS, RATES))
    return [(None, rate) for rate in RATES_ALONE]


def with_setting(run: Run, setting: Setting) -> Run:
    """Return the run with the setting's start of the method's tokens and its rate."""
    start, rate = setting
    sizes = replace(run.sizes, patch_start=start or run.sizes.patch_start)
    return replace(run, config=replace(run.config, learning_rate=rate), sizes=sizes)


def trained(run: Run, name: str, setting: Setting) -> nn.Module:
    """Return a baseline, trained."""
    changes = {"patch_start": setting[0]} if setting[0] else {}
    return with_setting(run, setting).baseline(name, **changes)


def networks(
    run: Run, settings: Mapping[str, Setting] | None = None
) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Yield each network's name and its training function; the method's share their teacher and student."""
    chosen = dict.fromkeys([*OURS, *BASELINES], (None, run.config.learning_rate)) | dict(settings or {})
    method = Method(*(with_setting(run, chosen[name]) for name in ("student", "teacher")))
    for name in OURS:
        yield name, partial(method.network, name)
    for name in BASELINES:
        yield name, partial(trained, run, name, chosen[name])


def clinical_scores(run: Run) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each clinical baseline's metrics on the test half."""
    from pathduet.evaluation.covariates import Covariates, covariate_values
    from pathduet.evaluation.regressions import fit_regression

    config = resolve(GLIOMA)
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


def answered(run: Run, network: nn.Module) -> dict[str, Any]:
    """Return a network's metrics on the test half."""
    part = run.phantom.part(False)
    logits, _, _ = answers(network, part)
    return dict(scores(run.phantom, part, probability_and_risk(run.phantom, logits, run.sizes.expert_rule)))


def rows_of(run: Run, done: set[str], arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield one row per missing model; for a failed model it holds the reason."""
    settings = chosen_settings(read_rows(arguments.search), run.task)
    for name, train in networks(run, settings):
        if name in done or (arguments.models and name not in arguments.models):
            continue
        start = time.process_time()
        try:
            network = train()
            seconds = time.process_time() - start
            found = answered(run, network)
        except (PathDuetError, ValueError, RuntimeError) as error:
            yield {"model": name, "failed": f"{type(error).__name__}: {str(error)[:300]}"}
            continue
        tokens, rate = settings[STARTS_AS.get(name, name)]
        parameters = sum(p.numel() for p in network.parameters())
        yield {
            "model": name,
            **found,
            "cpu_s": round(seconds, 2),
            "parameters": parameters,
            "start": tokens or "-",
            "peak": rate,
        }
    if "pooled_components" not in done:
        start = time.process_time()
        found = scores(run.phantom, run.phantom.part(False), pooled_components(run))
        yield {"model": "pooled_components", **found, "cpu_s": round(time.process_time() - start, 2)}
    missing = {"logistic_age_sex", "cox_age", "true_hazard"} - done
    if missing & ({"logistic_age_sex"} if run.task == "diagnosis" else {"cox_age", "true_hazard"}):
        for name, found in clinical_scores(run):
            if name not in done:
                yield {"model": name, **found}


def trials_of(run: Run, done: set[str], arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield one row for each setting of each network that is trained from scratch, named `model/start/rate`."""
    for name in (*(n for n in OURS if n not in STARTS_AS), *BASELINES):
        if arguments.models and name not in arguments.models:
            continue
        for setting in settings_tried(name):
            label = f"{name}/{setting[0] or '-'}/{setting[1]:g}"
            if label not in done:
                network = (
                    Method(with_setting(run, setting)).network(name)
                    if name in OURS
                    else trained(run, name, setting)
                )
                yield {"model": label, **answered(run, network)}


def search_means(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return each setting's mean score over the search's seeds: columns task, name, start, peak, score."""
    table = pd.DataFrame(rows)
    table[["name", "start", "peak"]] = table["model"].str.split("/", expand=True)
    table["score"] = [row[TASKS[row["task"]][0]] for row in table.to_dict("records")]
    return table.groupby(["task", "name", "start", "peak"], sort=False)["score"].mean().reset_index()


def chosen_settings(rows: Sequence[Mapping[str, Any]], task: str) -> dict[str, Setting]:
    """Return each network's setting with the best mean score over the search's seeds."""
    means = search_means(rows)
    best = means[means["task"] == task].sort_values("score", kind="stable").groupby("name").last()
    found: dict[str, Setting] = {
        str(name): (None if row["start"] == "-" else row["start"], float(row["peak"]))
        for name, row in best.iterrows()
    }
    return found | {name: found[other] for name, other in STARTS_AS.items()}


def execute(arguments: argparse.Namespace) -> None:
    """Append the missing rows."""
    code = benchmark_code(Path(__file__))
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
                learning_rate=RATES[0],
                batch_size=BATCH,
                seed=seed,
            )
            for row in arguments.rows_of(Run(seed, task, phantom, config, sizes), done, arguments):
                settings = {
                    "task": task, "seed": seed, "patients": arguments.patients, "tokens": arguments.tokens,
                    "epochs": arguments.epochs, "batch": BATCH, "code": code,
                }  # fmt: skip
                append_rows(arguments.out, {**settings, **row})
                print(f"seed {seed} {task} {row}", flush=True)


def title(name: str) -> str:
    """Return a model's display name."""
    return "True hazard (upper bound)" if name == "true_hazard" else named(name, catalogue()).full_title


@cache
def catalogue() -> Mapping[str, Model]:
    """Return every model by name, including the clinical ones of gliomas."""
    return catalogue_of(resolve(GLIOMA))


def search_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the search as Markdown lines: mean over seeds of each setting, the chosen one in bold."""
    means = search_means(rows)
    lines = table_head(["model", *[f"{task}: start/rate and its mean" for task in TASKS]])
    for name in means["name"].unique():
        cells = []
        for task in TASKS:
            mine = means[(means["name"] == name) & (means["task"] == task)]
            best = chosen_settings(rows, task)[name]
            cells.append(
                ", ".join(
                    f"{mark}{r['start']}/{r['peak']} {r['score']:.3f}{mark}"
                    for r in mine.to_dict("records")
                    for mark in ["**" if (r["start"].strip("-") or None, float(r["peak"])) == best else ""]
                )
            )
        lines.append(f"| {title(name)} | {' | '.join(cells)} |")
    return lines


def setting_text(rows: pd.DataFrame) -> str:
    """Return the start and rate that a model's rows were trained with."""
    known = rows.dropna(subset=["peak"]) if "peak" in rows else rows.iloc[:0]
    return f"{known['start'].iloc[0]}, {known['peak'].iloc[0]:g}" if len(known) else "-"


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
        against = "student_longer" if name == "distilled" else None
        if name not in ("teacher", "distilled", "student_longer", "true_hazard"):
            against = opponent_of(name, name, named(name, catalogue()).reads)
        if against in first:
            tests[name] = (against, *paired((first[name] - first[against]).dropna().to_numpy()))
    adjusted = dict(zip(tests, holm([p for _, _, p in tests.values()])))
    heads = ["model", "reads", "start, rate", *[m.replace("_", "-") for m in metrics], "seeds", "difference", "p", "p (Holm)",
             "parameters", "CPU s"]  # fmt: skip
    lines = table_head(heads)
    for name in order:
        mine = rows[rows["model"] == name]
        against, gap, p = tests.get(name, ("", "", None))
        reads = "-" if name == "true_hazard" else named(name, catalogue()).reads
        cost = mine[["parameters", "cpu_s"]].mean() if "cpu_s" in mine else pd.Series(dtype=float)
        numbers = [f"{cost[k]:.{d}f}" if k in cost and pd.notna(cost[k]) else "-" for k, d in (("parameters", 0), ("cpu_s", 1))]  # fmt: skip
        cells = [
            title(name),
            reads,
            setting_text(mine),
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
    refuse_mixed(table, ("patients", "tokens", "epochs"), "settings")
    setting = table.iloc[0]
    lines = [
        "# The comparison against known truth: a phantom of feature vectors", "",
        f"    {arguments.command}", "    python benchmarks/comparison.py report comparison.jsonl --search comparison_search.jsonl --out docs/results/comparison.md", "",
        where(arguments.machine, codes_of(table), "lifelines"), "",
        f"Each seed: {setting['patients']} patients, half to train and half to test, one slide each: {setting['tokens']} tokens of {FEATURES} features at "
        f"both magnifications; {GENES['tumor']} tumour and {GENES['tme']} TME genes. Every network: width {SIZES.width}, {setting['epochs']} epochs in batches of {setting['batch']}, "
        "the task's weight decay, class weights; landmarks of Nystroem attention: half of the width; every model that reads slides reads both "
        "magnifications, with an expert for each; all else is its default. Start of the patch tokens and peak rate were searched on other seeds, four trials for every network (last part of this page). "
        "The distilled student goes on from the student for 200 steps, at half the rate, taught by three teachers out of fold; so does "
        "its control, the student trained on untaught. CPU s: that stage's training alone, with the three teachers in the distilled student's.", "",
        "Mean over seeds and its 95 % t interval. Difference: to the teacher for models that read expression or clinical data, to the "
        "distilled student for models that read slides alone, the distilled student itself to its untaught control; paired by seed, "
        "p of the paired t test, Holm's correction within the table. Few seeds show large differences only.", "",
    ]  # fmt: skip
    lines += what_it_says(arguments.message)
    for task in TASKS:
        part = table[table["task"] == task]
        if len(part):
            seeds = ", ".join(str(s) for s in sorted(part["seed"].unique()))
            lines += [f"## {task}, seeds {seeds}", "", *task_table(part, task), ""]
    tried = read_rows(arguments.search)
    seeds = ", ".join(str(s) for s in sorted({row["seed"] for row in tried}))
    lines += [
        f"## The search, seeds {seeds}", "",
        f"Mean AUC and C-index of each setting (`comparison.py search`, code {codes_of(pd.DataFrame(tried))}); bold: taken.", "",
        *search_table(tried), "",
    ]  # fmt: skip
    write_page(lines, arguments.out)


def main() -> None:
    """Read the command line."""
    line = CommandLine(__doc__)
    for name, rows, seeds in (("run", rows_of, range(10)), ("search", trials_of, range(100, 103))):
        runs = line.runs(execute, seeds, name, rows_of=rows)
        runs.add_argument("--tasks", choices=list(TASKS), nargs="+", default=list(TASKS))
        runs.add_argument("--models", nargs="+", help="only these networks")
        runs.add_argument("--patients", type=int, default=300)
        runs.add_argument("--tokens", type=int, default=64)
        runs.add_argument("--epochs", type=int, default=EPOCHS)
        runs.add_argument(
            "--search", type=Path, default=Path("comparison_search.jsonl"), help="rows of `search`"
        )
    reports = line.reports(report, "python benchmarks/comparison.py run --out comparison.jsonl")
    reports.add_argument(
        "--search", type=Path, default=Path("comparison_search.jsonl"), help="rows of `search`"
    )
    line.execute()


if __name__ == "__main__":
    main()
