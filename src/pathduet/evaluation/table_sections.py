"""Result tables for people: sections of text cells, which Markdown and the HTML page both show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, log10
from typing import Any

import pandas as pd

from pathduet.catalogue import Model, named
from pathduet.cohort.tasks import Task
from pathduet.evaluation.metrics import IN_LABEL_UNITS, LOWER_IS_BETTER, METRIC_NAMES
from pathduet.evaluation.paired import LEAST_TRAININGS

NONE = "–"
#: What readers need to know about a metric.
_METRIC_NOTES = {
    "c_index": "C-index: higher risk = earlier event, original times.",
    "ipcw_c_index": "IPCW C-index and integrated Brier score (lower is better): up to the upper quartile of the training times, "
    "censoring of the training part.",
    "r2": "R²: 0 = no better than the mean of the test part, 1 = exact. MAE: mean absolute error, in the label's own unit (lower is "
    "better).",
}
_CALIBRATION_NOTES = {
    "classification": "A class against the rest: Brier score, and expected calibration error (ece) over ten bins; 0 = perfect.",
    "survival": "At the inner edges of the survival intervals (mean {unit}): mean predicted survival, Kaplan-Meier's, and their "
    "difference; slope: Cox coefficient of log(-log S) (1 = right spread, below 1 = too extreme).",
    "regression": "Slope and intercept of the line through observed against predicted values (1 and 0 = right; slope below 1 = "
    "predictions too extreme); mean of both in groups of similar predictions, the lowest first.",
}


@dataclass(frozen=True)
class Words:
    """Display names in tables.

    Attributes
    ----------
    tasks : mapping of str to Task
    catalogue : mapping of str to Model
        The run's.
    published_cohort : str
        The cohort of a publication's numbers.
    """

    tasks: Mapping[str, Task]
    catalogue: Mapping[str, Model]
    published_cohort: str = ""

    def model(self, name: str) -> str:
        """Return a model's title, with its inputs."""
        return named(name, self.catalogue).full_title

    def task(self, name: str) -> str:
        """Return a task's title."""
        return self.tasks[name].title


@dataclass(frozen=True)
class TableSection:
    """One table on the page.

    Attributes
    ----------
    title : str
    header : list of str
    rows : list of list of str
    note : str
        What readers need to know about the table.
    """

    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    note: str = ""


def number(value: Any, digits: int = 3) -> str:
    """Return a number for display; an en dash if there is none."""
    return NONE if value is None or pd.isna(value) else f"{float(value):.{digits}f}"


def with_spread(row: Mapping[Any, Any]) -> str:
    """Return ``mean ± SD [low, high]``, with ``(2 of 3 folds)`` if a fold is missing."""
    if row["mean"] is None or pd.isna(row["mean"]):
        return NONE
    digits = _digits(row)
    text = f"{number(row['mean'], digits)} ± {number(row['sd'], digits)}"
    if not pd.isna(row["ci_low"]):
        text += f" [{number(row['ci_low'], digits)}, {number(row['ci_high'], digits)}]"
    if row["n_folds"] < row["folds_expected"]:
        text += f" ({row['n_folds']} of {row['folds_expected']} folds)"
    return text


def with_interval(row: Mapping[Any, Any]) -> str:
    """Return the ensemble's ``value [low, high]``."""
    digits = _digits(row)
    text = number(row["ensemble"], digits)
    if not pd.isna(row["ensemble_ci_low"]):
        text += f" [{number(row['ensemble_ci_low'], digits)}, {number(row['ensemble_ci_high'], digits)}]"
    return text


def _digits(row: Mapping[Any, Any]) -> int:
    """Return how many decimals a row's numbers have: three significant digits for values in the label's own unit, else three."""
    if row["metric"] not in IN_LABEL_UNITS or pd.isna(row["mean"]) or row["mean"] == 0:
        return 3
    return max(0, 2 - floor(log10(abs(row["mean"]))))


def difference_text(row: Mapping[Any, Any], name: str = "difference") -> str:
    """Return ``+difference [low, high] (n patients)``, or the ``gain``; an en dash if nothing is compared."""
    if row[name] is None or pd.isna(row[name]):
        return NONE
    low, high = row[f"{name}_ci_low"], row[f"{name}_ci_high"]
    digits = _digits(row) if name == "difference" else 3
    interval = "" if pd.isna(low) else f" [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"{row[name]:+.{digits}f}{interval} (n = {int(row[f'{name}_n'])})"


def p_text(value: Any) -> str:
    """Return a p value for display."""
    if value is None or pd.isna(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _models(
    table: pd.DataFrame, words: Words
) -> Iterator[tuple[str, dict[str, dict[Any, Any]], dict[Any, Any]]]:
    """Yield each model's name, its rows by metric and the first of them."""
    for _, rows in table.groupby(["model", "variant", "protocol"], sort=False, dropna=False):
        records = {str(row["metric"]): row for row in rows.to_dict("records")}
        first = next(iter(records.values()))
        title = first.get("title")
        given = isinstance(title, str) and title
        yield str(title) if given else words.model(str(first["model"])), records, first


def metric_cells(
    table: pd.DataFrame, metrics: Sequence[str], words: Words
) -> tuple[list[str], list[tuple[str, dict[Any, Any], list[str]]]]:
    """Return the headers, and each model's name, first row and cells: metrics, the ensemble's and the gain."""
    external, gain = "ensemble" in table, gain_over(table)
    heads = [METRIC_NAMES[m] for m in metrics]
    heads += [f"{head}, ensemble" for head in heads] if external else []
    heads += [f"Gain over {words.model(gain)}"] if gain else []
    rows = []
    for name, records, first in _models(table, words):
        cells = [with_spread(records[m]) for m in metrics]
        cells += [with_interval(records[m]) for m in metrics] if external else []
        cells += [difference_text(first, "gain")] if gain else []
        rows.append((name, first, cells))
    return heads, rows


def gain_over(table: pd.DataFrame) -> str:
    """Return the reference model of the table's gain; empty if there is none."""
    known = table["gain_over"].dropna() if "gain_over" in table else pd.Series(dtype=object)
    return str(known.iloc[0]) if len(known) else ""


def _text(value: Any) -> str:
    return NONE if value is None or pd.isna(value) or value == "" else str(value)


def _summary(table: pd.DataFrame, metrics: Sequence[str], words: Words) -> TableSection:
    heads, models = metric_cells(table, metrics, words)
    heads = ["Model", *heads, "Reads", "Magnifications", "Patients", "Slides", "Unit", "Protocol", "Variant"]
    rows = [
        [
            name, *cells, _text(first.get("reads")), _text(first.get("magnifications")),
            *(str(first[count]) for count in ("n_patients", "n_slides", "unit")),
            _text(first["protocol"]), _text(first["variant"]),
        ]
        for name, first, cells in models
    ]  # fmt: skip
    note = "Mean ± SD (ddof 0) over folds [95 % patient bootstrap interval of the mean]. Reads: what a model needs to predict."
    if (trainings := int(table["trainings"].max())) > 1:
        note += f" A network's number of a fold is the mean of {trainings} trainings with other seeds."
    if gain_over(table):
        note += (
            f" Gain: difference in {METRIC_NAMES[metrics[0]]} on the patients that both models predict, positive = better, "
            "interval from paired draws."
        )
    task = words.tasks[str(table["task"].iloc[0])]
    if task.is_binary:
        note += f" Sensitivity, specificity, F1 and average precision: of the class {task.class_title(task.positive)}."
    elif task.kind == "classification":
        note += (
            " Macro averages are over the classes with test cases; balanced accuracy is the mean sensitivity."
        )
    note += "".join(f" {said}" for metric, said in _METRIC_NOTES.items() if metric in metrics)
    return TableSection("", heads, rows, note)


def _tests(table: pd.DataFrame, metrics: Sequence[str], words: Words) -> TableSection | None:
    if "difference" not in table or not table["difference"].notna().any():
        return None
    rows = []
    for name, records, first in _models(table, words):
        if not any(pd.notna(records[m]["difference"]) for m in metrics):
            continue
        against = next(r["compared_with"] for r in records.values() if r["compared_with"])
        differences = [difference_text(records[m]) for m in metrics]
        p = [p_text(first["p"]), p_text(first["p_holm"])]
        rows.append([name, words.model(against), *differences, *p])
    first_name = METRIC_NAMES[metrics[0]]
    heads = [f"{METRIC_NAMES[m]}, difference" for m in metrics]
    lower = [METRIC_NAMES[m] for m in metrics if m in LOWER_IS_BETTER]
    note = (
        "Difference: the row's model minus the one it is tested against, on the patients that both predict [95 % interval of "
        f"paired patient draws]; below 0 = ours is better{f' (but for {lower[0]})' if lower else ''}. "
    )
    header = ["Model", "Tested against", *heads]
    if table["p"].isna().all():
        note += f"No p values: they need {LEAST_TRAININGS} trainings per fold (training.seeds), because one may be lucky."
        return TableSection(
            "Paired differences from ours", header, [row[: len(header)] for row in rows], note
        )
    how = (
        "bootstrap over patients"
        if "ensemble" in table
        else "corrected resampled t test over folds and trainings"
    )
    note += (
        f"p: two-sided, of no difference in {first_name}, {how}; Holm's correction over all tests of this table. No correction can make "
        "up for few patients."
    )
    header += [f"p ({first_name})", "p (Holm)"]
    return TableSection("Paired tests against ours", header, rows, note)


def _published(table: pd.DataFrame, metrics: Sequence[str], words: Words) -> TableSection | None:
    if "published_mean" not in table or not table["published_mean"].notna().any():
        return None
    published = set(table.loc[table["published_mean"].notna(), "metric"])
    metrics = [m for m in metrics if m in published]
    rows = []
    for name, records, _ in _models(table, words):
        shown = [records[m] for m in metrics]
        if not any(pd.notna(row["published_mean"]) for row in shown):
            continue
        cells = [
            number(row["published_mean"])
            + (f" ± {number(row['published_sd'])}" if pd.notna(row["published_sd"]) else "")
            for row in shown
        ]
        source = next(str(row["published_source"]) for row in shown if pd.notna(row["published_mean"]))
        rows.append([name, *cells, source])
    note = (
        f"Published mean ± SD over folds, of the publication's own cohort ({words.published_cohort}): other patients, slides "
        "and folds than those above. For orientation; no number above is computed with them."
    )
    return TableSection(
        "The publication's own numbers",
        ["Model", *[METRIC_NAMES[m] for m in metrics], "Source"],
        rows,
        note,
    )


def _costs(table: pd.DataFrame, words: Words) -> TableSection | None:
    if "parameters" not in table or not table["parameters"].notna().any():
        return None
    rows = [
        [name, number(first["parameters"], 0), number(first["train_s"], 1), number(first["train_mib"], 0)]
        for name, _, first in _models(table, words)
        if pd.notna(first["parameters"])
    ]
    note = "Means over folds. Seconds: wall clock of this machine, whatever else ran on it; memory: of the whole process."
    return TableSection("Costs", ["Model", "Parameters", "Training, s per fold", "Memory, MiB"], rows, note)


def calibration_section(calibration: pd.DataFrame, task: Task, words: Words) -> TableSection | None:
    """Return the means over folds of each model's calibration in a task; None if there are none."""
    if calibration.empty:
        return None
    measures = [str(name) for name in dict.fromkeys(calibration["measure"])]
    rows = []
    for (model, of), part in calibration.groupby(["model", "of"], sort=False):
        means = part.groupby("measure")["value"].mean()
        days = number(task.in_unit(means.get("days", float("nan"))), 0 if task.unit == "days" else 1)
        cells = [days if m == "days" else number(means.get(m)) for m in measures]
        title = task.class_title(str(of)) if task.kind == "classification" else str(of)
        rows.append([words.model(str(model)), title, *cells, str(part["fold"].nunique())])
    note = _CALIBRATION_NOTES[task.kind].format(unit=task.unit) + " Means over folds."
    heads = [task.unit if m == "days" else m for m in measures]
    return TableSection("Calibration", ["Model", "Of", *heads, "Folds"], rows, note)


def table_sections(
    table: pd.DataFrame, words: Words, calibration: pd.DataFrame | None = None
) -> list[TableSection]:
    """Return the sections of a table from :mod:`pathduet.evaluation.tables`: numbers, tests, costs, folds.

    Rows with a `group` (tables of variations) get their own sections, by task and group.
    """
    if "group" in table:
        parts = [
            (f"{words.task(str(task))}: {group}", part)
            for (task, group), part in table.groupby(["task", "group"], sort=False)
        ]
    else:
        parts = [("", table)]
    sections: list[TableSection] = []
    for heading, part in parts:
        metrics = [str(name) for name in dict.fromkeys(part["metric"])]
        found = [
            _summary(part, metrics, words), _tests(part, metrics, words), _published(part, metrics, words), _costs(part, words)
        ]  # fmt: skip
        for section in (one for one in found if one is not None):
            title = ": ".join(name for name in (heading, section.title) if name)
            sections.append(TableSection(title, section.header, section.rows, section.note))
    if calibration is not None:
        task = words.tasks[str(table["task"].iloc[0])]
        calibrated = calibration_section(calibration, task, words)
        sections += [calibrated] if calibrated else []
    return [*sections, *_every_fold(table, words)]


def _every_fold(table: pd.DataFrame, words: Words) -> Iterator[TableSection]:
    """Yield every fold's value, or why it is missing."""
    folds = [str(name) for name in table if str(name).startswith("fold_")]
    values, missing = [], []
    tasks = set(table["task"])
    for (task,), part in table.groupby(["task"], sort=False):
        several = [words.task(str(task))] if len(tasks) > 1 else []
        once = part.drop_duplicates(["model", "variant", "protocol", "metric"])
        for name, records, _ in _models(once, words):
            for m, row in records.items():
                values.append(
                    [*several, name, METRIC_NAMES[m], *[number(row[f], _digits(row)) for f in folds]]
                )
                if isinstance(row["holes"], str) and row["holes"]:
                    missing.append([*several, name, METRIC_NAMES[m], row["holes"]])
    first = ["Task"] if len(tasks) > 1 else []
    heads = [name.replace("fold_", "Fold ") for name in folds]
    yield TableSection("Every fold", [*first, "Model", "Metric", *heads], values)
    if missing:
        yield TableSection("Holes", [*first, "Model", "Metric", "Why a number is missing"], missing)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def markdown(title: str, sections: Sequence[TableSection]) -> str:
    """Return the sections as one Markdown page."""
    lines = [f"# {title}", ""]
    for section in sections:
        if section.title:
            lines += [f"## {section.title}", ""]
        lines += ["| " + " | ".join(section.header) + " |", "|" + " --- |" * len(section.header)]
        lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in section.rows]
        lines += ["", section.note, ""] if section.note else [""]
    return "\n".join(lines if sections else [*lines, "No results.", ""])
