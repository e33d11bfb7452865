"""Result tables for people: their sections as text cells, which Markdown and the HTML page both show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pathduet.catalogue import named
from pathduet.evaluation.metrics import LOWER_IS_BETTER, METRIC_NAMES
from pathduet.evaluation.paper_numbers import COHORT
from pathduet.evaluation.tables import REFERENCE

NONE = "–"


@dataclass(frozen=True)
class TableSection:
    """One table on the page.

    Attributes
    ----------
    title : str
    header : list of str
    rows : list of list of str
    note : str
        What the reader must know to read it.
    """

    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    note: str = ""


def number(value: Any, digits: int = 3) -> str:
    """Return a number for people; an en dash where there is none."""
    return NONE if value is None or pd.isna(value) else f"{float(value):.{digits}f}"


def with_spread(row: Mapping[Any, Any]) -> str:
    """Return ``mean ± SD [low, high]``, with ``(2 of 3 folds)`` where a fold is missing."""
    if row["mean"] is None or pd.isna(row["mean"]):
        return NONE
    text = f"{number(row['mean'])} ± {number(row['sd'])}"
    if not pd.isna(row["ci_low"]):
        text += f" [{number(row['ci_low'])}, {number(row['ci_high'])}]"
    if row["n_folds"] < row["folds_expected"]:
        text += f" ({row['n_folds']} of {row['folds_expected']} folds)"
    return text


def with_interval(row: Mapping[Any, Any]) -> str:
    """Return the ensemble's ``value [low, high]``."""
    text = number(row["ensemble"])
    if not pd.isna(row["ensemble_ci_low"]):
        text += f" [{number(row['ensemble_ci_low'])}, {number(row['ensemble_ci_high'])}]"
    return text


def difference_text(row: Mapping[Any, Any], name: str = "difference") -> str:
    """Return ``+difference [low, high] (n patients)``, or the ``gain``; an en dash where nothing is compared."""
    if row[name] is None or pd.isna(row[name]):
        return NONE
    low, high = row[f"{name}_ci_low"], row[f"{name}_ci_high"]
    interval = "" if pd.isna(low) else f" [{low:+.3f}, {high:+.3f}]"
    return f"{row[name]:+.3f}{interval} (n = {int(row[f'{name}_n'])})"


def p_text(value: Any) -> str:
    """Return a p value for people."""
    if value is None or pd.isna(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _models(table: pd.DataFrame) -> Iterator[tuple[str, dict[str, dict[Any, Any]], dict[Any, Any]]]:
    """Yield each model's name, its rows by metric and the first of them."""
    for _, rows in table.groupby(["model", "variant", "protocol"], sort=False, dropna=False):
        records = {str(row["metric"]): row for row in rows.to_dict("records")}
        first = next(iter(records.values()))
        title = first.get("title")
        given = isinstance(title, str) and title
        yield str(title) if given else named(str(first["model"])).full_title, records, first


def metric_cells(
    table: pd.DataFrame, metrics: Sequence[str]
) -> tuple[list[str], list[tuple[str, dict[Any, Any], list[str]]]]:
    """Return heads and cells of the metrics, of the ensemble's and of the gain; each model's name, first row and cells."""
    external, gain = "ensemble" in table, "gain" in table
    heads = [METRIC_NAMES[m] for m in metrics]
    heads += [f"{head}, ensemble" for head in heads] if external else []
    heads += [f"Gain over {named(REFERENCE).full_title}"] if gain else []
    rows = []
    for name, records, first in _models(table):
        cells = [with_spread(records[m]) for m in metrics]
        cells += [with_interval(records[m]) for m in metrics] if external else []
        cells += [difference_text(first, "gain")] if gain else []
        rows.append((name, first, cells))
    return heads, rows


def _text(value: Any) -> str:
    return NONE if value is None or pd.isna(value) or value == "" else str(value)


def _summary(table: pd.DataFrame, metrics: Sequence[str]) -> TableSection:
    heads, models = metric_cells(table, metrics)
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
    if "gain" in table:
        note += (
            " C-index: higher risk = earlier death, original times. Gain: difference of the C-indices on the patients "
            "that both models predict, positive = better, interval from paired draws. IPCW C-index and integrated Brier "
            "score (lower is better): up to the upper quartile of the training times, censoring of the training part."
        )
    else:
        note += " Macro averages are over the classes with test cases."
    return TableSection("", heads, rows, note)


def _tests(table: pd.DataFrame, metrics: Sequence[str]) -> TableSection | None:
    if "difference" not in table or not table["difference"].notna().any():
        return None
    rows = []
    for name, records, first in _models(table):
        if not any(pd.notna(records[m]["difference"]) for m in metrics):
            continue
        against = next(r["compared_with"] for r in records.values() if r["compared_with"])
        differences = [difference_text(records[m]) for m in metrics]
        p = [p_text(first["p"]), p_text(first["p_holm"])]
        rows.append([name, named(against).full_title, *differences, *p])
    first_name = METRIC_NAMES[metrics[0]]
    heads = [f"{METRIC_NAMES[m]}, difference" for m in metrics]
    lower = [METRIC_NAMES[m] for m in metrics if m in LOWER_IS_BETTER]
    note = (
        "Difference: the row's model minus the one it is tested against, on the patients that both predict [95 % interval of "
        f"paired patient draws]; below 0 = ours is better{f' (but for {lower[0]})' if lower else ''}. p: two-sided, of no difference in "
        f"{first_name}; Holm's correction over all tests of this table. No correction can make up for few patients."
    )
    header = ["Model", "Tested against", *heads, f"p ({first_name})", "p (Holm)"]
    return TableSection("Paired tests against ours", header, rows, note)


def _paper(table: pd.DataFrame, metrics: Sequence[str]) -> TableSection | None:
    if "paper_mean" not in table or not table["paper_mean"].notna().any():
        return None
    published = set(table.loc[table["paper_mean"].notna(), "metric"])
    metrics = [m for m in metrics if m in published]
    rows = []
    for name, records, _ in _models(table):
        shown = [records[m] for m in metrics]
        if not any(pd.notna(row["paper_mean"]) for row in shown):
            continue
        cells = [
            number(row["paper_mean"]) + (f" ± {number(row['paper_sd'])}" if pd.notna(row["paper_sd"]) else "")
            for row in shown
        ]
        source = next(str(row["paper_source"]) for row in shown if pd.notna(row["paper_mean"]))
        rows.append([name, *cells, source])
    note = (
        f"Published mean ± SD over folds, of the publication's own cohort ({COHORT}): other patients, slides and folds "
        "than those above. For orientation; no number above is computed with them."
    )
    return TableSection(
        "The publication's own numbers",
        ["Model", *[METRIC_NAMES[m] for m in metrics], "Source"],
        rows,
        note,
    )


def _costs(table: pd.DataFrame) -> TableSection | None:
    if "parameters" not in table or not table["parameters"].notna().any():
        return None
    rows = [
        [name, number(first["parameters"], 0), number(first["train_s"], 1), number(first["train_mib"], 0)]
        for name, _, first in _models(table)
        if pd.notna(first["parameters"])
    ]
    note = "Means over folds. Seconds: wall clock of this machine, whatever else ran on it; memory: of the whole process."
    return TableSection("Costs", ["Model", "Parameters", "Training, s a fold", "Memory, MiB"], rows, note)


def calibration_section(calibration: pd.DataFrame) -> TableSection | None:
    """Return the means over folds of each model's calibration; None without any."""
    if calibration.empty:
        return None
    measures = [str(name) for name in dict.fromkeys(calibration["measure"])]
    rows = []
    for (model, of), part in calibration.groupby(["model", "of"], sort=False):
        means = part.groupby("measure")["value"].mean()
        cells = [number(means.get(m), 0 if m == "days" else 3) for m in measures]
        rows.append([named(str(model)).full_title, str(of), *cells, str(part["fold"].nunique())])
    if "observed survival" in measures:
        note = (
            "At the inner edges of the survival intervals (mean days): mean predicted survival, Kaplan-Meier's, and their "
            "difference; slope: Cox coefficient of log(-log S) (1 = right spread, below 1 = too extreme). Means over folds."
        )
    else:
        note = (
            "A class against the rest: Brier score, and expected calibration error (ece) over ten bins; 0 = perfect. "
            "Means over folds."
        )
    return TableSection("Calibration", ["Model", "Of", *measures, "Folds"], rows, note)


def table_sections(table: pd.DataFrame, calibration: pd.DataFrame | None = None) -> list[TableSection]:
    """Return the sections of a table from :mod:`pathduet.evaluation.tables`: numbers, tests, costs, folds.

    Rows with a `group` (tables of variations) make sections of their own, by task and group.
    """
    if "group" in table:
        parts = [
            (f"{str(task).capitalize()}: {group}", part)
            for (task, group), part in table.groupby(["task", "group"], sort=False)
        ]
    else:
        parts = [("", table)]
    sections: list[TableSection] = []
    for heading, part in parts:
        metrics = [str(name) for name in dict.fromkeys(part["metric"])]
        found = [_summary(part, metrics), _tests(part, metrics), _paper(part, metrics), _costs(part)]
        for section in (one for one in found if one is not None):
            title = ": ".join(name for name in (heading, section.title) if name)
            sections.append(TableSection(title, section.header, section.rows, section.note))
    if calibration is not None:
        calibrated = calibration_section(calibration)
        sections += [calibrated] if calibrated else []
    return [*sections, *_every_fold(table)]


def _every_fold(table: pd.DataFrame) -> Iterator[TableSection]:
    """Yield every fold's value, and why there is none where one is missing."""
    folds = [str(name) for name in table if str(name).startswith("fold_")]
    values, missing = [], []
    tasks = set(table["task"])
    for (task,), part in table.groupby(["task"], sort=False):
        several = [str(task)] if len(tasks) > 1 else []
        for name, records, _ in _models(part.drop_duplicates(["model", "variant", "protocol", "metric"])):
            for m, row in records.items():
                values.append([*several, name, METRIC_NAMES[m], *[number(row[f]) for f in folds]])
                if isinstance(row["holes"], str) and row["holes"]:
                    missing.append([*several, name, METRIC_NAMES[m], row["holes"]])
    first = ["Task"] if len(tasks) > 1 else []
    heads = [name.replace("fold_", "Fold ") for name in folds]
    yield TableSection("Every fold", [*first, "Model", "Metric", *heads], values)
    if missing:
        yield TableSection("Holes", [*first, "Model", "Metric", "Why there is no number"], missing)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def markdown(title: str, sections: Sequence[TableSection]) -> str:
    """Return a page of sections for people."""
    lines = [f"# {title}", ""]
    for section in sections:
        if section.title:
            lines += [f"## {section.title}", ""]
        lines += ["| " + " | ".join(section.header) + " |", "|" + " --- |" * len(section.header)]
        lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in section.rows]
        lines += ["", section.note, ""] if section.note else [""]
    return "\n".join(lines if sections else [*lines, "No results.", ""])
