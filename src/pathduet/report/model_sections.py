"""Sections about models: headline numbers, training, and one section per task: tables, curves and gaps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pathduet.catalogue import named
from pathduet.cohort.tasks import Task
from pathduet.core.plural import plural
from pathduet.evaluation.metrics import METRIC_NAMES, metric_names
from pathduet.evaluation.table_sections import (
    NONE,
    Words,
    difference_text,
    gain_over,
    metric_cells,
    number,
    with_spread,
)
from pathduet.report import figures
from pathduet.report.blocks import Block, Drawer, Linked, Section, gap, note, table, text
from pathduet.report.classification_blocks import classification_blocks
from pathduet.report.figures import short_name
from pathduet.report.findings import Findings
from pathduet.report.regression_blocks import regression_blocks
from pathduet.report.summary import left_out_text
from pathduet.report.survival_blocks import survival_blocks
from pathduet.results import PREDICTIONS

_CURVES = {
    "classification": classification_blocks,
    "survival": survival_blocks,
    "regression": regression_blocks,
}
#: Maximum number of metric columns on the page.
_METRICS_A_TABLE = 6
_SPREAD_CAPTION = "Open dots: folds. Diamond: their mean. Band: 95 % patient bootstrap interval of the mean. Dashed: chance."
#: Maximum number of models named in a sentence.
_TOLD = 4


def lead_of(found: Findings, name: str) -> str:
    """Return a sentence on the table's content."""
    task = found.task_of(name)
    if found.wanted[name].external:
        return f"Zero-shot: the models of every fold on patients of {' and '.join(found.config['cohorts']['external'])}, nothing refitted."
    if task.kind == "survival":
        return f"Which patient has the event earlier (column {task.event}, {task.observed} = it happened); times in {task.unit}."
    if task.kind == "regression":
        return f"Values of the column {task.column}."
    classes = "; ".join(map(task.class_title, task.classes))
    what = "Ordered classes, the lowest first" if task.ordered else "Classes"
    positive = (
        f" Metrics of one class are those of {task.class_title(task.positive)}." if task.is_binary else ""
    )
    return f"{what}: {classes}.{positive}"


def headline(found: Findings) -> Section:
    """The headline numbers."""
    section = Section("headline", "Headline numbers")
    cards = _counts(found)
    if found.has_slides and found.ledger is None:
        section.blocks.append(found.gap("No slide ledger.", "ledger.tsv"))
    for name in found.wanted:
        metric = metric_names(found.task_of(name))[0]
        if name not in found.tables:
            section.blocks.append(_no_table(found, name, f"No table: {found.title_of(name)}."))
            continue
        whole = found.tables[name]
        rows = whole[whole["metric"] == metric].to_dict("records")
        unit = next((row["unit"] for row in rows if row["unit"]), "")
        cards.append({
            "title": f"{found.title_of(name)}: {METRIC_NAMES[metric]}", "wide": True,
            "lines": [(short_name(row["model"], found.catalogue), with_spread(row)) for row in rows],
            "note": f"mean ± SD over folds [95 % interval], by {unit}", "more": name,
            "source": f"tables/{name}.tsv",
        })  # fmt: skip
    section.blocks.insert(0, {"kind": "cards", "cards": cards})
    if left_out := left_out_text(found.left_out, found.catalogue):
        section.blocks.append(note(f"Left out: {left_out}."))
    section.blocks += _gains(found)
    return section


def _gains(found: Findings) -> list[Block]:
    """Return the gains of the models named in sentences over the clinical baselines; nothing if there are none."""
    models = list(dict.fromkeys(model for name in found.tables for model in _told(found, name)))
    rows = []
    for name, whole in found.tables.items():
        metric, reference = metric_names(found.task_of(name))[0], gain_over(whole)
        gains = {row["model"]: row for row in whole[whole["metric"] == metric].to_dict("records")}
        if reference:
            cells = [
                _two_lines(difference_text(gains[model], "gain").partition(" (n")[0])
                if model in gains
                else NONE
                for model in models
            ]
            rows.append(
                [found.title_of(name), METRIC_NAMES[metric], short_name(reference, found.catalogue), *cells]
            )
    if not rows:
        return []
    titles = [short_name(model, found.catalogue) for model in models]
    return [
        table("gains", ["Task", "Metric", "Clinical baseline", *titles], rows, numbers=titles, title="Gain over a clinical baseline",
              note="Difference in the metric on the patients that both predict, positive = better [95 % interval of paired draws]; "
                "each task's own table gives the number of patients.",
              source="tables/")
    ]  # fmt: skip


def _counts(found: Findings) -> list[dict[str, Any]]:
    """Return the cards that count slides, patients, results and time."""
    cards: list[dict[str, Any]] = []
    if found.has_slides and found.ledger is not None:
        ledger = found.ledger
        used, failed = (int((ledger["status"] == s).sum()) for s in ("ok", "failed"))
        cards.append({"title": "Slides used", "value": f"{used} of {len(ledger)}",
                      "note": f"{failed} failed, {len(ledger) - used - failed} excluded", "more": "ledger",
                      "source": "ledger.tsv"})  # fmt: skip
        cards.append({"title": "Patients with a used slide",
                      "value": str(ledger[ledger["status"] == "ok"]["patient_id"].nunique()),
                      "note": f"{plural(len(set(ledger['cohort'])), 'cohort')}, {plural(len(found.folds), 'fold')} by patient",
                      "more": "flow", "source": "participation.tsv"})  # fmt: skip
    elif found.participation is not None:
        people = found.participation
        cards.append({"title": "Patients", "value": str(len(people)),
                      "note": f"{int((people['expression'] == 'yes').sum())} with expression, {plural(people['cohort'].nunique(), 'cohort')}, "
                      f"{plural(len(found.folds), 'fold')} by patient",
                      "more": "flow", "source": "participation.tsv"})  # fmt: skip
    own = [name for name, wanted in found.wanted.items() if not wanted.external]
    done = sum(len(found.collected[name].metrics) for name in own)
    # tables also show the regressions on pooled features or components, which no list names
    shown = (set(found.models(name)) | {model for model, _ in found.collected[name].metrics} for name in own)
    expected = sum(len(models) * len(found.folds) for models in shown)
    cards.append({"title": "Results of models and folds", "value": f"{done} of {expected}",
                  "note": "every model of every task, in every fold", "source": "models/"})  # fmt: skip
    if not found.benchmarks.empty:
        hours = found.benchmarks["seconds"].sum() / 3600
        cards.append({"title": "Job time", "value": f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min",
                      "note": f"{plural(len(found.benchmarks), 'job')}, added up", "more": "times",
                      "source": "benchmarks/"})  # fmt: skip
    return cards


def endpoints(found: Findings, drawer: Drawer) -> list[Section]:
    """Return the section that compares several survival endpoints; none for fewer than two."""
    names = [
        name
        for name in found.tables
        if found.task_of(name).kind == "survival" and not found.wanted[name].external
    ]
    if len(names) < 2:
        return []
    metric = metric_names(found.task_of(names[0]))[0]
    tables = {found.title_of(name): found.tables[name] for name in names}
    models = list(dict.fromkeys(model for name in names for model in found.models(name)))
    cells = {
        (title, row["model"]): with_spread(row).replace(" [", "\n[", 1)
        for title, rows in tables.items()
        for row in rows[rows["metric"] == metric].to_dict("records")
    }
    body = [
        [short_name(model, found.catalogue), *(cells.get((title, model), NONE) for title in tables)]
        for model in models
    ]
    best = [_best(found, title, rows, metric) for title, rows in tables.items()]
    source = ", ".join(f"tables/{name}.tsv" for name in names)
    section = Section("endpoints", "Survival endpoints", "The same models on every endpoint, side by side.")
    section.blocks = [
        drawer.draw(
            "endpoints", figures.endpoints, {"tables": tables, "metric": metric, "catalogue": found.catalogue},
            message=f"Highest mean: {'; '.join(filter(None, best))}.",
            caption=f"{METRIC_NAMES[metric]}: mean over folds and its 95 % patient bootstrap interval. Endpoints differ in patients and "
            "events, so compare models within a panel.",
            source=source,
        ),
        table("endpoints", ["Model", *tables], body, numbers=list(tables), title=f"{METRIC_NAMES[metric]} by endpoint", source=source),
    ]  # fmt: skip
    return [section]


def _best(found: Findings, title: str, rows: pd.DataFrame, metric: str) -> str:
    rows = rows[(rows["metric"] == metric) & rows["mean"].notna()]
    if rows.empty:
        return ""
    best = rows.iloc[int(rows["mean"].astype(float).to_numpy().argmax())]
    return f"{title}, {short_name(best['model'], found.catalogue)} {best['mean']:.3f}"


def _no_table(found: Findings, name: str, title: str) -> Block:
    return found.gap(title, f"tables/{name}.tsv", otherwise="empty")


def gain_message(found: Findings, name: str, rows: pd.DataFrame) -> str:
    """Return whether the networks beat the clinical reference, as far as the intervals allow; empty without networks."""
    metric = metric_names(found.task_of(name))[0]
    reference = gain_over(rows)
    if not reference:
        return ""
    rows = rows[(rows["metric"] == metric) & rows["model"].isin(_told(found, name)) & rows["gain"].notna()]
    if rows.empty:
        return ""
    parts = []
    for row in rows.to_dict("records"):
        low, high = row["gain_ci_low"], row["gain_ci_high"]
        side = "above" if low > 0 else "below" if high < 0 else "contains"
        verdict = "no interval" if pd.isna(low) else f"interval {side} 0"
        parts.append(f"{short_name(row['model'], found.catalogue)} {row['gain']:+.3f} ({verdict})")
    return f"{METRIC_NAMES[metric]} against {named(reference, found.catalogue).full_title} on the same patients: {', '.join(parts)}."


def _told(found: Findings, name: str) -> list[str]:
    """Return the models named in sentences: those of the method, or else the first networks, or any models."""
    models = found.models(name)
    ours = [model for model in models if found.catalogue[model].kind == "method"]
    return (ours or found.networks(name) or models)[:_TOLD]


def training(found: Findings, drawer: Drawer) -> Section:
    """Loss curves."""
    section = Section(
        "training", "Training", "The last epoch is the model; no epoch was chosen on a test part."
    )
    for task in found.tasks.values():
        histories: dict[str, list[pd.DataFrame]] = {}
        for model in found.networks(task.name):
            missing: dict[int | str, str] = {}
            for fold in found.folds:
                history = found.history(task.name, model, fold)
                if history is None or "loss" not in history or "epoch" not in history:
                    path = f"models/{task.name}/{model}/fold-{fold}/history.tsv"
                    missing[fold] = found.gaps.get(path, "it lacks the columns epoch and loss")
                else:
                    histories.setdefault(model, []).append(history)
            for folds, reason in _by_reason(missing):
                title = (
                    f"No training curve of {task.in_sentence}, {short_name(model, found.catalogue)}, {folds}."
                )
                path = f"models/{task.name}/{model}/fold-*/history.tsv"
                section.blocks.append(gap(title, f"{path}: {reason}"))
        if histories:
            fell = [h["loss"].iloc[-1] < h["loss"].iloc[0] for folds in histories.values() for h in folds]
            section.blocks.append(
                drawer.draw(
                    f"training-{task.name}", figures.training,
                    {"histories": histories, "loss": "loss", "catalogue": found.catalogue},
                    message=f"{task.title}: the loss fell in {sum(fell)} of {len(fell)} trainings.",
                    caption="Mean training loss by epoch, one line per fold. A model's loss has its own terms (that of a distilled "
                    "model adds those of distillation), so compare shapes, not heights.",
                    source=f"models/{task.name}/<model>/fold-*/history.tsv",
                )
            )  # fmt: skip
    if not section.blocks:
        section.blocks.append(text("No network was trained: all models of this run are regressions."))
    return section


def _by_reason(reasons: Mapping[int | str, str]) -> list[tuple[str, str]]:
    """Return each reason once, with its folds: ``folds 0, 2``."""
    folds: dict[str, list[str]] = {}
    for fold, reason in reasons.items():
        folds.setdefault(reason, []).append(str(fold))
    return [(f"fold{'s' if len(of) > 1 else ''} {', '.join(of)}", reason) for reason, of in folds.items()]


def _metrics_tables(found: Findings, name: str, rows: pd.DataFrame, metrics: list[str]) -> list[Block]:
    """Return tables that fit the page: first metrics, gain and counts of each model, and collapsed the other metrics."""
    heads, models = metric_cells(rows, metrics, Words(found.tasks, found.catalogue))
    # content that all rows share is shown once, below
    units = dict.fromkeys(str(unit) for unit in rows["unit"] if unit)
    variants = dict.fromkeys(str(v) for v in rows["variant"].dropna() if v not in ("", "clinical"))
    apart = [name for name, known in (("unit", units), ("variant", variants)) if len(known) > 1]
    reference = gain_over(rows)
    columns = {head: [_two_lines(cells[place]) for *_, cells in models] for place, head in enumerate(heads)}
    gain = {"Gain": columns.pop(heads.pop())} if reference else {}
    first = {head: columns.pop(head) for head in heads[: _METRICS_A_TABLE - 2]} | gain
    counts = (
        {"n_patients": "Patients", "n_slides": "Slides"} if found.has_slides else {"n_patients": "Patients"}
    )
    first |= {
        counts.get(part, part.capitalize()): [row[part] for _, row, _ in models] for part in (*counts, *apart)
    }
    said = "Mean ± SD (ddof 0) over folds [95 % patient bootstrap interval of the mean]."
    if len(units) == 1:
        said += f" One case is one {next(iter(units))}."
    if list(variants) not in ([], ["paper"]) and len(variants) == 1:
        said += f" Variant of the method: {next(iter(variants))}."
    if reference:
        said += (
            f" Gain: over {named(reference, found.catalogue).full_title}, on the patients that both predict, positive = better, "
            "interval from paired draws."
        )
    if len({row["n_patients"] for _, row, _ in models if row["n_folds"]}) > 1:
        said += " Rows differ in their patients (see the counts): consider this when you compare them."
    titles = [short_name(row["model"], found.catalogue) for _, row, _ in models]
    others = list(columns)
    parts = [first]
    parts += [
        {head: columns[head] for head in others[start : start + _METRICS_A_TABLE]}
        for start in range(0, len(others), _METRICS_A_TABLE)
    ]
    return [
        table(
            f"metrics-{name}" + (f"-{number}" if number else ""), ["Model", *part],
            list(zip(titles, *part.values(), strict=True)), numbers=[head for head in part if head.lower() not in apart],
            title=f"Further metrics: {', '.join(part)}" if number else "Metrics with their spread",
            folded=number > 0, note="" if number else said, source=f"tables/{name}.tsv (also .md)",
        )
        for number, part in enumerate(parts)
    ]  # fmt: skip


def _two_lines(cell: str) -> str:
    """Put the interval below the value, and a gain's number of patients below that."""
    return cell.replace(" [", "\n[", 1).replace(" (n", "\n(n")


def _published(found: Findings, name: str, rows: pd.DataFrame) -> list[Block]:
    """Return a publication's own numbers beside ours, if the table has any."""
    if "published_mean" not in rows:
        return []
    body = [
        [short_name(row["model"], found.catalogue), METRIC_NAMES[row["metric"]], with_spread(row),
         number(row["published_mean"]) + ("" if pd.isna(row["published_sd"]) else f" ± {number(row['published_sd'])}"),
         row["published_source"]]
        for row in rows[rows["published_mean"].notna()].to_dict("records")
    ]  # fmt: skip
    if not body:
        return []
    return [
        table(f"published-{name}", ["Model", "Metric", "This run", "Published", "Where"], body, numbers=["This run", "Published"],
              title="The publication's own numbers", folded=True, source=f"tables/{name}.tsv",
              note="Published mean ± SD over folds, of other patients, slides and folds than this run's: for orientation.")
    ]  # fmt: skip


def _fold_table(found: Findings, name: str, rows: pd.DataFrame) -> Block:
    folds = [str(c) for c in rows if str(c).startswith("fold_")]
    columns = ["Model", "Metric", *[f.replace("fold_", "Fold ") for f in folds]]
    wanted = found.wanted[name]
    place = f"{'external' if wanted.external else 'models'}/{wanted.task}"
    body = []
    for row in rows.to_dict("records"):
        paths = [f"{place}/{row['model']}/{f.replace('_', '-')}/{PREDICTIONS}" for f in folds]
        values = [Linked(number(row[f]), path) for f, path in zip(folds, paths, strict=True)]
        body.append([short_name(row["model"], found.catalogue), METRIC_NAMES[row["metric"]], *values])
    return table(f"folds-{name}", columns, body, numbers=columns[2:], title="Every fold",
                 source=f"tables/{name}.tsv", folded=True)  # fmt: skip


def _gaps(found: Findings, name: str) -> list[Block]:
    """Return one gap for each model of a task, listing what its folds lack."""
    failures = found.collected[name].failures
    return [
        gap(
            f"{found.catalogue[model].full_title}: no result in {folds}.",
            f"{reason[:1].upper()}{reason[1:]}.",
        )
        for model in found.models(name)
        for folds, reason in _by_reason({fold: why for (of, fold), why in failures.items() if of == model})
    ]


def task_section(found: Findings, name: str, drawer: Drawer) -> Section:
    """Return the section of a task, or of a task on the external cohorts."""
    section = Section(name, found.title_of(name), lead_of(found, name), _gaps(found, name))
    task = found.task_of(name)
    if name not in found.tables:
        section.blocks.append(_no_table(found, name, "No table."))
    else:
        rows = found.tables[name]
        metrics = list(metric_names(task))
        section.blocks += _metrics_tables(found, name, rows, list(dict.fromkeys(rows["metric"])))
        section.blocks.append(
            drawer.draw(
                f"spread-{name}", figures.spread, {"table": rows, "metrics": metrics, "catalogue": found.catalogue},
                message=_spread_message(found, name, rows, task),
                caption=_SPREAD_CAPTION + (" Star: the folds' ensemble." if found.wanted[name].external else ""),
                source=f"tables/{name}.tsv",
            )
        )  # fmt: skip
        section.blocks += [*_published(found, name, rows), _fold_table(found, name, rows)]
        headline_rows = rows[rows["metric"].isin(metrics)]
        undefined = sorted({h for h in headline_rows["holes"] if h and "no result" not in h})
        known = set(found.collected[name].failures.values())
        for text_of in undefined:
            if not any(reason in text_of for reason in known):
                section.blocks.append(gap("A number is not defined.", text_of))
    section.blocks += _CURVES[task.kind](found, name, drawer)
    return section


def _spread_message(found: Findings, name: str, rows: pd.DataFrame, task: Task) -> str:
    if task.kind == "survival" and (message := gain_message(found, name, rows)):
        return message
    metric = metric_names(task)[0]
    rows = rows[(rows["metric"] == metric) & rows["mean"].notna()]
    means = dict(zip(rows["model"], rows["mean"].astype(float)))
    parts = [f"{short_name(m, found.catalogue)} {means[m]:.3f}" for m in _told(found, name) if m in means]
    return f"{METRIC_NAMES[metric]}: {', '.join(parts)}." if parts else ""
