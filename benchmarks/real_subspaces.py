"""Real expression of thirteen cancers: does the split of the genes into subspaces predict better than no split, or a random one?

    PATHDUET_TEST_DATA=/path/to/tables python benchmarks/real_subspaces.py run --out real_subspaces.jsonl
    python benchmarks/real_subspaces.py report real_subspaces.jsonl --out docs/results/real_subspaces.md

Cohorts, gene lists and training are those of `examples/pan_cancer`; tasks are each cancer's overall survival, and one
classification if its tables have any. For every split (three stratified folds, several seeds) SNNs of the same genes are
trained: one for all genes; a branch each for tumor and TME; a branch each for tumor, immune, stroma and vasculature; and
both again with the genes reassigned at random in every split, by a permutation of the genes' names, so that branches keep
their sizes and overlaps. The regression on principal components is the reference. A branch's last layer is narrower if
there are more branches, so all networks have nearly as many parameters. A row of the output is a cancer and task with the
score of every model in every split; existing rows are skipped.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "pan_cancer"))

import numpy as np
import pandas as pd
import torch
import yaml
from known_truth import (
    CPU,
    CommandLine,
    append_rows,
    benchmark_code,
    paired,
    read_rows,
    refuse_mixed,
    table_head,
    where,
    write_page,
)
from pan_cancer.cohorts import COHORTS, write_cohort
from pan_cancer.gliomas import TCGA, write_gliomas
from scipy.stats import t

from pathduet.cohort.labels import known_labels, task_labels
from pathduet.cohort.make_folds import folds_of
from pathduet.cohort.sheets import read_patients
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core.config import resolve
from pathduet.core.files import atomic_path
from pathduet.evaluation.bootstrap import draw, interval, replicates
from pathduet.evaluation.components import Components, joined
from pathduet.evaluation.multiple_testing import holm
from pathduet.evaluation.regressions import fit_regression
from pathduet.evaluation.resampled_t_test import corrected_error, corrected_resampled_p
from pathduet.expression.fold_matrix import FoldExpression, selected
from pathduet.expression.gene_sets import gene_lists
from pathduet.expression.prepare import MatrixSettings, build
from pathduet.expression.tables import ExpressionTable, read_expression
from pathduet.losses.class_weights import class_weights
from pathduet.models import ModelConfig
from pathduet.training.baseline_objective import BaselineObjective
from pathduet.training.config import TrainingConfig
from pathduet.training.dataset import SlideDataset
from pathduet.training.fold_data import fold_samples, fold_target
from pathduet.training.loop import fit
from pathduet.training.model_folder import ModelDescription
from pathduet.training.networks import choose
from pathduet.training.predict import predict_samples
from pathduet.training.task_targets import ClassTarget

FOLDS, RESAMPLES = 3, 1000
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "pan_cancer"
GLIOMAS = "gbmlgg"
CANCERS = (*(name for name, cohort in COHORTS.items() if cohort.expression), GLIOMAS)
#: Besides overall survival, the first classification of the tables that have one.
CLASSES = {"brca": "subtype", "kirc": "grade", GLIOMAS: "diagnosis"}
METRICS = {"survival": "c_index", "classification": "auc"}
SUBSPACES = {"two": ("tumor", "tme"), "four": ("tumor", "immune", "stroma", "vasculature")}
#: Hidden layers of each branch. The joining layer has a branch's last width, so sizes differ by a few percent only.
HIDDEN = {"one": (64, 64, 32), "two": (64, 32), "four": (64, 16)}
MODELS = ("one", "two", "two shuffled", "four", "four shuffled", "components")
CONTRASTS = (
    ("two", "one"), ("two", "two shuffled"), ("four", "one"), ("four", "four shuffled"), ("one", "components"),
)  # fmt: skip


@dataclass(frozen=True)
class Cancer:
    """A cohort's tables for one task: the patients with both label and expression."""

    name: str
    task: Task
    patients: pd.DataFrame
    labels: pd.DataFrame
    table: ExpressionTable

    def folds(self, seed: int) -> pd.DataFrame:
        """Return stratified folds of a seed."""
        return folds_of(
            self.patients,
            {"folds": FOLDS, "file": None, "sites": None, "seed": seed, "protocol": "strict",
             "internal": [self.table.cohort], "tasks": [self.task.to_plain()]},
        )  # fmt: skip


def cancers(data: Path, name: str) -> Iterator[Cancer]:
    """Yield a cancer's tasks."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if name == GLIOMAS:
            write_gliomas(data, folder)
        else:
            write_cohort(data, COHORTS[name], folder)
        config = resolve(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
        [entry] = [one for one in config["expression"]["tables"] if one["cohort"] in (TCGA, f"tcga_{name}")]
        table = read_expression(folder / entry["path"], entry["unit"], entry["cohort"])
        patients = read_patients(folder / "patients.tsv")
    tasks = tasks_of(config)
    measured = patients[
        (patients["cohort"] == entry["cohort"]) & patients.index.isin(table.samples["patient_id"])
    ]
    for task in ("survival" if name == GLIOMAS else "os", CLASSES.get(name)):
        if task is not None:
            labels = known_labels(task_labels(measured, tasks[task]))
            yield Cancer(name, tasks[task], measured.loc[labels.index], labels, table)


def grouped(whole: FoldExpression, groups: Mapping[str, Sequence[str]]) -> FoldExpression:
    """Return the expression with its genes in other subspaces."""
    [values], [genes] = whole.values.values(), whole.genes.values()
    place = {gene: i for i, gene in enumerate(genes)}
    columns = {name: [place[gene] for gene in own] for name, own in groups.items()}
    return replace(
        whole,
        values={name: values[:, chosen] for name, chosen in columns.items()},
        genes={name: list(own) for name, own in groups.items()},
    )


def shuffled(groups: Mapping[str, Sequence[str]], rng: np.random.Generator) -> dict[str, list[str]]:
    """Return the groups with every gene renamed by one permutation: sizes and overlaps stay."""
    genes = sorted({gene for own in groups.values() for gene in own})
    renamed = dict(zip(genes, rng.permutation(genes).tolist(), strict=True))
    return {name: [renamed[gene] for gene in own] for name, own in groups.items()}


def groupings(genes: Sequence[str], split: Sequence[int]) -> dict[str, dict[str, list[str]]]:
    """Return the subspaces of each network; shuffles follow from the split's seed and fold."""
    made: dict[str, dict[str, list[str]]] = {"one": {"genes": list(genes)}}
    for number, (name, subspaces) in enumerate(SUBSPACES.items()):
        lists = gene_lists(dict.fromkeys(subspaces, "shipped"))
        made[name] = {s: [gene for gene in genes if gene in set(own)] for s, own in lists.items()}
        made[f"{name} shuffled"] = shuffled(made[name], np.random.default_rng([*split, number]))
    return made


class Split:
    """One fold of one seed: genes selected and scaled by its training part, and the models trained on it."""

    def __init__(self, cancer: Cancer, folds: pd.DataFrame, fold: int, seed: int) -> None:
        self.cancer, self.folds, self.fold, self.seed = cancer, folds, fold, seed
        listed = gene_lists(dict.fromkeys(("tumor", "tme"), "shipped"))
        genes = sorted({gene for own in listed.values() for gene in own})
        settings = MatrixSettings(fraction=1.0, seed=seed)
        self.whole = selected(build([cancer.table], cancer.patients, folds, fold, {"genes": genes}, settings))
        self.target = fold_target(cancer.task, cancer.labels, folds, fold)

    def network(self, model: str, groups: Mapping[str, Sequence[str]]) -> tuple[pd.DataFrame, int]:
        """Train an SNN with one branch per subspace; return its predictions for the test part, and its number of parameters."""
        common = yaml.safe_load((EXAMPLE / "config.yaml").read_text(encoding="utf-8"))
        settings = common["comparison"]["settings"]["snn"]
        hidden = list(HIDDEN[model.split()[0]])
        expression = grouped(self.whole, groups)
        description = ModelDescription(
            self.cancer.task, model, self.fold, ModelConfig(), self.target, {},
            {name: tuple(genes) for name, genes in groups.items()}, choose("snn", settings | {"hidden": hidden}),
        )  # fmt: skip
        without = pd.DataFrame(columns=["slide_id", "patient_id", "cohort", "features"])
        samples = fold_samples(without, self.cancer.labels, self.folds, self.fold, self.target, self.whole)
        train, test = ([s for s in samples if s.part == part] for part in ("train", "test"))
        optimisation = {key: common["training"][key] for key in ("epochs", "batch_size", "learning_rate", "weight_decay")}  # fmt: skip
        config = TrainingConfig.start_values(self.cancer.task, "baseline", **optimisation, seed=self.seed)
        weights = None
        if isinstance(self.target, ClassTarget):
            weights = class_weights([s.label for s in train], self.target.outputs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = description.build()
        dataset = SlideDataset(train, description.config, expression, magnifications=())
        objective = BaselineObjective(self.target, config, weights)
        fit(network, objective, dataset, config, device=CPU, label=f"{self.cancer.name} {model}")
        said = predict_samples(
            network.eval(), description, test, self.cancer.labels,
            expression=expression, batch_size=256, show_progress=False,
        )  # fmt: skip
        return said.table, sum(p.numel() for p in network.parameters())

    def components(self) -> pd.DataFrame:
        """Return the predictions of the regression on principal components of the same genes."""
        [values] = self.whole.values.values()
        genes = pd.DataFrame(values.astype(np.float64), index=self.whole.patients).groupby(level=0).mean()
        rows = joined(expression=genes)
        part = self.folds.set_index("patient_id")["fold"].reindex(rows.index)
        fitted = fit_regression(Components.of(rows[part != self.fold]), self.cancer.labels, self.cancer.task)
        said = fitted.predict(rows[part == self.fold])
        truth = self.cancer.labels.loc[said.index].drop(columns="reason")
        table = pd.concat([truth, said], axis=1).rename_axis("patient_id").reset_index()
        return table.assign(slide_id="", cohort=self.cancer.table.cohort, part="test", fold=self.fold)


def compared(cancer: Cancer, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the row of a cancer and task."""
    start = time.process_time()
    said: dict[str, list[pd.DataFrame]] = {name: [] for name in MODELS}
    genes: dict[str, list[int]] = {}
    parameters: dict[str, int] = {}
    for seed in seeds:
        folds = cancer.folds(seed)
        for fold in range(FOLDS):
            split = Split(cancer, folds, fold, seed)
            for name, groups in groupings(split.whole.genes["genes"], (seed, fold)).items():
                table, parameters[name] = split.network(name, groups)
                said[name].append(table)
                genes[name] = [len(own) for own in groups.values()]
            said["components"].append(split.components())
    metric = METRICS[cancer.task.kind]
    # the same resampled patients for every split that tests them
    counts = draw(said["one"], cancer.task, RESAMPLES, 0)
    once = pd.DataFrame(1.0, index=[0], columns=counts.columns)
    drawn = pd.concat([once, counts])
    values = {
        name: np.stack([replicates(table, cancer.task, "patient", drawn)[metric] for table in tables])
        for name, tables in said.items()
    }
    events = cancer.labels["event"].sum() if cancer.task.kind == "survival" else None
    return {
        "cancer": cancer.name, "task": cancer.task.name, "metric": metric, "patients": len(cancer.patients),
        "events": None if events is None else int(events), "folds": FOLDS, "seeds": list(seeds), "genes": genes, "parameters": parameters,
        "scores": {name: [round(float(x), 5) for x in found[:, 0]] for name, found in values.items()},
        "patient_intervals": {
            f"{a} - {b}": np.round(interval((values[a] - values[b])[:, 1:].mean(axis=0)), 5).tolist() for a, b in CONTRASTS
        },
        "cpu_s": round(time.process_time() - start, 1),
    }  # fmt: skip


def execute(arguments: argparse.Namespace) -> None:
    """Append the missing rows."""
    data = os.environ.get("PATHDUET_TEST_DATA")
    if not data:
        raise SystemExit(
            "set PATHDUET_TEST_DATA to the folder of public tables (examples/pan_cancer/README.md)"
        )
    code = benchmark_code(Path(__file__))
    done = {(row["cancer"], row["task"]) for row in read_rows(arguments.out)}
    for name in arguments.cancers:
        for cancer in cancers(Path(data), name):
            if (name, cancer.task.name) not in done:
                row = compared(cancer, arguments.seeds) | {"code": code}
                append_rows(arguments.out, row)
                print(row["cancer"], row["task"], row["cpu_s"], {m: np.mean(x).round(3) for m, x in row["scores"].items()}, flush=True)  # fmt: skip


def corrected_interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean of differences (folds, seeds), as in :func:`corrected_resampled_p`."""
    half = t.ppf(0.975, differences.size - 1) * corrected_error(differences)
    return float(differences.mean() - half), float(differences.mean() + half)


def gaps(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per cancer, task and contrast: the difference, its intervals over splits and over patients, p and Holm's p over all."""
    found = []
    for row in rows:
        for a, b in CONTRASTS:
            one, other = (np.reshape(row["scores"][name], (-1, row["folds"])).T for name in (a, b))
            low, high = corrected_interval(one - other)
            below, above = row["patient_intervals"][f"{a} - {b}"]
            found.append(
                {"cancer": row["cancer"].upper(), "task": row["task"], "metric": row["metric"], "contrast": f"{a} - {b}",
                 "mean": (one - other).mean(), "low": low, "high": high, "patients_low": below, "patients_high": above,
                 "p": corrected_resampled_p(one - other)}
            )  # fmt: skip
    table = pd.DataFrame(found)
    return table.assign(holm=holm(table["p"].tolist()))


def over_cancers(table: pd.DataFrame) -> pd.DataFrame:
    """Return per contrast the mean over the cancers' C-indices, its t interval over cancers, p and Holm's p."""
    survival = table[table["metric"] == METRICS["survival"]]
    found = []
    for contrast, part in survival.groupby("contrast", sort=False):
        values = part["mean"].to_numpy()
        half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        found.append(
            {"contrast": contrast, "mean": values.mean(), "low": values.mean() - half, "high": values.mean() + half,
             "above": int((values > 0).sum()), "cancers": len(values), "p": paired(values)[1]}
        )  # fmt: skip
    pooled = pd.DataFrame(found)
    return pooled.assign(holm=holm(pooled["p"].tolist()))


def shown(row: Mapping[str, Any], low: str = "low", high: str = "high") -> str:
    """Return `+0.012 [-0.003, +0.027]`."""
    return f"{row['mean']:+.3f} [{row[low]:+.3f}, {row[high]:+.3f}]"


def p_cells(row: Mapping[str, Any]) -> list[str]:
    """Return p and Holm's p."""
    return ["-" if pd.isna(row[name]) else f"{row[name]:.2g}" for name in ("p", "holm")]


def findings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the findings in the rows, the answer first."""
    table = gaps(rows)
    means = over_cancers(table)
    splits = means[~means["contrast"].str.contains("components")]
    better = ", ".join(splits.loc[splits["low"] > 0, "contrast"]) or "none"
    most = splits.loc[splits["high"].idxmax()]
    lines = [
        f"**Differences of a split that lie above 0 over cancers: {better}** (of {len(splits)}; the largest gain that an interval still holds is {most['high']:+.3f}, {most['contrast']}).",
        "",
    ]
    for pooled in means.to_dict("records"):
        inside = table[(table["contrast"] == pooled["contrast"]) & (table["metric"] == METRICS["survival"])]
        said = "above 0" if pooled["low"] > 0 else "below 0" if pooled["high"] < 0 else "no difference shown"
        p, adjusted = p_cells(pooled)
        lines.append(
            f"- **{pooled['contrast']}**, overall survival: C-index {shown(pooled)} over {pooled['cancers']} cancers, p {p} (Holm {adjusted}): {said}. Above 0 in {pooled['above']} cancers. "
            f"Within a cancer the interval over splits lies above 0 in {(inside['low'] > 0).sum()} and below in {(inside['high'] < 0).sum()}; p below 0.05 after Holm's correction: {(inside['holm'] < 0.05).sum()}."
        )
    classes = table[table["metric"] == METRICS["classification"]]
    for (cancer, task), part in classes.groupby(["cancer", "task"], sort=False):
        said = "; ".join(f"{gap['contrast']} {shown(gap)}" for gap in part.to_dict("records"))
        lines.append(f"- **{cancer}, {task}**, AUC: {said}.")
    return lines


def body(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the page's findings and tables."""
    lines = [*findings(rows), "", "![Differences in every cancer](real_subspaces.svg)", ""]
    lines += ["## Scores", "", *table_head(["cancer", "task", "patients", "events", *MODELS])]
    for row in rows:
        events = "" if row["events"] is None else str(row["events"])
        cells = [row["cancer"].upper(), row["task"], str(row["patients"]), events]
        means = [f"{np.mean(row['scores'][name]):.3f}" for name in MODELS]
        lines.append("| " + " | ".join([*cells, *means]) + " |")
    survival = [row for row in rows if row["metric"] == METRICS["survival"]]
    means = [f"{np.mean([np.mean(row['scores'][name]) for row in survival]):.3f}" for name in MODELS]
    lines.append(f"| mean of {len(survival)} | overall survival | | | {' | '.join(means)} |")
    for contrast, part in gaps(rows).groupby("contrast", sort=False):
        heads = ["cancer", "task", "difference, 95 % over splits", "95 % over patients", "p", "p (Holm)"]
        lines += ["", f"## {contrast}", "", *table_head(heads)]
        for gap in part.to_dict("records"):
            patients = f"[{gap['patients_low']:+.3f}, {gap['patients_high']:+.3f}]"
            cells = [gap["cancer"], gap["task"], shown(gap), patients, *p_cells(gap)]
            lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def draw_forest(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the differences of the subspaces, one row per cancer, with both intervals; the mean over cancers is below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    table = gaps(rows)
    pooled = over_cancers(table).set_index("contrast")
    contrasts = [name for name in pooled.index if "components" not in name]
    names = [
        f"{row['cancer'].upper()}, {row['task']}"
        for row in sorted(rows, key=lambda row: row["metric"] != METRICS["survival"])
    ]
    figure, axes = plt.subplots(
        1, len(contrasts), figsize=(13, 5.4), sharex=True, sharey=True, layout="constrained"
    )
    for axis, contrast in zip(axes, contrasts, strict=True):
        part = table[table["contrast"] == contrast]
        place = [names.index(f"{cancer}, {task}") for cancer, task in zip(part["cancer"], part["task"])]
        axis.hlines(
            place,
            part["patients_low"],
            part["patients_high"],
            color="#b9cfe0",
            lw=5,
            label="95 % over patients",
        )
        axis.hlines(place, part["low"], part["high"], color="#0a5a94", lw=1.4, label="95 % over splits")
        axis.plot(part["mean"], place, "o", color="#0a5a94", ms=4)
        mean = pooled.loc[contrast]
        axis.hlines(len(names), mean["low"], mean["high"], color="#b00020", lw=2, label="95 % over cancers")
        axis.plot(mean["mean"], len(names), "D", color="#b00020", ms=5)
        axis.axvline(0, color="0.6", lw=0.8)
        axis.set_title(contrast, fontsize=10)
        axis.set_xlabel("C-index or AUC, difference", fontsize=8)
        axis.grid(axis="x", color="0.93")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(names) + 1), [*names, "mean, overall survival"], fontsize=8)
    axes[0].set_ylim(len(names) + 0.6, -0.6)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False
    )
    # no date and no random ids, so that the same numbers give the same bytes
    with (
        atomic_path(path) as temporary,
        matplotlib.rc_context({"svg.hashsalt": "pathduet", "svg.fonttype": "none"}),
    ):
        figure.savefig(temporary, metadata={"Date": None})
    plt.close(figure)


def report(arguments: argparse.Namespace) -> None:
    """Print (or write) the page, with the figure beside it."""
    rows = read_rows(*arguments.rows)
    refuse_mixed(
        pd.DataFrame([{**row, "seeds": str(row["seeds"])} for row in rows]),
        ("seeds", "folds", "code"),
        "settings or versions of the code",
    )
    rows.sort(key=lambda row: (CANCERS.index(row["cancer"]), row["metric"] != METRICS["survival"]))
    first = rows[0]
    counts = {
        name: [row["parameters"][name] for row in rows if row["metric"] == METRICS["survival"]]
        for name in HIDDEN
    }
    parameters = ", ".join(f"{name} {min(found):,} to {max(found):,}" for name, found in counts.items())
    least, most = (pick(row["genes"]["one"][0] for row in rows) for pick in (min, max))
    minutes = sum(row["cpu_s"] for row in rows) / 60
    lines = [
        "# Subspaces on the real expression of thirteen cancers", "",
        "Does an SNN with a branch for each subspace of the genes predict better than one SNN on the same genes, and better than with subspaces dealt out at random? **one**: all genes in one branch; **two**: a branch "
        "each for tumor and TME; **four**: tumor, immune, stroma and vasculature; **shuffled**: branches of the same sizes, genes at random; **components**: penalised regression on 50 principal components.", "",
        *body(rows),
        "## How", "",
        f"    {arguments.command}", "    python benchmarks/real_subspaces.py report real_subspaces.jsonl --out docs/results/real_subspaces.md", "",
        where(f"{arguments.machine}; {minutes:.0f} CPU minutes", first["code"], "scikit-learn", "lifelines"), "",
        f"Cohorts, gene lists and training are those of [the pan-cancer example](../../examples/pan_cancer/README.md); overall survival of each cancer, and a classification where the tables have one. "
        f"{first['folds']} stratified folds of each of the seeds {', '.join(map(str, first['seeds']))}. Genes are scaled, and survival intervals cut, by the training part. A shuffle permutes the genes' names, so that "
        "branches keep their sizes and how many genes they share; every split has another one.", "",
        f"Hidden layers of a branch: {', '.join(f'{name} {list(widths)}' for name, widths in HIDDEN.items())}; branches are joined by one more layer, as wide as a branch ends. Parameters (overall survival): {parameters}; a "
        "split and its shuffle have equally many. Genes in several lists enter every branch that lists them, which is most of what a split has more than the one SNN. With full width in each branch: "
        "[pan_cancer.md](pan_cancer.md).", "",
        f"Differences are paired by split. Over splits: the corrected resampled t test (Nadeau and Bengio, 2003). Over patients: percentiles of {RESAMPLES:,} draws of patients, each serving all splits. Over cancers: a t "
        "interval of the cancers' mean differences, each cancer counting alike. Holm's correction over the contrasts for the means over cancers, and over all rows of the tables of differences together.", "",
        "One setting for all cancers, no search; it was chosen on the gliomas with four branches, so a small optimism there is the split's. Folds are not site-preserving: batch effects of sites help every model alike. "
        f"The tables' authors chose the genes: the lists hold {least} to {most} of theirs, not whole subspaces.", "",
    ]  # fmt: skip
    write_page(lines, arguments.out)
    if arguments.out is not None:
        draw_forest(rows, arguments.out.with_suffix(".svg"))


def main() -> None:
    """Read the command line."""
    line = CommandLine(__doc__)
    runs = line.runs(execute, range(3))
    runs.add_argument("--cancers", choices=CANCERS, nargs="+", default=list(CANCERS))
    line.reports(report, "python benchmarks/real_subspaces.py run --out real_subspaces.jsonl")
    line.execute()


if __name__ == "__main__":
    main()
