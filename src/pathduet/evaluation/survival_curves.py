"""Kaplan-Meier curves of predicted risk groups, and the log-rank test between them (lifelines).

The cut points come from the training part's risks: a cut at the test part's own median would always give two
halves and can flatter a model whose risks have drifted. Each fold is cut by its own model's training risks,
and the groups (not the risks) are pooled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pathduet.evaluation.predictions import at_unit, with_outcome

#: Group names by kind of split, from lowest to highest risk.
GROUPS = {"median": ("low risk", "high risk"), "tertiles": ("low risk", "middle", "high risk")}


def risk_cuts(risk: np.ndarray) -> dict[str, Any]:
    """Return cut points of risks: ``median`` (float), ``tertiles`` (two floats); None if no risk is finite."""
    finite = risk[np.isfinite(risk)]
    if len(finite) == 0:
        return {"median": None, "tertiles": None}
    return {
        "median": float(np.median(finite)),
        "tertiles": [float(v) for v in np.quantile(finite, [1 / 3, 2 / 3])],
    }


def risk_groups(risk: np.ndarray, cuts: Mapping[str, Any], kind: str) -> list[str]:
    """Return each patient's group; a risk equal to a cut belongs to the lower group."""
    edges = np.atleast_1d(np.asarray(cuts[kind], dtype=float))
    return [GROUPS[kind][i] for i in np.searchsorted(edges, risk, side="left")]


def pool_groups(
    parts: Sequence[tuple[pd.DataFrame, Mapping[str, Any]]], kind: str = "median"
) -> pd.DataFrame:
    """Divide each fold's test patients by the fold's own cut points and pool the groups.

    Parameters
    ----------
    parts : sequence of (predictions, risk_cuts)
        One per fold; cuts from :func:`risk_cuts`.
    kind : {"median", "tertiles"}

    Returns
    -------
    DataFrame
        patient_id, survival_days, event, risk, group; only patients with a known outcome and a finite risk.
    """
    tables = []
    for predictions, cuts in parts:
        rows = with_outcome(at_unit(predictions, "patient"))
        rows = rows[np.isfinite(rows["risk"].astype(float))].reset_index(drop=True)
        if rows.empty or cuts.get(kind) is None:
            continue
        groups = risk_groups(rows["risk"].to_numpy(dtype=float), cuts, kind)
        tables.append(rows[["patient_id", "survival_days", "event", "risk"]].assign(group=groups))
    columns = ["patient_id", "survival_days", "event", "risk", "group"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


@dataclass(frozen=True)
class SurvivalCurve:
    """The Kaplan-Meier estimate of one group.

    Attributes
    ----------
    group : str
    n, deaths : int
        Patients, and events among them.
    time : (T,) array, days, starting at 0
    survival, low, high : (T,) arrays
        Share without the event and its 95 % interval (Greenwood's exponential formula).
    censored_at, exits : arrays
        Times of censoring, and of censoring or event, in days.
    """

    group: str
    n: int
    deaths: int
    time: np.ndarray
    survival: np.ndarray
    low: np.ndarray
    high: np.ndarray
    censored_at: np.ndarray
    exits: np.ndarray

    def at(self, day: float) -> float:
        """Return the share without the event at `day`."""
        return float(self.survival[np.searchsorted(self.time, day, side="right") - 1])


def kaplan_meier(table: pd.DataFrame, kind: str = "median") -> list[SurvivalCurve]:
    """Return one curve per group with patients, lowest risk first.

    Parameters
    ----------
    table : DataFrame
        From :func:`pool_groups`.
    """
    from lifelines import KaplanMeierFitter

    curves = []
    for group in GROUPS[kind]:
        rows = table[table["group"] == group]
        if rows.empty:
            continue
        fitter = KaplanMeierFitter().fit(rows["survival_days"].astype(float), rows["event"].astype(float))
        limits = fitter.confidence_interval_.to_numpy()
        happened = rows["event"].astype(float) == 1
        curves.append(
            SurvivalCurve(
                group,
                len(rows),
                int(happened.sum()),
                fitter.survival_function_.index.to_numpy(dtype=float),
                fitter.survival_function_.to_numpy()[:, 0],
                limits[:, 0],
                limits[:, 1],
                np.sort(rows.loc[~happened, "survival_days"].to_numpy(dtype=float)),
                np.sort(rows["survival_days"].to_numpy(dtype=float)),
            )
        )
    return curves


def log_rank(table: pd.DataFrame) -> float | None:
    """Return the p value of the log-rank test between the groups, None if fewer than two contain patients."""
    from lifelines.statistics import multivariate_logrank_test

    if table["group"].nunique() < 2 or float(table["event"].astype(float).sum()) == 0:
        return None
    result = multivariate_logrank_test(
        table["survival_days"].astype(float), table["group"], table["event"].astype(float)
    )
    return float(result.p_value)
