"""Tables over folds: mean, SD, interval and every fold's value, with holes where a fold has no number.

One row a model and metric (tidy, for machines) and a Markdown rendering of it (for people). Results of
different variants or protocols never share a row.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pathduet.atomic import write_text, write_tsv
from pathduet.evaluation.bootstrap import gain_interval, mean_interval
from pathduet.evaluation.metrics import metric_names

MODEL_NAMES = {
    "teacher": "Teacher (slides + expression)",
    "student": "Student (slides only)",
    "distilled": "Distilled student (slides only)",
    "cox_age": "Cox: age",
    "cox_age_sex": "Cox: age + sex",
    "cox_age_sex_grade": "Cox: age + sex + grade",
    "logistic_age_sex": "Logistic regression: age + sex",
    "logistic_age_sex_grade": "Logistic regression: age + sex + grade",
}
METRIC_NAMES = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "f1": "F1",
    "c_index": "C-index",
}
#: What a survival network has to beat: it costs two questions and no slide.
REFERENCE = "cox_age_sex"
_ORDER = {name: i for i, name in enumerate(MODEL_NAMES)}

#: (model, fold) to a predictions table; the fold is an int.
Predictions = Mapping[tuple[str, int], pd.DataFrame]
#: (model, fold) to why there is no result.
Failures = Mapping[tuple[str, int], str]


def _rows_of(metrics: Sequence[Mapping[str, Any]], task: str) -> dict[tuple[str, str, str], dict[Any, Any]]:
    """Return (model, variant, protocol) -> fold -> metrics.json content."""
    groups: dict[tuple[str, str, str], dict[Any, Any]] = {}
    for one in metrics:
        if one["task"] == task:
            groups.setdefault((one["model"], one["variant"], one["protocol"]), {})[one["fold"]] = one
    return groups


def _table(
    task: str,
    metrics: Sequence[Mapping[str, Any]],
    predictions: Predictions | None,
    models: Sequence[str] | None,
    n_folds: int | None,
    failures: Failures | None,
    resamples: int,
    seed: int,
    external: bool,
) -> pd.DataFrame:
    groups = _rows_of(metrics, task)
    folds = sorted({f for group in groups.values() for f in group if f != "ensemble"})
    folds = list(range(max([n_folds or 0, *[f + 1 for f in folds]])))
    for model in models or ():
        if not any(key[0] == model for key in groups):
            groups[(model, "", "")] = {}
    rows = []
    for model, variant, protocol in sorted(groups, key=lambda key: (_ORDER.get(key[0], len(_ORDER)), key)):
        group = groups[(model, variant, protocol)]
        done = [f for f in folds if f in group]
        unit = next((group[f]["unit"] for f in done), "")
        parts = [predictions[(model, f)] for f in done] if predictions is not None else []
        intervals = mean_interval(parts, task, unit, resamples=resamples, seed=seed, shared=external)
        shown = [group[f] for f in done]
        for metric in metric_names(task):
            values = {f: group[f][unit].get(metric) if f in group else None for f in folds}
            holes = [
                f"fold {f}: " + _reason(group.get(f), metric, unit, (failures or {}).get((model, f)))
                for f in folds
                if values[f] is None
            ]
            known = np.array([v for v in values.values() if v is not None], dtype=float)
            # An interval of a mean over other folds than the shown mean's would be another quantity's.
            low, high = (intervals[metric] or (None, None)) if len(known) == len(done) else (None, None)
            row: dict[str, Any] = {
                "task": task, "model": model, "variant": variant, "protocol": protocol, "metric": metric,
                "unit": unit, "mean": known.mean() if len(known) else None,
                "sd": known.std(ddof=0) if len(known) else None, "ci_low": low, "ci_high": high,
                **{f"fold_{f}": values[f] for f in folds},
                "n_folds": len(known), "folds_expected": len(folds),
            }  # fmt: skip
            for level in ("patient", "slide"):
                counts = [m["n_labelled"][level] for m in shown]
                row[f"n_{level}s"] = max(counts, default=0) if external else sum(counts)
            if external:
                ensemble = group.get("ensemble")
                row["ensemble"] = ensemble[unit].get(metric) if ensemble else None
                limits = (ensemble["bootstrap"]["interval"].get(metric) if ensemble else None) or (None, None)
                row["ensemble_ci_low"], row["ensemble_ci_high"] = limits
                if row["ensemble"] is None and (shown or ensemble):
                    holes.append("ensemble: " + _reason(ensemble, metric, unit, None))
            if task == "survival":
                row |= _gain(model, unit, done, predictions, resamples, seed, external)
            row["holes"] = "; ".join(holes)
            rows.append(row)
    return pd.DataFrame(rows)


def _gain(
    model: str,
    unit: str,
    folds: Sequence[int],
    predictions: Predictions | None,
    resamples: int,
    seed: int,
    shared: bool,
) -> dict[str, Any]:
    """Return the C-index gained over the reference on the patients that both predict, empty for Cox models."""
    empty = {"gain_over": None, "gain": None, "gain_ci_low": None, "gain_ci_high": None, "gain_n": None}
    if predictions is None or model.startswith("cox_"):
        return empty
    both = [f for f in folds if (REFERENCE, f) in predictions]
    if not both:
        return empty
    found = gain_interval(
        [predictions[(model, f)] for f in both],
        [predictions[(REFERENCE, f)] for f in both],
        "survival",
        "c_index",
        unit,
        resamples=resamples,
        seed=seed,
        shared=shared,
    )
    return {
        "gain_over": REFERENCE,
        "gain": found["gain"],
        "gain_ci_low": found["low"],
        "gain_ci_high": found["high"],
        "gain_n": found["n_patients"],
    }


def _reason(metrics: Mapping[str, Any] | None, metric: str, unit: str, failure: str | None) -> str:
    if metrics is None:
        return failure or "no result"
    return str(metrics["notes"].get(f"{unit}.{metric}", "undefined"))


def cross_fold_table(
    task: str,
    metrics: Sequence[Mapping[str, Any]],
    *,
    predictions: Predictions | None = None,
    models: Sequence[str] | None = None,
    n_folds: int | None = None,
    failures: Failures | None = None,
    resamples: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """Return one row a model and metric over the folds of the cross-validation.

    Parameters
    ----------
    task : {"diagnosis", "grading", "survival"}
    metrics : sequence of dict
        Contents of ``metrics.json`` files; those of other tasks are passed over.
    predictions : mapping of (model, fold) to DataFrame, optional
        For the 95 % intervals (`bootstrap.mean_interval`); without it they are empty.
    models : sequence of str, optional
        Models that should be there; one without any result gets rows that are all holes.
    n_folds : int, optional
        Folds that should be there.
    failures : mapping of (model, fold) to str, optional
        Why a result is missing.

    Returns
    -------
    DataFrame
        task, model, variant, protocol, metric, unit, mean, sd (ddof 0), ci_low, ci_high, fold_0..., n_folds (with a
        value), folds_expected, n_patients and n_slides (with a known outcome, all folds together), holes;
        for survival also gain, gain_ci_low, gain_ci_high over :data:`REFERENCE` on gain_n common patients.
        The mean is over the folds that have a value; n_folds < folds_expected and ``holes`` say where
        that is not all of them.
    """
    return _table(task, metrics, predictions, models, n_folds, failures, resamples, seed, external=False)


def external_table(
    metrics: Sequence[Mapping[str, Any]],
    *,
    task: str = "survival",
    predictions: Predictions | None = None,
    models: Sequence[str] | None = None,
    n_folds: int | None = None,
    failures: Failures | None = None,
    resamples: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """Return one row a model and metric on the external cohort: every fold's model, mean, SD and the ensemble.

    As :func:`cross_fold_table`, but all folds' models see the same patients: n_patients is their number once, the
    interval of the mean draws them once for all folds, and ``ensemble``, ``ensemble_ci_low``, ``ensemble_ci_high``
    (from the ensemble's ``metrics.json``, fold "ensemble") are added.
    """
    return _table(task, metrics, predictions, models, n_folds, failures, resamples, seed, external=True)


def number(value: Any, digits: int = 3) -> str:
    """Return a number for people; an en dash where there is none."""
    return "–" if value is None or pd.isna(value) else f"{float(value):.{digits}f}"


def with_spread(row: Mapping[Any, Any]) -> str:
    """Return ``mean ± SD [low, high]``, with ``(2 of 3 folds)`` where a fold is missing."""
    if row["mean"] is None or pd.isna(row["mean"]):
        return "–"
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


def gain_text(row: Mapping[Any, Any]) -> str:
    """Return ``+gain [low, high] (n patients)``; an en dash where nothing is compared."""
    if row["gain"] is None or pd.isna(row["gain"]):
        return "–"
    limits = (
        "" if pd.isna(row["gain_ci_low"]) else f" [{row['gain_ci_low']:+.3f}, {row['gain_ci_high']:+.3f}]"
    )
    return f"{row['gain']:+.3f}{limits} (n = {int(row['gain_n'])})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _markdown_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return lines + ["| " + " | ".join(_cell(c) for c in row) + " |" for row in rows]


def markdown(table: pd.DataFrame, title: str) -> str:
    """Return the table for people: models x metrics, then every fold's value, then the holes.

    Parameters
    ----------
    table : DataFrame
        From :func:`cross_fold_table` or :func:`external_table`.
    title : str
        Heading.
    """
    lines = [f"# {title}", ""]
    if table.empty:
        return "\n".join([*lines, "No results.", ""])
    metrics = [str(name) for name in dict.fromkeys(table["metric"])]
    folds = [str(name) for name in table if str(name).startswith("fold_")]
    external = "ensemble" in table
    summary: list[list[str]] = []
    per_fold: list[list[str]] = []
    holes: list[str] = []
    for (model, variant, protocol), rows in table.groupby(["model", "variant", "protocol"], sort=False):
        name = MODEL_NAMES.get(str(model), str(model))
        records = {str(row["metric"]): row for row in rows.to_dict("records")}
        first = records[metrics[0]]
        cells = [with_spread(records[m]) for m in metrics]
        if external:
            cells += [with_interval(records[m]) for m in metrics]
        if "gain" in first:
            cells.append(gain_text(first))
        counts = [str(first["n_patients"]), str(first["n_slides"]), str(first["unit"])]
        summary.append([name, *cells, *counts, f"{protocol} / {variant}" if variant else "–"])
        for m in metrics:
            per_fold.append([name, METRIC_NAMES[m], *[number(records[m][f]) for f in folds]])
            if records[m]["holes"]:
                holes.append(f"- {name}, {METRIC_NAMES[m]}: {records[m]['holes']}")
    heads = [METRIC_NAMES[m] for m in metrics]
    heads += [f"{head}, ensemble" for head in heads] if external else []
    heads += [f"Gain over {MODEL_NAMES[REFERENCE]}"] if "gain" in table else []
    lines += _markdown_rows(["Model", *heads, "Patients", "Slides", "Unit", "Protocol / variant"], summary)
    lines += [
        "",
        "Mean ± SD (ddof 0) over folds [95 % patient bootstrap interval of the mean]. C-index: higher risk = "
        "earlier death, original times. Gain: difference of the C-indices on the patients that both models predict, "
        "positive = better, interval from paired draws. Macro averages are over the classes with test cases.",
        "",
        "## Every fold",
        "",
        *_markdown_rows(["Model", "Metric", *[f.replace("fold_", "Fold ") for f in folds]], per_fold),
    ]
    if holes:
        lines += ["", "## Holes", "", *holes]
    return "\n".join([*lines, ""])


def write_table(
    table: pd.DataFrame, tsv: str | os.PathLike[str], md: str | os.PathLike[str], title: str
) -> None:
    """Write a table as TSV and Markdown."""
    write_tsv(tsv, table)
    write_text(md, markdown(table, title))
