"""Censoring-corrected metrics agree with scikit-survival and lifelines, and replicates with recomputation."""

from __future__ import annotations

import numpy as np
import pytest
from sksurv.metrics import concordance_index_ipcw, integrated_brier_score
from sksurv.util import Surv

from pathduet.evaluation.censoring import (
    brier_contributions,
    interval_survival,
    ipcw_c_index,
    ipcw_weights,
)


def patients(n: int, seed: int, scale: float = 400.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return days (with ties), events and a covariate that shortens life."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    death = rng.exponential(scale * np.exp(-x))
    censored = rng.exponential(2 * scale, n)
    return np.ceil(np.minimum(death, censored) / 5) * 5, (death <= censored).astype(float), x


@pytest.mark.parametrize("seed", range(4))
def test_ipcw_c_index_is_that_of_scikit_survival(seed: int) -> None:
    t, e, _ = patients(300, seed)
    time, event, x = patients(120, seed + 50)
    risk = np.round(x + np.random.default_rng(seed).standard_normal(120), 1)
    horizon = float(np.quantile(t, 0.9))
    weights = ipcw_weights(t, e, time, event, horizon)
    expected = concordance_index_ipcw(
        Surv.from_arrays(e == 1, t), Surv.from_arrays(event == 1, time), risk, tau=horizon
    )[0]
    assert ipcw_c_index(time, event, risk, weights, np.ones((1, 120)))[0] == pytest.approx(
        expected, abs=1e-12
    )


def test_a_patient_counted_twice_is_a_patient_twice_in_the_data() -> None:
    t, e, _ = patients(200, 1)
    time, event, risk = patients(60, 2)
    weights = ipcw_weights(t, e, time, event, 500.0)
    counts = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), size=3).astype(float)
    for row, value in zip(counts, ipcw_c_index(time, event, risk, weights, counts)):
        again = np.repeat(np.arange(60), row.astype(int))
        # copies of one patient are no pair of their own: equal times, both deaths
        ones = np.ones((1, len(again)))
        repeated = ipcw_c_index(time[again], event[again], risk[again], weights[again], ones)[0]
        assert value == pytest.approx(repeated, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_mean_brier_contribution_is_the_integrated_score_of_scikit_survival(seed: int) -> None:
    t, e, _ = patients(300, seed)
    time, event, x = patients(120, seed + 50)
    time = np.minimum(time, t.max() - 1)
    days = np.linspace(np.quantile(time, 0.05), np.quantile(time, 0.8), 30)
    survival = np.exp(-np.exp(x)[:, None] * days[None, :] / 400)
    expected = integrated_brier_score(
        Surv.from_arrays(e == 1, t), Surv.from_arrays(event == 1, time), survival, days
    )
    found = brier_contributions(t, e, time, event, survival, days).mean()
    assert found == pytest.approx(expected, abs=1e-10)


def test_interval_curves_pass_through_the_products_of_survival() -> None:
    hazards = np.array([[0.1, 0.2, 0.5, 0.9], [0.0, 0.0, 0.0, 0.0]])
    edges = np.array([100.0, 200.0, 400.0])
    found = interval_survival(hazards, edges, np.array([0.0, 100.0, 200.0, 300.0, 400.0]))
    np.testing.assert_allclose(found[0], [1, 0.9, 0.72, 0.72 * 0.5**0.5, 0.36])
    assert (found[1] == 1).all()
    with pytest.raises(ValueError, match="beyond its last edge"):
        interval_survival(hazards, edges, np.array([401.0]))


def test_a_horizon_beyond_all_training_follow_up_is_refused() -> None:
    with pytest.raises(ValueError, match="horizon"):
        ipcw_weights(np.array([10.0, 20.0]), np.array([1.0, 0.0]), np.array([30.0]), np.array([1.0]), 100.0)
