"""Sections about models: headline numbers, training, and one section a task with tables, curves and gaps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pathduet.catalogue import named
from pathduet.evaluation.metrics import METRIC_NAMES, metric_names
from pathduet.evaluation.predictions import SURVIVAL_TASK
from pathduet.evaluation.table_sections import metric_cells, number, with_spread
from pathduet.evaluation.tables import REFERENCE
from pathduet.report import figures
from pathduet.report.blocks import Block, Drawer, Linked, Section, gap, table, text
from pathduet.report.classification_blocks import classification_blocks
from pathduet.report.findings import NETWORKS, Findings
from pathduet.report.survival_blocks import survival_blocks
from pathduet.results import PREDICTIONS

_LEADS = {
    "diagnosis": "WHO-2021 type of the glioma from slides, with and without expression.",
    "grading": "Grade of the glioma from slides, with and without expression.",
    "survival": "Who dies earlier, beside what age, sex and grade already tell.",
    "external": "Zero-shot: the models of every fold on patients of another cohort, nothing refitted.",
}
_SPREAD_CAPTION = (
    "Open dots: folds. Diamond: their mean. Band: 95 % patient bootstrap interval of the mean. Dashed: a model that "
    "knows nothing."
)


def title_of(name: str) -> str:
    """Return a task's heading."""
    return "External cohort (survival)" if name == "external" else name.capitalize()


def headline(found: Findings) -> Section:
    """The numbers to look at first."""
    section = Section("headline", "Headline numbers")
    cards: list[dict[str, Any]] = []
    if found.ledger is not None:
        ledger = found.ledger
        used, failed = (int((ledger["status"] == s).sum()) for s in ("ok", "failed"))
        cards.append({"title": "Slides used", "value": f"{used} of {len(ledger)}",
                      "note": f"{failed} failed, {len(ledger) - used - failed} excluded", "more": "ledger",
                      "source": "ledger.tsv"})  # fmt: skip
        cards.append({"title": "Patients with a used slide",
                      "value": str(ledger[ledger["status"] == "ok"]["patient_id"].nunique()),
                      "note": f"{len(set(ledger['cohort']))} cohorts, {len(found.folds)} folds by patient",
                      "more": "flow", "source": "participation.tsv"})  # fmt: skip
    else:
        section.blocks.append(found.gap("No slide ledger.", "ledger.tsv"))
    done = sum(len(c.metrics) for c in found.collected.values() if not c.external)
    wanted = sum(len(found.models(name)) * len(found.folds) for name in found.tasks)
    cards.append({"title": "Results of models and folds", "value": f"{done} of {wanted}",
                  "note": "every model of every task, in every fold", "source": "models/"})  # fmt: skip
    if not found.benchmarks.empty:
        hours = found.benchmarks["seconds"].sum() / 3600
        cards.append({"title": "Job time", "value": f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min",
                      "note": f"{len(found.benchmarks)} jobs, added up", "more": "times",
                      "source": "benchmarks/"})  # fmt: skip
    for name in found.names:
        metric = metric_names("survival" if name == "external" else name)[0]
        if name not in found.tables:
            section.blocks.append(_no_table(found, name, f"No {title_of(name)} table."))
            continue
        whole = found.tables[name]
        rows = whole[whole["metric"] == metric].to_dict("records")
        unit = next((row["unit"] for row in rows if row["unit"]), "")
        cards.append({
            "title": f"{title_of(name)}: {METRIC_NAMES[metric]}", "wide": True,
            "lines": [(figures.short_name(row["model"]), with_spread(row)) for row in rows],
            "note": f"mean ± SD over folds [95 % interval], by {unit}", "more": name,
            "source": f"tables/{name}.tsv",
        })  # fmt: skip
    section.blocks.insert(0, {"kind": "cards", "cards": cards})
    for name in ("survival", "external"):
        if name in found.tables and "gain" in found.tables[name]:
            section.blocks.append(text(f"{title_of(name)}, {gain_message(found.tables[name])}"))
    return section


def _no_table(found: Findings, name: str, title: str) -> Block:
    return found.gap(title, f"tables/{name}.tsv", otherwise="empty")


def gain_message(rows: pd.DataFrame) -> str:
    """Say whether the networks beat the clinical reference, with no more certainty than the intervals allow."""
    first = rows["metric"] == metric_names("survival")[0]
    rows = rows[first & rows["model"].isin(NETWORKS) & rows["gain"].notna()]
    reference = named(REFERENCE).full_title
    if rows.empty:
        return f"no network could be compared with {reference}."
    parts = []
    for row in rows.to_dict("records"):
        low, high = row["gain_ci_low"], row["gain_ci_high"]
        side = "above" if low > 0 else "below" if high < 0 else "contains"
        verdict = "no interval" if pd.isna(low) else f"interval {side} 0"
        parts.append(f"{figures.short_name(row['model'])} {row['gain']:+.3f} ({verdict})")
    return f"C-index against {reference} on the same patients: {', '.join(parts)}."


def training(found: Findings, drawer: Drawer) -> Section:
    """Loss curves."""
    section = Section(
        "training", "Training", "The last epoch is the model: no epoch was chosen by looking at a test part."
    )
    for task in found.tasks:
        histories: dict[str, list[pd.DataFrame]] = {}
        for model in NETWORKS:
            missing: dict[int | str, str] = {}
            for fold in found.folds:
                history = found.history(task, model, fold)
                if history is None or "loss" not in history or "epoch" not in history:
                    path = f"models/{task}/{model}/fold-{fold}/history.tsv"
                    missing[fold] = found.gaps.get(path, "it lacks the columns epoch and loss")
                else:
                    histories.setdefault(model, []).append(history)
            for folds, reason in _by_reason(missing):
                title = f"No training curve of {task}, {figures.short_name(model)}, {folds}."
                path = f"models/{task}/{model}/fold-*/history.tsv"
                section.blocks.append(gap(title, f"{path}: {reason}"))
        if histories:
            fell = [h["loss"].iloc[-1] < h["loss"].iloc[0] for folds in histories.values() for h in folds]
            section.blocks.append(
                drawer.draw(
                    f"training-{task}", figures.training, {"histories": histories, "loss": "loss"},
                    message=f"{title_of(task)}: the loss fell in {sum(fell)} of {len(fell)} trainings.",
                    caption="Mean training loss an epoch, one line a fold. A model's loss has its own terms (the "
                    "distilled student adds those of distillation), so compare shapes, not heights.",
                    source=f"models/{task}/<model>/fold-*/history.tsv",
                )
            )  # fmt: skip
    return section


def _by_reason(reasons: Mapping[int | str, str]) -> list[tuple[str, str]]:
    """Return each reason once, with the folds that it is about: ``folds 0, 2``."""
    folds: dict[str, list[str]] = {}
    for fold, reason in reasons.items():
        folds.setdefault(reason, []).append(str(fold))
    return [(f"fold{'s' if len(of) > 1 else ''} {', '.join(of)}", reason) for reason, of in folds.items()]


def _metrics_table(name: str, rows: pd.DataFrame, metrics: list[str]) -> Block:
    heads, models = metric_cells(rows, metrics)
    # what all rows share is said once, below
    units = dict.fromkeys(str(unit) for unit in rows["unit"] if unit)
    variants = dict.fromkeys(str(v) for v in rows["variant"].dropna() if v not in ("", "clinical"))
    apart = [name for name, known in (("unit", units), ("variant", variants)) if len(known) > 1]
    columns = ["Model", *heads, "Patients", "Slides", *(name.capitalize() for name in apart)]
    body = [
        [figures.short_name(first["model"]), *map(_two_lines, cells), first["n_patients"], first["n_slides"],
         *(first[part] for part in apart)]
        for _, first, cells in models
    ]  # fmt: skip
    note = "Mean ± SD (ddof 0) over folds [95 % patient bootstrap interval of the mean]."
    if len(units) == 1:
        note += f" One case is one {next(iter(units))}."
    if list(variants) not in ([], ["paper"]) and len(variants) == 1:
        note += f" Variant of the method: {next(iter(variants))}."
    if "gain" in rows:
        note += (
            " Gain: on the patients that both models predict, positive = better, interval from paired draws."
        )
    if len({first["n_patients"] for _, first, _ in models if first["n_folds"]}) > 1:
        note += " Not every row is about the same patients (see the counts): compare rows with that in mind."
    numbers = [column for column in columns[1:] if column.lower() not in apart]
    return table(f"metrics-{name}", columns, body, numbers=numbers, title="Metrics with their spread",
                 note=note, source=f"tables/{name}.tsv (also .md)")  # fmt: skip


def _two_lines(cell: str) -> str:
    """Put the interval below the value: five metrics then fit beside each other."""
    return cell.replace(" [", "\n[", 1)


def _fold_table(name: str, rows: pd.DataFrame) -> Block:
    folds = [str(c) for c in rows if str(c).startswith("fold_")]
    columns = ["Model", "Metric", *[f.replace("fold_", "Fold ") for f in folds]]
    place = f"external/{SURVIVAL_TASK}" if name == "external" else f"models/{name}"
    body = []
    for row in rows.to_dict("records"):
        paths = [f"{place}/{row['model']}/{f.replace('_', '-')}/{PREDICTIONS}" for f in folds]
        values = [Linked(number(row[f]), path) for f, path in zip(folds, paths, strict=True)]
        body.append([figures.short_name(row["model"]), METRIC_NAMES[row["metric"]], *values])
    return table(f"folds-{name}", columns, body, numbers=columns[2:], title="Every fold",
                 source=f"tables/{name}.tsv", folded=True)  # fmt: skip


def _gaps(found: Findings, name: str) -> list[Block]:
    """Return one gap for each model of a task with what its folds lack."""
    failures = found.collected[name].failures
    return [
        gap(f"{named(model).full_title}: no result in {folds}.", f"{reason[:1].upper()}{reason[1:]}.")
        for model in found.models(name)
        for folds, reason in _by_reason({fold: why for (of, fold), why in failures.items() if of == model})
    ]


def task_section(found: Findings, name: str, drawer: Drawer) -> Section:
    """Return the section of a task, or of the external cohort."""
    section = Section(name, title_of(name), _LEADS[name], _gaps(found, name))
    if name not in found.tables:
        section.blocks.append(_no_table(found, name, "No table."))
    else:
        rows = found.tables[name]
        metrics = list(metric_names("survival" if name == "external" else name))
        section.blocks.append(_metrics_table(name, rows, list(dict.fromkeys(rows["metric"]))))
        section.blocks.append(
            drawer.draw(
                f"spread-{name}", figures.spread, {"table": rows, "metrics": metrics},
                message=_spread_message(name, rows, metrics[0]),
                caption=_SPREAD_CAPTION + (" Star: the folds' ensemble." if name == "external" else ""),
                source=f"tables/{name}.tsv",
            )
        )  # fmt: skip
        section.blocks.append(_fold_table(name, rows))
        headline_rows = rows[rows["metric"].isin(metrics)]
        undefined = sorted({h for h in headline_rows["holes"] if h and "no result" not in h})
        known = set(found.collected[name].failures.values())
        for text_of in undefined:
            if not any(reason in text_of for reason in known):
                section.blocks.append(gap("A number is not defined.", text_of))
    if name in (SURVIVAL_TASK, "external"):
        section.blocks += survival_blocks(found, name, drawer)
    else:
        section.blocks += classification_blocks(found, name, drawer)
    return section


def _spread_message(name: str, rows: pd.DataFrame, metric: str) -> str:
    rows = rows[(rows["metric"] == metric) & rows["mean"].notna()]
    if name in (SURVIVAL_TASK, "external"):
        message = gain_message(rows) if "gain" in rows else ""
        return message[:1].upper() + message[1:]
    means = dict(zip(rows["model"], rows["mean"].astype(float)))
    parts = [f"{figures.short_name(m)} {means[m]:.3f}" for m in NETWORKS if m in means]
    return f"{METRIC_NAMES[metric]}: {', '.join(parts)}." if parts else ""
