"""Evaluation of a survival model's predictions: risk groups, calibration and AUC at chosen days.

For test patients (each predicted by the fold that was trained without them) and external cohorts:

- Kaplan-Meier curves of predicted risk groups with numbers at risk, and the log-rank test
  (:mod:`pathduet.evaluation.survival_curves`);
- calibration: patients are grouped by similar predicted probability of being event-free at a day; each group's mean prediction
  beside its Kaplan-Meier estimate, and observed over expected events by that day;
- AUC(t): the probability that a patient with the event by day t has a higher risk than one without; censoring is
  weighted with the training part's censoring distribution (cumulative/dynamic AUC of scikit-survival).

A discrete-time model predicts nothing beyond the last edge of its intervals, and patients cannot be compared
after the end of follow-up: such horizons have a reason instead of a value.

Uno et al. 2007 and Hung and Chiang 2010 (dynamic AUC); Royston and Altman 2013 (calibration of survival models).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathduet.catalogue import named
from pathduet.cohort.labels import known_labels
from pathduet.cohort.tasks import Task
from pathduet.core.checksums import checked
from pathduet.core.files import write_tsv
from pathduet.core.plural import plural
from pathduet.evaluation.censoring import interval_survival
from pathduet.evaluation.patient_average import average_patients
from pathduet.evaluation.predictions import labelled, read_predictions
from pathduet.evaluation.survival_curves import kaplan_meier, log_rank, pool_groups, risk_cuts
from pathduet.explain.files import TABLES
from pathduet.explain.fold_results import FoldResult, TaskRun, read_external_of
from pathduet.results import PREDICTIONS

if TYPE_CHECKING:
    import pandas as pd

_QUANTILES = (0.25, 0.5, 0.75)
#: The Kaplan-Meier estimate of a smaller calibration group is too unreliable.
_LEAST_IN_GROUP = 5
_MOST_GROUPS = 4
_FEWEST_COMPARED = 2

Floats = NDArray[np.float64]


def horizons(days: Sequence[float], time: Floats, event: Floats) -> tuple[list[float], str]:
    """Return the days to evaluate, and why they differ from the requested ones, if they do.

    Parameters
    ----------
    days : sequence of float
        Requested days; those after the last observed event are dropped.
    time, event : (n,) arrays
        The patients' outcomes. If all requested days are dropped, quartiles of the event times are used.
    """
    seen = time[event == 1]
    if len(seen) < _FEWEST_COMPARED:
        return (
            [],
            f"{plural(len(seen), 'event')} among {plural(len(time), 'patient')}: no horizon can be evaluated",
        )
    usable = [float(day) for day in days if day < seen.max()]
    dropped = [f"{day:g}" for day in days if day >= seen.max()]
    if usable:
        return usable, f"days {', '.join(dropped)} lie after the last event" if dropped else ""
    chosen = sorted({float(np.round(np.quantile(seen, q))) for q in _QUANTILES})
    return (
        chosen,
        f"days {', '.join(dropped)} lie after the last event: quartiles of the events' days instead",
    )


def risk_group_table(
    parts: Sequence[tuple[pd.DataFrame, Mapping[str, Any]]], kind: str, at: Sequence[float]
) -> tuple[pd.DataFrame, pd.DataFrame, float | None]:
    """Return event-free share and numbers at risk of each predicted risk group, the patients, and the log-rank p value.

    Parameters
    ----------
    parts : sequence of (predictions, risk_cuts)
        One per fold.
    kind : {"median", "tertiles"}
    at : sequence of float
        Days.

    Returns
    -------
    table : DataFrame
        group, n, events, day, at_risk (under observation on that day), event_free, low, high (95 %).
    patients : DataFrame
        From :func:`pathduet.evaluation.survival_curves.pool_groups`.
    p : float or None
        None if undefined.
    """
    import pandas as pd

    pooled = pool_groups(parts, kind)
    rows = []
    for curve in kaplan_meier(pooled, kind) if len(pooled) else []:
        for day in at:
            i = int(np.searchsorted(curve.time, day, side="right")) - 1
            rows.append(
                {
                    "group": curve.group, "n": curve.n, "events": curve.deaths, "day": day,
                    "at_risk": int((curve.exits >= day).sum()), "event_free": float(curve.survival[i]),
                    "low": float(curve.low[i]), "high": float(curve.high[i]),
                }
            )  # fmt: skip
    names = ["group", "n", "events", "day", "at_risk", "event_free", "low", "high"]
    return pd.DataFrame(rows, columns=names), pooled, log_rank(pooled) if len(pooled) else None


def predicted_survival(result: FoldResult, days: Floats) -> Floats:
    """Return the probability (patients, T) of being event-free at each of `days`.

    Raises
    ------
    ValueError
        If the model predicts no hazards (a Cox regression's risk is no probability), or not that far.
    """
    columns = [name for name in result.patients.columns if name.startswith("h_")]
    if not columns or not result.edges:
        raise ValueError("the model predicts a risk, no survival curve")
    if max(days) > result.edges[-1]:
        raise ValueError(f"day {max(days):g} lies after the last interval's edge, day {result.edges[-1]:.0f}")
    hazards = result.patients[columns].to_numpy(dtype=float)
    return interval_survival(hazards, np.array(result.edges), np.asarray(days, dtype=float))


def calibration_groups(
    predicted: Floats, time: Floats, event: Floats, day: float, groups: int | None = None
) -> pd.DataFrame:
    """Return predicted and observed survival at a day, by group of similar prediction.

    Parameters
    ----------
    predicted : (n,) array
        Probability of being event-free at `day`.
    time, event : (n,) arrays
    groups : int, optional
        Default: as many as leave five patients in each, at most four.

    Returns
    -------
    DataFrame
        group (1 = lowest predicted survival, 0 = all patients), n, predicted (mean), observed (Kaplan-Meier), low,
        high (95 %), events_expected, events_observed (n times 1 - observed), ratio (observed / expected events).
    """
    import pandas as pd
    from lifelines import KaplanMeierFitter

    if groups is None:
        groups = int(np.clip(len(predicted) // _LEAST_IN_GROUP, 1, _MOST_GROUPS))
    order = np.argsort(predicted, kind="stable")
    parts = [np.arange(len(predicted)), *([] if groups < 2 else np.array_split(order, groups))]
    rows = []
    for number, members in enumerate(parts):
        fitter = KaplanMeierFitter().fit(time[members], event[members])
        observed = float(fitter.predict(day))
        i = int(np.searchsorted(fitter.timeline, day, side="right")) - 1
        low, high = fitter.confidence_interval_.to_numpy()[i]
        expected = float((1 - predicted[members]).sum())
        events = len(members) * (1 - observed)
        rows.append(
            {
                "group": number, "n": len(members), "predicted": float(predicted[members].mean()),
                "observed": observed, "low": float(low), "high": float(high), "events_expected": expected,
                "events_observed": events, "ratio": events / expected if expected > 0 else np.nan,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def dynamic_auc(
    train: tuple[Floats, Floats], test: tuple[Floats, Floats], risk: Floats, days: Sequence[float]
) -> dict[float, float]:
    """Return AUC(t) at each day on which it is defined; the others are absent.

    Parameters
    ----------
    train, test : (time, event)
        The training part provides the censoring distribution.
    risk : (n,) array
        Higher = earlier event.

    Notes
    -----
    Patients with the event after the last day are event-free until then, whatever their event time; this changes no
    AUC(t), and needs no follow-up of the training part beyond that day.
    """
    from sksurv.metrics import cumulative_dynamic_auc
    from sksurv.util import Surv

    time, event = test
    usable = [d for d in days if time.min() <= d < time.max() and ((time <= d) & (event == 1)).any()]
    found = {}
    for day in usable:
        known = Surv.from_arrays((event == 1) & (time <= day), time)
        fitted = Surv.from_arrays(train[1] == 1, train[0])
        try:
            value, _ = cumulative_dynamic_auc(fitted, known, risk, [day])
        except ValueError:  # nobody of the training part is under observation that long
            continue
        if np.isfinite(value[0]):
            found[day] = float(value[0])
    return found


def time_and_event(rows: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return times in days and whether the event was observed, for patients with both."""
    return rows["survival_days"].to_numpy(dtype=float), rows["event"].to_numpy(dtype=float)


def calibration_table(results_of: Mapping[str, Sequence[FoldResult]], days: Sequence[float]) -> pd.DataFrame:
    """Return the calibration of every model, over the patients of all its folds together.

    Predictions are probabilities in every fold, so patients of all folds can share groups. A patient predicted by
    several folds (external cohorts) counts once, with the mean of the predictions.

    Returns
    -------
    DataFrame
        model, day and the columns of :func:`calibration_groups`; a day without calibration has one row with `reason`.
    """
    import pandas as pd

    names = ["model", "day", "group", "n", "predicted", "observed", "low", "high", "events_expected", "events_observed",
             "ratio", "reason"]  # fmt: skip
    tables = []
    for model, folds in results_of.items():
        for day in days:
            try:
                groups = _calibration_of(folds, day).assign(reason="")
            except ValueError as error:
                groups = pd.DataFrame([{"reason": str(error)}])
            tables.append(groups.assign(model=model, day=day))
    if not tables:
        return pd.DataFrame(columns=names)
    table = pd.concat(tables, ignore_index=True).reindex(columns=names)
    return table.astype({"group": "Int64", "n": "Int64"})


def _calibration_of(folds: Sequence[FoldResult], day: float) -> pd.DataFrame:
    """Return a model's calibration at one day; raise ValueError with the reason if there is none."""
    import pandas as pd

    parts, reason = [], "" if folds else "no predictions"
    for result in folds:
        try:
            event_free = predicted_survival(result, np.array([day]))[:, 0]
        except ValueError as error:
            reason = f"fold {result.fold}: {error}"
            continue
        parts.append(result.patients.assign(predicted=event_free))
    rows = labelled(pd.concat(parts), folds[0].task) if parts else pd.DataFrame()
    if reason or rows.empty:
        raise ValueError(reason or "no known outcome")
    means = rows.groupby("patient_id", sort=True)[["predicted", "survival_days", "event"]].mean()
    return calibration_groups(means["predicted"].to_numpy(), *time_and_event(means), day)


def auc_table(
    results_of: Mapping[str, Sequence[FoldResult]],
    train_of: Mapping[int, tuple[Floats, Floats]],
    days: Sequence[float],
) -> pd.DataFrame:
    """Return AUC(t) of every model: mean and SD (ddof 0) over the folds in which it is defined.

    Parameters
    ----------
    train_of : mapping of fold to (time, event)
        Of the fold's training part.

    Returns
    -------
    DataFrame
        model, day, auc, sd, folds, reason.
    """
    import pandas as pd

    rows = []
    for model, folds in results_of.items():
        values: dict[float, list[float]] = {day: [] for day in days}
        for result in folds:
            known = labelled(result.patients, result.task)
            risk = known["risk"].to_numpy(dtype=float)
            if len(known) < _FEWEST_COMPARED or not np.isfinite(risk).all():
                continue
            for day, value in dynamic_auc(train_of[result.fold], time_and_event(known), risk, days).items():
                values[day].append(value)
        for day, found in values.items():
            reason = (
                f"defined in {len(found)} of {plural(len(folds), 'fold')}: needs an event by that day, somebody under "
                "observation after it, and training patients as long"
                if len(found) < len(folds) or not folds
                else ""
            )
            auc, sd = (float(np.mean(found)), float(np.std(found))) if found else (np.nan, np.nan)
            rows.append([model, day, auc, sd, len(found), reason])
    return pd.DataFrame(rows, columns=["model", "day", "auc", "sd", "folds", "reason"])


def explain_survival(run: TaskRun) -> dict[str, Any]:
    """Write the tables of survival at chosen days and return the summary's entry."""
    results_of, reasons = run.read
    problems = [f"{model}: {reason}" for model in results_of for reason in reasons[model]]
    parts: dict[str, dict[str, list[FoldResult]]] = {"test": results_of}
    if run.settings["external"]:
        external = {
            model: read_external_of(run.results, run.task, model, run.folds, run.labels)
            for model in results_of
        }
        parts["external"] = {model: found for model, (found, _) in external.items()}
        problems += [f"external, {reason}" for _, more in external.values() for reason in more]
    else:
        problems.append("external: the task is evaluated on no external cohort")
    train = _training_outcomes(run)
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES["survival"]}
    p_values: dict[str, float] = {}
    for part, found in parts.items():
        rows = _known_patients(run.task, found)
        if rows is None:
            problems.append(f"{part}: no patient with a known outcome was predicted")
            continue
        days, reason = horizons(run.chosen["horizons_days"], *time_and_event(rows))
        problems += [f"{part}: {reason}"] if reason else []
        for model, folds in found.items():
            for kind in ("median", "tertiles"):
                table, members, p = risk_group_table(_cut_parts(run, part, model, folds), kind, [0.0, *days])
                named_by = {"part": part, "model": model, "split": kind}
                tables["risk_groups.tsv"].append(
                    table.assign(**named_by, log_rank_p=np.nan if p is None else p)
                )
                tables["risk_group_patients.tsv"].append(members.assign(**named_by))
                if part == "test" and kind == "median" and p is not None:
                    p_values[model] = p
        calibration = calibration_table(found, days)
        problems += [
            f"{part}, calibration of {row['model']}: {row['reason']}"
            for row in calibration.drop_duplicates(["model", "reason"]).to_dict("records")
            if row["reason"]
        ]
        tables["calibration.tsv"].append(calibration.assign(part=part))
        tables["dynamic_auc.tsv"].append(auc_table(found, train, days).assign(part=part))
    for name, several in tables.items():
        write_tsv(run.out_dir / name, _joined(several))
    separated = [named(model, run.catalogue).in_sentence for model, p in p_values.items() if p < 0.05]
    return {
        "message": f"Cut at the median of training risk, {len(separated)} of {plural(len(p_values), 'model')} separate test patients "
        f"(log-rank p < 0.05{': ' + ', '.join(separated) if separated else ''}).",
        "reasons": list(dict.fromkeys(problems)),
    }  # fmt: skip


def _training_outcomes(run: TaskRun) -> dict[int, tuple[Floats, Floats]]:
    """Return (time, event) of the training part of each fold."""
    known = known_labels(run.labels)
    fold_of = run.split.set_index("patient_id")["fold"].astype(int)
    known = known.loc[known.index.intersection(fold_of.index)]
    return {fold: time_and_event(known[fold_of.loc[known.index].to_numpy() != fold]) for fold in run.folds}


def _known_patients(task: Task, results_of: Mapping[str, Sequence[FoldResult]]) -> pd.DataFrame | None:
    """Return the patients with a known outcome that any model predicts, each once; None if there are none."""
    import pandas as pd

    everybody = [result.patients for folds in results_of.values() for result in folds]
    rows = labelled(pd.concat(everybody), task).drop_duplicates("patient_id") if everybody else None
    return None if rows is None or rows.empty else rows


def _cut_parts(
    run: TaskRun, part: str, model: str, folds: Sequence[FoldResult]
) -> list[tuple[pd.DataFrame, Mapping[str, Any]]]:
    """Return (predictions, cuts) to pool: folds with their own cuts, external cohorts with the ensemble's."""
    if part != "external":
        return [(result.patients, result.risk_cuts) for result in folds if result.risk_cuts]
    path = run.results.ensemble(run.task.name, model) / PREDICTIONS
    if not checked(path).is_file():
        return []
    table = read_predictions(path)
    return [(table, risk_cuts(average_patients(table)["risk"].to_numpy(dtype=float)))]


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the tables concatenated, their key columns first."""
    import pandas as pd

    filled = [table for table in tables if len(table)]
    whole = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=["part", "model"])
    first = [name for name in ("part", "model", "split") if name in whole]
    return whole[[*first, *(name for name in whole if name not in first)]]
