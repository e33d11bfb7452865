"""Tables over folds: mean, SD, interval, every fold's value and paired tests, with holes where a fold has no number.

One row a model and metric (tidy, for machines); :mod:`pathduet.evaluation.table_text` renders them for people. Results of
different variants or protocols never share a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pathduet.evaluation.bootstrap import mean_interval, replicates
from pathduet.evaluation.censored_folds import survival_times, with_shares
from pathduet.evaluation.metrics import metric_names
from pathduet.evaluation.model_facts import MODEL_NAMES, ModelFacts, known_model
from pathduet.evaluation.multiple_testing import holm
from pathduet.evaluation.paired import PairedDifference, paired_differences
from pathduet.evaluation.paper_numbers import paper_number

METRIC_NAMES = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "f1": "F1",
    "c_index": "C-index",
    "ipcw_c_index": "IPCW C-index",
    "integrated_brier": "Integrated Brier",
}
#: Metrics of which less is better.
LOWER_IS_BETTER = ("integrated_brier",)
#: Metrics that correct for censoring: they are in the tables only, since they need the other folds.
CENSORING_METRICS = ("ipcw_c_index", "integrated_brier")
#: What a survival network has to beat: it costs two questions and no slide.
REFERENCE = "cox_age_sex"

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


@dataclass
class _Setting:
    """What all rows of one table share."""

    task: str
    predictions: Predictions | None
    failures: Failures
    resamples: int
    seed: int
    external: bool
    folds: list[int]
    facts: Mapping[str, ModelFacts]
    training: dict[int, pd.DataFrame]
    _cases: dict[tuple[str, int, str], tuple[pd.DataFrame, dict[str, str]]] = field(default_factory=dict)

    def facts_of(self, model: str) -> ModelFacts:
        return self.facts.get(model) or known_model(model)

    def cases(self, model: str, fold: int, unit: str) -> tuple[pd.DataFrame, dict[str, str]]:
        """Return a fold's predictions, with the shares in the censoring-corrected metrics for survival."""
        key = model, fold, unit
        if key not in self._cases:
            self._cases[key] = self._make_cases(*key)
        return self._cases[key]

    def _make_cases(self, model: str, fold: int, unit: str) -> tuple[pd.DataFrame, dict[str, str]]:
        assert self.predictions is not None
        table = self.predictions[(model, fold)]
        if self.task != "survival":
            return table, {}
        if self.external:
            # the training part's censoring says nothing about a cohort with a follow-up of its own
            reason = "the censoring of the training part is not that of the external cohort"
            return table, dict.fromkeys(CENSORING_METRICS, reason)
        return with_shares(table, unit, self.training.get(fold), self.facts_of(model).edges.get(fold))

    def differences(
        self, model: str, other: str, unit: str, done: Sequence[int]
    ) -> tuple[dict[str, PairedDifference], int | None]:
        """Return the paired differences over the folds that both models have; None patients where there are none."""
        if self.predictions is None or not other or other == model:
            return {}, None
        both = [f for f in done if (other, f) in self.predictions and (model, f) in self.predictions]
        if not both:
            return {}, None
        parts, others = ([self.cases(name, f, unit)[0] for f in both] for name in (model, other))
        return paired_differences(
            parts, others, self.task, unit, resamples=self.resamples, seed=self.seed, shared=self.external
        )


def _training_parts(predictions: Predictions | None, folds: Sequence[int]) -> dict[int, pd.DataFrame]:
    """Return each fold's training patients' survival times, if every other fold has predictions of some model."""
    times = survival_times(predictions or {})
    parts = {}
    for fold in folds:
        others = [times[f] for f in folds if f != fold and f in times]
        if others and len(others) == len(folds) - 1:
            whole = pd.concat(others)
            parts[fold] = whole[~whole.index.duplicated()]
    return parts


def _point_values(cases: pd.DataFrame, task: str, unit: str) -> dict[str, float]:
    """Return the censoring-corrected metrics of one fold."""
    patients = sorted(set(cases["patient_id"]))
    once = replicates(cases, task, unit, pd.DataFrame(1.0, index=[0], columns=patients))
    return {name: float(once[name][0]) for name in CENSORING_METRICS if name in once}


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
    facts: Mapping[str, ModelFacts] | None,
) -> pd.DataFrame:
    groups = _rows_of(metrics, task)
    found = sorted({f for group in groups.values() for f in group if f != "ensemble"})
    folds = list(range(max([n_folds or 0, *[f + 1 for f in found]])))
    for model in models or ():
        if not any(key[0] == model for key in groups):
            groups[(model, "", "")] = {}
    training = _training_parts(predictions, folds) if task == "survival" and not external else {}
    setting = _Setting(
        task, predictions, failures or {}, resamples, seed, external, folds, facts or {}, training
    )
    order = {name: i for i, name in enumerate([*MODEL_NAMES, *(models or ())])}
    if models:
        order = {name: i for i, name in enumerate(models)}
    rows = []
    for key in sorted(groups, key=lambda key: (order.get(key[0], len(order)), key)):
        rows += _model_rows(setting, key, groups[key])
    table = pd.DataFrame(rows)
    if len(table):
        tested = [None if pd.isna(p) else float(p) for p in table["p"]]
        table["p_holm"] = pd.Series(holm(tested), index=table.index, dtype=float)
        table["holes"] = table.pop("holes")
    return table


def _model_rows(
    setting: _Setting, key: tuple[str, str, str], group: Mapping[Any, Any]
) -> list[dict[str, Any]]:
    """Return the rows of one model, variant and protocol, one a metric."""
    model, variant, protocol = key
    task, folds, external = setting.task, setting.folds, setting.external
    done = [f for f in folds if f in group]
    unit = next((group[f]["unit"] for f in done), "")
    facts = setting.facts_of(model)
    parts, extra, missing = [], {}, {}
    if setting.predictions is not None:
        for f in done:
            cases, reasons = setting.cases(model, f, unit)
            parts.append(cases)
            missing[f] = reasons
            extra[f] = _point_values(cases, task, unit) if task == "survival" else {}
    intervals = mean_interval(
        parts, task, unit, resamples=setting.resamples, seed=setting.seed, shared=external
    )
    against, n_against = setting.differences(model, facts.compared_with, unit, done)
    gain, n_gain = None, None
    if task == "survival" and not model.startswith("cox_"):
        over_clinical, n_gain = setting.differences(model, REFERENCE, unit, done)
        gain = over_clinical.get("c_index")
    shown = [group[f] for f in done]
    corrected = task == "survival" and not external and setting.predictions is not None
    names = [*metric_names(task), *(CENSORING_METRICS if corrected else ())]
    rows = []
    for metric in names:
        values = {f: _value(group.get(f), extra.get(f, {}), metric, unit) for f in folds}
        holes = [
            f"fold {f}: {_reason(group.get(f), metric, unit, setting.failures.get((model, f)), missing.get(f, {}))}"
            for f in folds
            if values[f] is None
        ]
        known = np.array([v for v in values.values() if v is not None], dtype=float)
        # An interval of a mean over other folds than the shown mean's would be another quantity's.
        low, high = (intervals.get(metric) or (None, None)) if len(known) == len(done) else (None, None)
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
                holes.append("ensemble: " + _reason(ensemble, metric, unit, None, {}))
        if task == "survival":
            row |= {"gain_over": REFERENCE if gain else None, **_difference(gain, "gain", "gain_ci")}
            row["gain_n"] = n_gain if gain else None
        difference = against.get(metric)
        row |= {**facts.columns(), "compared_with": facts.compared_with if difference else ""}
        row |= _difference(difference, "difference", "difference_ci")
        row["difference_n"] = n_against if difference else None
        # one test a model: five metrics of the same predictions are no five questions
        row["p"] = difference.p if difference and metric == names[0] else None
        row["p_holm"] = None
        row |= paper_number("external" if external else task, model, metric)
        row["holes"] = "; ".join(holes)
        rows.append(row)
    return rows


def _difference(found: PairedDifference | None, name: str, limits: str) -> dict[str, float | None]:
    return {
        name: found.value if found else None,
        f"{limits}_low": found.low if found else None,
        f"{limits}_high": found.high if found else None,
    }


def _value(
    metrics: Mapping[str, Any] | None, extra: Mapping[str, float], metric: str, unit: str
) -> float | None:
    if metrics is None:
        return None
    value = extra.get(metric) if metric in CENSORING_METRICS else metrics[unit].get(metric)
    return None if value is None or not np.isfinite(value) else value


def _reason(
    metrics: Mapping[str, Any] | None,
    metric: str,
    unit: str,
    failure: str | None,
    missing: Mapping[str, str],
) -> str:
    if metrics is None:
        return failure or "no result"
    if metric in CENSORING_METRICS:
        return missing.get(metric, "undefined")
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
    facts: Mapping[str, ModelFacts] | None = None,
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
    facts : mapping of str to ModelFacts, optional
        What models read and cost, and which model they are tested against; without it, what their names say.

    Returns
    -------
    DataFrame
        task, model, variant, protocol, metric, unit, mean, sd (ddof 0), ci_low, ci_high, fold_0..., n_folds (with a
        value), folds_expected, n_patients and n_slides (with a known outcome, all folds together), holes;
        for survival also gain, gain_ci_low, gain_ci_high over :data:`REFERENCE` on gain_n common patients; title,
        learns_from, reads, magnifications, parameters, train_s, train_mib; compared_with (a model of ours), difference
        (this model minus that one) with its interval on difference_n common patients, p of the task's first
        metric and p_holm, corrected for all tests of the table; paper_mean, paper_sd, paper_source: the publication's,
        of other patients.
        The mean is over the folds that have a value; n_folds < folds_expected and ``holes`` say where
        that is not all of them.
    """
    return _table(task, metrics, predictions, models, n_folds, failures, resamples, seed, False, facts)


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
    facts: Mapping[str, ModelFacts] | None = None,
) -> pd.DataFrame:
    """Return one row a model and metric on the external cohort: every fold's model, mean, SD and the ensemble.

    As :func:`cross_fold_table`, but all folds' models see the same patients: n_patients is their number once, the
    interval of the mean draws them once for all folds, and ``ensemble``, ``ensemble_ci_low``, ``ensemble_ci_high``
    (from the ensemble's ``metrics.json``, fold "ensemble") are added.
    """
    return _table(task, metrics, predictions, models, n_folds, failures, resamples, seed, True, facts)
