"""Labels and covariates of a designed phantom: each follows latent programmes as designed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pathduet.cohort.tasks import DAYS_IN, Task
from pathduet.core.config import did_you_mean
from pathduet.core.errors import Problems
from pathduet.phantom.latents import Effects, draw_survival, stratified_normal
from pathduet.phantom.random_numbers import generator

if TYPE_CHECKING:
    import pandas as pd

#: Decimal places of a survival time in the sheet.
_DIGITS = {"days": 0, "months": 1, "years": 2}


def tasks_in(plan: Mapping[str, Any]) -> dict[str, Task]:
    """Return a design's tasks."""
    return {name: Task.of(name, without_truth(entry)) for name, entry in plan["tasks"].items()}


def without_truth(entry: Any) -> Any:
    """Return an entry of the design in the form of the configuration."""
    return (
        {key: value for key, value in entry.items() if key != "truth"}
        if isinstance(entry, Mapping)
        else entry
    )


def sheet_columns(plan: Mapping[str, Any]) -> list[str]:
    """Return a design's columns of the patients' sheet, covariates first."""
    drawn = [name for name, entry in plan.get("covariates", {}).items() if _truth(entry)]
    return [*drawn, *(column for task in tasks_in(plan).values() for column in task.columns)]


def truth_columns(plan: Mapping[str, Any]) -> list[str]:
    """Return the columns of the truth: programmes, and the score behind each label."""
    return [*(f"z_{name}" for name in plan["subspaces"]), *(f"score_{name}" for name in plan["tasks"])]


def label_problems(plan: Mapping[str, Any]) -> Problems:
    """Return problems of a design's tasks and covariates beyond its schema."""
    problems = Problems()
    known = [*plan["subspaces"], *_numeric(plan)]
    for name, task in tasks_in(plan).items():
        truth = plan["tasks"][name]["truth"]
        where = f"tasks.{name}"
        wanted = ("time", "event") if task.kind == "survival" else ("column",)
        for key in wanted:
            if not getattr(task, key):
                problems.add(f"{where}.{key}", "missing", "name the column of the sheet")
        if task.kind == "classification" and len(task.classes) < 2:
            problems.add(f"{where}.classes", f"{len(task.classes)} classes", "list at least two")
        if task.kind == "survival" and "median" not in truth:
            problems.add(f"{where}.truth.median", "missing", f"give the median time in {task.unit}")
        if task.kind == "survival" and _same(task.observed, task.censored):
            problems.add(f"{where}.event", f"{task.observed} is observed and censored", "say two values")
        if "shares" in truth and len(truth["shares"]) != len(task.classes):
            found = f"{len(truth['shares'])} shares of {len(task.classes)} classes"
            problems.add(f"{where}.truth.shares", found, "give one for each class")
        weights = [truth["follows"]]
        if _by_class(task):
            weights = [of for of in truth["follows"].values() if isinstance(of, Mapping)]
            if set(truth["follows"]) != set(task.classes) or len(weights) < len(task.classes):
                advice = f"give weights for each class: {', '.join(task.classes)}"
                problems.add(f"{where}.truth.follows", ", ".join(truth["follows"]) or "nothing", advice)
                continue
        for factor, weight in (item for of in weights for item in of.items()):
            if factor not in known:
                advice = f"{did_you_mean(factor, known)}subspaces and numeric covariates: {', '.join(known)}"
                problems.add(f"{where}.truth.follows", f"{factor!r} is unknown", advice)
            elif not isinstance(weight, int | float):
                problems.add(f"{where}.truth.follows.{factor}", repr(weight), "give a number")
    columns = ["patient_id", "cohort", *sheet_columns(plan), *truth_columns(plan)]
    for column in sorted({column for column in columns if columns.count(column) > 1}):
        problems.add("tasks", f"column {column!r} is made twice", "name another")
    for name, entry in plan.get("covariates", {}).items():
        if not _truth(entry) and name not in columns:
            advice = f"{did_you_mean(name, columns)}give its `truth`, or name the column of a task"
            problems.add(f"covariates.{name}", "no column of that name", advice)
        elif _truth(entry) and entry["kind"] == "numeric" and not {"mean", "sd"} <= set(entry["truth"]):
            problems.add(f"covariates.{name}.truth", "no mean and sd", "give both")
        elif _truth(entry) and entry["kind"] != "numeric" and "shares" not in entry["truth"]:
            problems.add(f"covariates.{name}.truth.shares", "missing", "give how often each value is")
    return problems


def draw_labels(plan: Mapping[str, Any], n: int, cohort: str, *, seed: int, prefix: str) -> pd.DataFrame:
    """Draw `n` patients of one cohort.

    Programmes are independent and standard normal over patients (stratified, as in
    :func:`pathduet.phantom.latents.simulate_patients`). A label derives from the weighted sum of the programmes and covariates
    of its task, plus noise. Classes are assigned by its rank (unordered classes maximise the sum of all patients' scores for
    their own class), so `n` alone fixes their counts. Numbers are scaled to the task's mean and SD. Survival is Weibull with
    that sum as log hazard, see :func:`pathduet.phantom.latents.draw_survival`. Each label has its own random numbers.

    Parameters
    ----------
    plan : mapping
        A design file's contents.
    n : int
        Number of patients.
    cohort : str
        Value of the column `cohort`; also identifies the random numbers.
    seed : int
        Cohorts with the same name, seed and size are equal.
    prefix : str
        Start of the patient ids.

    Returns
    -------
    pandas.DataFrame
        Indexed by `patient_id`: `cohort`, :func:`sheet_columns` and :func:`truth_columns`; `score_<task>` is without noise
        (NaN for unordered classes).
    """
    import pandas as pd

    rng = generator(seed, "programmes", cohort)
    factors = {name: stratified_normal(n, rng) for name in plan["subspaces"]}
    columns: dict[str, Any] = {f"z_{name}": z for name, z in factors.items()}
    for name, entry in plan.get("covariates", {}).items():
        if _truth(entry):
            columns[name] = _covariate(entry["truth"], n, generator(seed, "covariate", name, cohort))
    for name in _numeric(plan):
        truth = plan["covariates"][name]["truth"]
        factors[name] = (columns[name] - truth["mean"]) / truth["sd"]
    for name, task in tasks_in(plan).items():
        made, score = _label(
            task, plan["tasks"][name]["truth"], factors, n, generator(seed, "task", name, cohort)
        )
        columns |= made
        columns[f"score_{name}"] = score
    width = max(3, len(str(n)))
    index = pd.Index([f"{prefix}{i:0{width}d}" for i in range(1, n + 1)], name="patient_id")
    table = pd.DataFrame({"cohort": cohort, **columns}, index=index)
    return table[["cohort", *sheet_columns(plan), *truth_columns(plan)]]


def _label(
    task: Task,
    truth: Mapping[str, Any],
    factors: Mapping[str, np.ndarray],
    n: int,
    rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return a task's columns of the sheet, and the score behind them."""
    follows, noise = truth["follows"], truth.get("noise", 0.5)
    missing = slice(0, round(truth.get("missing", 0.0) * n))
    if _by_class(task):
        scores = np.stack([_sum(follows[name], factors, n) for name in task.classes], axis=1)
        chosen = _assigned(scores + noise * rng.standard_normal(scores.shape), _counts(task, truth, n))
        return {task.column: _cells(task, chosen, rng.permutation(n)[missing])}, np.full(n, np.nan)
    score = _sum(follows, factors, n)
    if task.kind == "survival":
        median = truth["median"] * DAYS_IN[task.unit]
        effects = Effects(
            shape=truth.get("shape", 1.4), median_days=median, censored=truth.get("censored", 0.4)
        )
        days, event = draw_survival(score, effects, rng)
        digits = _DIGITS[task.unit]
        time = np.maximum(np.round(days / DAYS_IN[task.unit], digits), 10.0**-digits)
        time[rng.permutation(n)[missing]] = np.nan
        return {task.time: time, task.event: np.where(event == 1, task.observed, task.censored or "0")}, score
    noisy = score + noise * rng.standard_normal(n)
    if task.kind == "regression":
        spread = np.sqrt(sum(weight**2 for weight in follows.values()) + noise**2) or 1.0
        value = truth.get("mean", 0.0) + truth.get("sd", 1.0) * noisy / spread
        value = _limited(value, truth, digits=1)
        value[rng.permutation(n)[missing]] = np.nan
        return {task.column: value}, score
    ranks = np.argsort(np.argsort(noisy, kind="stable"), kind="stable")
    chosen = np.searchsorted(np.cumsum(_counts(task, truth, n)), ranks, side="right")
    return {task.column: _cells(task, chosen, rng.permutation(n)[missing])}, score


def _covariate(truth: Mapping[str, Any], n: int, rng: np.random.Generator) -> np.ndarray:
    if "shares" in truth:
        shares = np.array(list(truth["shares"].values()), dtype=float)
        return rng.choice(np.array(list(map(str, truth["shares"])), dtype=object), n, p=shares / shares.sum())
    return _limited(rng.normal(truth["mean"], truth["sd"], n), truth, digits=0)


def _sum(weights: Mapping[str, float], factors: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    return np.sum([weight * factors[name] for name, weight in weights.items()], axis=0) + np.zeros(n)


def _counts(task: Task, truth: Mapping[str, Any], n: int) -> np.ndarray:
    """Return how many patients each class has: its share, rounded so that the counts add up to `n`."""
    shares = np.array(truth.get("shares") or [1.0] * len(task.classes))
    bounds = np.round(np.cumsum(shares) / shares.sum() * n).astype(int)
    return np.diff(bounds, prepend=0)


def _assigned(scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return each patient's class, with the given class `counts`, so that the sum of the scores is highest."""
    from scipy.optimize import linear_sum_assignment

    places = np.repeat(np.arange(len(counts)), counts)
    _, chosen = linear_sum_assignment(-scores[:, places])
    return places[chosen]


def _cells(task: Task, chosen: np.ndarray, missing: np.ndarray) -> np.ndarray:
    cells = [(task.values.get(name) or (name,))[0] for name in task.classes]
    column = np.array(cells, dtype=object)[chosen]
    column[missing] = None
    return column


def _limited(value: np.ndarray, truth: Mapping[str, Any], digits: int) -> np.ndarray:
    limited = np.clip(value, truth.get("lowest", -np.inf), truth.get("highest", np.inf))
    return np.round(limited, truth.get("digits", digits))


def _by_class(task: Task) -> bool:
    return task.kind == "classification" and len(task.classes) > 2 and not task.ordered


def _truth(entry: Any) -> Mapping[str, Any] | None:
    return entry.get("truth") if isinstance(entry, Mapping) else None


def _numeric(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the numeric covariates that the design draws."""
    for name, entry in plan.get("covariates", {}).items():
        if _truth(entry) and entry["kind"] == "numeric":
            yield name


def _same(one: str, other: str) -> bool:
    return one == (other or "0")
