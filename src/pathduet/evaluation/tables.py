"""Tables over folds: mean, SD, interval, every fold's value and paired tests, with holes where a fold has no value.

One row per model and metric (tidy, for programs); :mod:`pathduet.evaluation.table_sections` renders them for people. Results
of different variants or protocols never share a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from pathduet.cohort.tasks import Task
from pathduet.evaluation.bootstrap import mean_interval, mean_replicates
from pathduet.evaluation.censored_folds import survival_times, with_shares
from pathduet.evaluation.collect import Collected
from pathduet.evaluation.ensemble import ENSEMBLE
from pathduet.evaluation.metrics import CENSORING_METRICS, metric_names
from pathduet.evaluation.model_summary import ModelSummary
from pathduet.evaluation.multiple_testing import holm
from pathduet.evaluation.paired import PairedDifference, paired_differences
from pathduet.evaluation.predictions import at_unit
from pathduet.evaluation.published_numbers import NONE, PublishedNumbers
from pathduet.result_tables import external_table

#: Columns that identify a test of a table.
_KEYS = ["task", "model", "variant", "protocol", "metric"]

Differences = dict[str, PairedDifference]


def result_table(
    found: Collected,
    summaries: Mapping[str, ModelSummary],
    *,
    reference: str = "",
    published: PublishedNumbers = NONE,
    resamples: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """Return one row per model and metric over the folds of the cross-validation, or on the external cohorts.

    Parameters
    ----------
    found : Collected
        With metrics. Without predictions, intervals and tests are empty.
    summaries : mapping of str to ModelSummary
        What the models read and cost, and which model they are tested against.
    reference : str, optional
        The clinical model that the gain is over (:func:`pathduet.catalogue.reference_model`); none if the table does not show it.
    published : PublishedNumbers, optional
        Published numbers beside the rows.
    resamples, seed : int
        Of the patient bootstrap.

    Returns
    -------
    DataFrame
        task, model, variant, protocol, metric, unit, mean, sd (ddof 0), ci_low, ci_high, fold_0... (mean of the fold's
        trainings), n_folds (with a value), folds_expected, trainings (per fold), n_patients and n_slides (with a known outcome,
        all folds together), holes; on external cohorts ensemble, ensemble_ci_low, ensemble_ci_high; gain, gain_ci_low,
        gain_ci_high in the task's first metric over gain_over, the reference, on gain_n common patients; title, learns_from,
        reads, magnifications, parameters, train_s, train_mib; compared_with (a model of ours), difference (this model minus that
        one) with its interval on difference_n common patients, p of the task's first metric and p_holm, corrected for all tests
        of the table; published_mean, published_sd, published_source: published numbers, of other patients. The mean is over the
        folds that have a value; if n_folds < folds_expected, ``holes`` explains the missing ones. On external cohorts all folds'
        models predict the same patients: n_patients counts them once, and the interval of the mean uses one draw of patients for
        all folds.
    """
    reference = reference if reference in found.models else ""
    parts = _Parts(found, summaries, reference, published, resamples, seed)
    rows = [
        row
        for model in found.models
        for folds in _variants(found, model)
        for row in _ModelRows(parts, model, folds).rows()
    ]
    return correct_for_tests(pd.DataFrame(rows))


def correct_for_tests(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with p_holm over all its tests; a model in two groups is tested once."""
    if table.empty:
        return table
    once = table.drop_duplicates(_KEYS).set_index(_KEYS)["p"]
    adjusted = pd.Series(
        holm([None if pd.isna(p) else float(p) for p in once]), index=once.index, dtype=float
    )
    return table.assign(p_holm=adjusted.reindex(pd.MultiIndex.from_frame(table[_KEYS])).to_numpy())


def _variants(found: Collected, model: str) -> list[dict[int | str, Mapping[str, Any]]]:
    """Return a model's metrics by fold, one mapping per variant and protocol; one empty mapping if there are none."""
    groups: dict[tuple[str, str], dict[int | str, Mapping[str, Any]]] = {}
    for (name, fold), metrics in found.metrics.items():
        if name == model:
            groups.setdefault((metrics["variant"], metrics["protocol"]), {})[fold] = metrics
    return [groups[key] for key in sorted(groups)] or [{}]


@dataclass
class _Parts:
    """The evaluated parts of all models of one table."""

    found: Collected
    summaries: Mapping[str, ModelSummary]
    reference: str
    published: PublishedNumbers
    resamples: int
    seed: int
    _cases: dict[tuple[str, int, str], tuple[list[pd.DataFrame], dict[str, str]]] = field(
        default_factory=dict
    )

    @cached_property
    def training(self) -> dict[int, pd.DataFrame]:
        """Each fold's training patients' survival times, if all other folds have predictions of some model."""
        if self.found.task.kind != "survival" or self.found.external:
            return {}
        times = survival_times(self.found.predictions)
        parts = {}
        for fold in range(self.found.n_folds):
            others = [times[f] for f in range(self.found.n_folds) if f != fold and f in times]
            if others and len(others) == self.found.n_folds - 1:
                whole = pd.concat(others)
                parts[fold] = whole[~whole.index.duplicated()]
        return parts

    def cases(self, model: str, fold: int, unit: str) -> tuple[list[pd.DataFrame], dict[str, str]]:
        """Return the predictions of a fold's trainings, averaged by patient once; for survival with the shares in the censoring-corrected metrics."""
        key = model, fold, unit
        if key not in self._cases:
            self._cases[key] = self._make_cases(*key)
        return self._cases[key]

    def _make_cases(self, model: str, fold: int, unit: str) -> tuple[list[pd.DataFrame], dict[str, str]]:
        tables = self.found.trainings(model, fold)
        if self.found.task.kind != "survival" or self.found.external:
            if unit == "patient":
                tables = [at_unit(table, unit).assign(slide_id="") for table in tables]
            if self.found.task.kind != "survival":
                return tables, {}
            # the training part's censoring says nothing about a cohort with its own follow-up
            reason = "the censoring of the training part is not that of the external cohort"
            return tables, dict.fromkeys(CENSORING_METRICS, reason)
        edges = self.summaries[model].edges if model in self.summaries else {}
        shared = [with_shares(table, unit, self.training.get(fold), edges.get(fold)) for table in tables]
        return [table for table, _ in shared], {name: why for _, said in shared for name, why in said.items()}

    def differences(
        self, model: str, other: str, unit: str, folds: Sequence[int]
    ) -> tuple[Differences, int | None]:
        """Return the paired differences over the folds that both models have; None patients if there are none."""
        known = self.found.predictions
        both = [f for f in folds if (other, f) in known and (model, f) in known]
        if not both or other == model:
            return {}, None
        parts, others = ([self.cases(name, f, unit)[0] for f in both] for name in (model, other))
        return paired_differences(
            parts, others, self.found.task, unit,
            resamples=self.resamples, seed=self.seed, shared=self.found.external,
        )  # fmt: skip


@dataclass
class _ModelRows:
    """The rows of one model, variant and protocol, one per metric."""

    parts: _Parts
    model: str
    metrics: Mapping[int | str, Mapping[str, Any]]

    def __post_init__(self) -> None:
        self.found = self.parts.found
        self.folds = list(range(self.found.n_folds))
        self.done = [f for f in self.folds if f in self.metrics]
        first = next(iter(self.metrics.values()), {})
        self.variant, self.protocol = first.get("variant", ""), first.get("protocol", "")
        self.unit = next((self.metrics[f]["unit"] for f in self.done), "")
        self.summary = self.parts.summaries[self.model]
        self.names = metric_names(self.found.task)
        self.survival = self.found.task.kind == "survival"
        #: Values of the censoring-corrected metrics by fold, and reasons for missing ones.
        self.corrected: dict[int, dict[str, float]] = {}
        self.uncorrected: dict[int | str, dict[str, str]] = {}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one row for every metric of the task."""
        task = self.found.task.name
        corrected = self.survival and not self.found.external and self.found.predictions
        intervals = self._intervals()
        difference, n_difference = self.parts.differences(
            self.model, self.summary.compared_with, self.unit, self.done
        )
        gain, n_gain = self._gain()
        for metric in (*self.names, *(CENSORING_METRICS if corrected else ())):
            values = {f: self._value(f, metric) for f in self.folds}
            missing = [f"fold {f}: {self._reason(f, metric)}" for f in self.folds if values[f] is None]
            row = {
                "task": task, "model": self.model, "variant": self.variant, "protocol": self.protocol,
                "metric": metric, "unit": self.unit,
                **self._spread(values, intervals.get(metric)), **self._counts(),
            }  # fmt: skip
            if self.found.external:
                row |= self._ensemble(metric, missing)
            row |= {"gain_over": self.parts.reference if gain else None, **_columns(gain, "gain", n_gain)}
            against = difference.get(metric)
            row |= {**self.summary.columns(), "compared_with": self.summary.compared_with if against else ""}
            row |= _columns(against, "difference", n_difference)
            # one test per model: five metrics of the same predictions are not five questions
            row["p"] = against.p if against and metric == self.names[0] else None
            row["p_holm"] = None
            published = external_table(task) if self.found.external else task
            row |= self.parts.published.columns(published, self.model, metric)
            row["holes"] = "; ".join(missing)
            yield row

    def _intervals(self) -> Mapping[str, tuple[float, float] | None]:
        """Return the interval of each metric's mean; also compute the metrics that correct for censoring."""
        cases = []
        for fold in self.done if self.found.predictions else ():
            tables, self.uncorrected[fold] = self.parts.cases(self.model, fold, self.unit)
            cases.append(tables)
            self.corrected[fold] = _corrected(tables, self.found.task, self.unit) if self.survival else {}
        return mean_interval(
            cases, self.found.task, self.unit,
            resamples=self.parts.resamples, seed=self.parts.seed, shared=self.found.external,
        )  # fmt: skip

    def _gain(self) -> tuple[PairedDifference | None, int | None]:
        """Return the first metric's gain over the reference and its number of patients; none for clinical models."""
        if not self.parts.reference or self.summary.reads == "clinical":
            return None, None
        over, n_patients = self.parts.differences(self.model, self.parts.reference, self.unit, self.done)
        return over.get(self.names[0]), n_patients

    def _value(self, fold: int, metric: str) -> float | None:
        if fold not in self.metrics:
            return None
        values = (
            self.corrected.get(fold, {}) if metric in CENSORING_METRICS else self.metrics[fold][self.unit]
        )
        value = values.get(metric)
        return None if value is None or not np.isfinite(value) else value

    def _reason(self, fold: int | str, metric: str) -> str:
        """Return why a fold has no value."""
        if fold not in self.metrics:
            return self.found.failures.get((self.model, fold), "no result")
        if metric in CENSORING_METRICS:
            return self.uncorrected.get(fold, {}).get(metric, "undefined")
        return str(self.metrics[fold]["notes"].get(f"{self.unit}.{metric}", "undefined"))

    def _spread(
        self, values: Mapping[int, float | None], interval: tuple[float, float] | None
    ) -> dict[str, Any]:
        known = np.array([v for v in values.values() if v is not None], dtype=float)
        # The interval would not match the shown mean if it covered other folds.
        low, high = (interval if len(known) == len(self.done) else None) or (None, None)
        return {
            "mean": known.mean() if len(known) else None,
            "sd": known.std(ddof=0) if len(known) else None, "ci_low": low, "ci_high": high,
            **{f"fold_{f}": value for f, value in values.items()},
            "n_folds": len(known), "folds_expected": len(self.folds),
            "trainings": max((1 + len(self.found.repeats.get((self.model, f), ())) for f in self.done), default=0),
        }  # fmt: skip

    def _counts(self) -> dict[str, int]:
        """Return how many cases have a known outcome; external cases, predicted in every fold, count once."""
        found = {}
        for level in ("patient", "slide"):
            counts = [self.metrics[f]["n_labelled"][level] for f in self.done]
            found[f"n_{level}s"] = max(counts, default=0) if self.found.external else sum(counts)
        return found

    def _ensemble(self, metric: str, missing: list[str]) -> dict[str, Any]:
        """Return the ensemble's value and interval; add the reason to `missing` if there is none."""
        ensemble = self.metrics.get(ENSEMBLE)
        value = ensemble[self.unit].get(metric) if ensemble else None
        low, high = (ensemble["bootstrap"]["interval"].get(metric) if ensemble else None) or (None, None)
        if value is None and self.metrics:
            missing.append("ensemble: " + self._reason(ENSEMBLE, metric))
        return {"ensemble": value, "ensemble_ci_low": low, "ensemble_ci_high": high}


def _corrected(trainings: Sequence[pd.DataFrame], task: Task, unit: str) -> dict[str, float]:
    """Return the censoring-corrected metrics of one fold."""
    patients = sorted(set(trainings[0]["patient_id"]))
    once = mean_replicates(trainings, task, unit, pd.DataFrame(1.0, index=[0], columns=patients))
    return {name: float(once[name][0]) for name in CENSORING_METRICS if name in once}


def _columns(found: PairedDifference | None, name: str, n_patients: int | None) -> dict[str, float | None]:
    """Return a difference's value, interval and number of patients as columns."""
    return {
        name: found.value if found else None,
        f"{name}_ci_low": found.low if found else None,
        f"{name}_ci_high": found.high if found else None,
        f"{name}_n": n_patients if found else None,
    }
