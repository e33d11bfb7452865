"""The comparison as a table and a figure: mean, SD over folds, and a 95 % interval over resampled patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from expression_models.entries import ENTRIES, TITLES, Entry, applies
from pathduet.core.files import atomic_path, write_text, write_tsv
from pathduet.evaluation.bootstrap import draw, interval, replicates
from pathduet.evaluation.censoring import ipcw_c_index
from pathduet.evaluation.classification_metrics import classification_scores
from pathduet.evaluation.multiple_testing import holm
from pathduet.evaluation.paired import two_sided_p
from pathduet.evaluation.predictions import class_names, label_indices, probabilities, read_predictions
from pathduet.evaluation.survival_metrics import survival_scores
from pathduet.evaluation.table_files import page
from pathduet.evaluation.table_sections import TableSection, p_text

if TYPE_CHECKING:
    import pandas as pd

METRICS = {
    "survival": ("c_index", "ipcw_c_index", "integrated_brier"),
    "diagnosis": ("auc", "accuracy", "f1"),
    "grading": ("auc", "accuracy", "f1"),
}
NAMES = {
    "c_index": "C-index", "ipcw_c_index": "IPCW C-index", "integrated_brier": "integrated Brier (lower is better)",
    "auc": "AUC", "accuracy": "accuracy", "f1": "F1",
}  # fmt: skip
REFERENCE = "age_sex"
#: What the paper reports for its SNN (Tables I and II): mean and SD over its three folds.
PAPER_SNN = {
    ("diagnosis", "auc"): (0.8824, 0.0087), ("diagnosis", "accuracy"): (0.7354, 0.0135), ("diagnosis", "f1"): (0.6111, 0.0297),
    ("grading", "auc"): (0.8679, 0.0130), ("grading", "accuracy"): (0.6941, 0.0145), ("grading", "f1"): (0.6566, 0.0153),
    ("survival", "c_index"): (0.7599, 0.0532),
}  # fmt: skip
#: Table IV: diagnosis by its teacher (slides and genes) on other choices of genes.
PAPER_TEACHER = {
    "snn_hvg10": {"auc": (0.9433, 0.0046), "accuracy": (0.8090, 0.0093), "f1": (0.6920, 0.0203)},
    "snn_parallel": {"auc": (0.9631, 0.0079), "accuracy": (0.8617, 0.0090), "f1": (0.7640, 0.0297)},
    "snn_random30": {"auc": (0.9572, 0.0046), "accuracy": (0.8324, 0.0163), "f1": (0.7220, 0.0316)},
    "snn_hvg50": {"auc": (0.9627, 0.0096), "accuracy": (0.8474, 0.0227), "f1": (0.7443, 0.0178)},
    "snn_hvg80": {"auc": (0.9611, 0.0049), "accuracy": (0.8567, 0.0026), "f1": (0.7353, 0.0164)},
}
Folds = Sequence["pd.DataFrame"]


def read_predictions_of(
    folder: Path, splits: Mapping[str, int], settings: Mapping[str, Any]
) -> dict[str, dict[str, list[pd.DataFrame]]]:
    """Return evaluation -> task -> predictions of every fold; external cohorts are evaluations of their own."""
    found: dict[str, dict[str, list[pd.DataFrame]]] = {}
    for split, count in splits.items():
        evaluation = "published 5-fold" if split == "published" else f"{count}-fold"
        for task in settings["tasks"]:
            tables = [
                read_predictions(folder / split / f"fold-{fold}" / f"{task}.tsv") for fold in range(count)
            ]
            found.setdefault(evaluation, {}).setdefault(task, []).extend(tables)
    if settings["external"]:
        tables = [
            read_predictions(folder / "external" / f"fold-{f}" / "survival.tsv")
            for f in range(settings["folds"])
        ]
        for cohort in sorted(set(tables[0]["cohort"])):
            found[f"{cohort}, zero-shot"] = {
                "survival": [table[table["cohort"] == cohort] for table in tables]
            }
    return found


def point_values(table: pd.DataFrame, task: str) -> dict[str, float]:
    """Return the metrics of one model's predictions of one fold; NaN where undefined."""
    if task == "survival":
        time, event, risk = (table[name].to_numpy(dtype=float) for name in ("survival_days", "event", "risk"))
        values: dict[str, Any] = {"c_index": survival_scores(time, event, risk).values["c_index"]}
        if "ipcw_weight" in table and table["ipcw_weight"].notna().all():
            weight = table["ipcw_weight"].to_numpy(dtype=float)
            values["ipcw_c_index"] = ipcw_c_index(time, event, risk, weight, np.ones((1, len(time))))[0]
            values["integrated_brier"] = table["brier"].mean()
    else:
        scores = classification_scores(label_indices(table), probabilities(table), class_names(table))
        values = {name: scores.values[name] for name in METRICS[task]}
    return {name: float("nan") if value is None else float(value) for name, value in values.items()}


def replicate_values(table: pd.DataFrame, task: str, counts: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the metrics of one model's predictions of one fold (a row a patient) under each draw of patients.

    Parameters
    ----------
    counts : DataFrame, resamples x patients
        From :func:`pathduet.evaluation.bootstrap.draw`.
    """
    values = replicates(table, task, "patient", counts)
    return {name: values[name] for name in METRICS[task] if name in values}


def summarise(
    predictions: Mapping[str, Mapping[str, Folds]],
    *,
    resamples: int,
    seed: int,
    entries: Sequence[Entry] = ENTRIES,
) -> pd.DataFrame:
    """Return one row an evaluation, task, model and metric.

    Parameters
    ----------
    predictions : mapping
        Evaluation (``3-fold``, ``published 5-fold``, a cohort's name) -> task -> predictions of every fold.

    Returns
    -------
    DataFrame
        evaluation, task, model, title, metric, mean, sd (over folds, ddof 0), ci_low, ci_high, folds, patients; for
        the first metric also gain over age + sex with its interval, p (two-sided, of no gain, paired by patient) and p_holm
        (corrected for all models of the evaluation and task); paper and paper_sd where the paper reports the like.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for evaluation, tasks in predictions.items():
        for task, folds in tasks.items():
            by_model = {e.name: [_of(part, e.name) for part in folds] for e in entries if applies(e, task)}
            # one draw serves all models (gains are paired) and all folds: repetitions are no new patients
            counts = draw(by_model[REFERENCE], task, resamples, seed)
            drawn = {
                name: [replicate_values(part, task, counts) for part in parts]
                for name, parts in by_model.items()
            }
            first = METRICS[task][0]
            values = {name: [point_values(part, task) for part in parts] for name, parts in by_model.items()}
            baseline = np.mean([v[first] for v in values[REFERENCE]])
            for name, parts in by_model.items():
                mine = {m: np.mean([r[m] for r in drawn[name]], axis=0) for m in drawn[name][0]}
                theirs = np.mean([r[first] for r in drawn[REFERENCE]], axis=0)
                for metric in METRICS[task]:
                    if metric not in values[name][0]:
                        continue
                    numbers = np.array([v[metric] for v in values[name]])
                    low, high = interval(mine[metric]) or (np.nan, np.nan)
                    row = {
                        "evaluation": evaluation, "task": task, "model": name, "title": TITLES[name], "metric": metric,
                        "mean": numbers.mean(), "sd": numbers.std(), "ci_low": low, "ci_high": high,
                        "folds": len(parts), "patients": pd.concat(parts)["patient_id"].nunique(),
                    }  # fmt: skip
                    if metric == first:
                        limits = interval(mine[first] - theirs) or (np.nan, np.nan)
                        gain = numbers.mean() - baseline
                        tested = name != REFERENCE
                        row |= {
                            "gain": gain,
                            "gain_low": limits[0],
                            "gain_high": limits[1],
                            "p": two_sided_p(gain, mine[first] - theirs) if tested else None,
                        }
                    if name == "snn_concat" and (task, metric) in PAPER_SNN and evaluation == "3-fold":
                        row["paper"], row["paper_sd"] = PAPER_SNN[task, metric]
                    rows.append(row)
    table = pd.DataFrame(rows)
    table["p"] = table["p"].astype(float)
    table["p_holm"] = np.nan
    for _, part in table.groupby(["evaluation", "task"], sort=False):
        adjusted = holm([None if np.isnan(p) else float(p) for p in part["p"]])
        table.loc[part.index, "p_holm"] = [np.nan if p is None else p for p in adjusted]
    return table


def _of(table: pd.DataFrame, model: str) -> pd.DataFrame:
    return table[table["model"] == model].drop(columns="model").reset_index(drop=True)


def sections(table: pd.DataFrame) -> list[TableSection]:
    """Return the table for people, one section an evaluation and task."""
    found = []
    for (evaluation, task), part in table.groupby(["evaluation", "task"], sort=False):
        metrics = [metric for metric in METRICS[str(task)] if metric in set(part["metric"])]
        first = part.iloc[0]
        title = f"{str(task).capitalize()}, {evaluation} ({first['folds']} test parts, {first['patients']} patients)"
        header = [
            "model",
            *[NAMES[m] for m in metrics],
            "gain over age + sex",
            "p",
            "p (Holm)",
            "paper (SNN, its own cohort)",
        ]
        rows = []
        for model, group in part.groupby("model", sort=False):
            cells = {row["metric"]: row for row in group.to_dict("records")}
            main = cells[metrics[0]]
            gain = (
                "reference"
                if model == REFERENCE
                else f"{_signed(main['gain'])} ({_signed(main['gain_low'])} to {_signed(main['gain_high'])})"
            )
            paper = [
                f"{NAMES[m]} {cells[m]['paper']:.3f} ± {cells[m]['paper_sd']:.3f}"
                for m in metrics
                if cells[m].get("paper") == cells[m].get("paper") and cells[m].get("paper") is not None
            ]
            p = [p_text(main.get("p")), p_text(main.get("p_holm"))]
            values = [_cell(cells[m]) for m in metrics]
            rows.append([str(main["title"]), *values, gain, *p, ", ".join(paper) or "-"])
        found.append(TableSection(title, header, rows))
    return found


def markdown(table: pd.DataFrame) -> str:
    """Return the table as Markdown, one part an evaluation and task."""
    lines: list[str] = []
    for section in sections(table):
        lines += ["", f"### {section.title}", "", "| " + " | ".join(section.header) + " |"]
        lines.append("|" + "---|" * len(section.header))
        lines += ["| " + " | ".join(row) + " |" for row in section.rows]
    return "\n".join(lines).strip() + "\n"


def _cell(row: Mapping[Any, Any] | pd.Series) -> str:
    return f"{row['mean']:.3f} ± {row['sd']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f})"


def _signed(value: Any) -> str:
    return "-" if value is None or value != value else f"{value:+.3f}"


def table_iv(table: pd.DataFrame) -> str:
    """Return how the choice of genes changes the diagnosis, beside the paper's Table IV (its teacher, with slides)."""
    part = table[(table["task"] == "diagnosis") & (table["evaluation"] == "3-fold")].set_index(
        ["model", "metric"]
    )
    lines = ["| genes | AUC | accuracy | F1 | paper's teacher: AUC, accuracy, F1 |", "|---|---|---|---|---|"]
    labels = {"snn_hvg10": "10 % HVG", "snn_parallel": "30 % HVG", "snn_random30": "30 % random", "snn_hvg50": "50 % HVG", "snn_hvg80": "80 % HVG"}  # fmt: skip
    for model, label in labels.items():
        if (model, "auc") not in part.index:
            continue
        rows = [part[part.index == (model, metric)].iloc[0] for metric in METRICS["diagnosis"]]
        ours = " | ".join(_cell(row) for row in rows)
        theirs = ", ".join(
            "{:.3f} ± {:.3f}".format(*PAPER_TEACHER[model][metric]) for metric in METRICS["diagnosis"]
        )
        lines.append(f"| {label} | {ours} | {theirs} |")
    return "\n".join(lines) + "\n"


def draw_figure(table: pd.DataFrame, path: Path) -> None:
    """Draw every model's first metric of each task: mean over folds and 95 % interval, the paper's SNN beside it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks = [task for task in METRICS if task in set(table["task"])]
    internal = [
        e
        for e in dict.fromkeys(table["evaluation"])
        if len(set(table.loc[table["evaluation"] == e, "task"])) > 1
    ]
    external = [e for e in dict.fromkeys(table["evaluation"]) if e not in internal]
    panels = [(task, internal) for task in tasks] + ([("survival", external)] if external else [])
    names = [entry.name for entry in ENTRIES if entry.name in set(table["model"])]
    colours = ["#1b6ca8", "#d1662b", "#4c8c4a"]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.6 * len(panels) + 2.6, 4.6), sharey=True, squeeze=False
    )
    for axis, (task, evaluations) in zip(axes[0], panels):
        metric = METRICS[task][0]
        for k, evaluation in enumerate(evaluations):
            rows = table[
                (table["task"] == task) & (table["evaluation"] == evaluation) & (table["metric"] == metric)
            ]
            place = np.array([names.index(m) for m in rows["model"]]) + 0.22 * (
                k - (len(evaluations) - 1) / 2
            )
            error = np.stack([rows["mean"] - rows["ci_low"], rows["ci_high"] - rows["mean"]])
            axis.errorbar(
                rows["mean"], place, xerr=error, fmt="o", ms=4, lw=1.2, color=colours[k % 3], label=evaluation
            )
        if (task, metric) in PAPER_SNN and evaluations is internal:
            value, sd = PAPER_SNN[task, metric]
            axis.axvspan(value - sd, value + sd, color="0.9", lw=0, zorder=0)
            axis.axvline(value, color="0.5", lw=1, ls="--", label="paper's SNN, mean ± SD")
        if metric == "c_index":
            axis.axvline(0.5, color="0.7", lw=0.8, ls=":")
        where = "external cohorts, zero-shot" if evaluations is external else "TCGA, cross-validated"
        axis.set_title(f"{task}: {where}", fontsize=9)
        axis.set_xlabel(NAMES[metric], fontsize=9)
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
        axis.grid(axis="x", color="0.93")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_yticks(range(len(names)), [TITLES[name] for name in names], fontsize=8)
    axes[0][0].invert_yaxis()
    # no date and no random ids: same numbers, same bytes
    fixed: Any = {"svg.hashsalt": "pathduet", "svg.fonttype": "none"}
    with atomic_path(path) as temporary, matplotlib.rc_context(fixed):
        figure.savefig(
            temporary,
            bbox_inches="tight",
            metadata={"Date": None} if path.suffix == ".svg" else None,
            dpi=130,
        )
    plt.close(figure)


def write_summary(
    predictions: Mapping[str, Mapping[str, Folds]], folder: Path, *, resamples: int, seed: int
) -> pd.DataFrame:
    """Write table.tsv, table.md, table.html, figure.svg and figure.png; return the table."""
    table = summarise(predictions, resamples=resamples, seed=seed)
    write_tsv(folder / "table.tsv", table)
    text = markdown(table)
    if {"3-fold", "diagnosis"} <= {*table["evaluation"], *table["task"]}:
        text += "\n### Diagnosis by choice of genes, 3-fold, beside the paper's Table IV\n\n" + table_iv(
            table
        )
    write_text(folder / "table.md", text)
    draw_figure(table, folder / "figure.svg")
    text = page(
        "Expression alone on TCGA gliomas",
        sections(table),
        (folder / "figure.svg").read_text(encoding="utf-8"),
        "Every model's first metric: mean over test parts, and its 95 % patient bootstrap interval.",
    )
    write_text(folder / "table.html", text)
    draw_figure(table, folder / "figure.png")
    return table
