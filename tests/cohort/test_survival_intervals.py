"""Survival intervals against pandas, their ties and their refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathduet.cohort.sheets import read_patients
from pathduet.cohort.survival_bins import bin_index, discretize
from pathduet.core.errors import InputError


@given(st.lists(st.integers(1, 5000), min_size=8, max_size=60, unique=True), st.integers(2, 5))
def test_edges_and_intervals_are_those_of_pandas_qcut(days: list[int], n_bins: int) -> None:
    codes, edges = pd.qcut(np.array(days, dtype=float), n_bins, labels=False, retbins=True)
    np.testing.assert_allclose(
        discretize(days, [1, 0] * (len(days) // 2) + [0] * (len(days) % 2), n_bins), edges[1:-1]
    )
    assert bin_index(days, edges[1:-1]).tolist() == codes.tolist()


def test_a_time_at_an_edge_is_in_the_earlier_interval_and_the_ends_are_open() -> None:
    edges = discretize([100, 200, 300, 400], [1, 1, 0, 1], n_bins=2)
    assert edges.tolist() == [250.0]
    assert bin_index([0.5, 250.0, 250.1, 99999.0], edges).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("days", "n_bins", "message"),
    [
        ([5, 5, 5, 5, 5, 5, 9, 10], 4, "ties"),
        ([1, 9, 9, 9, 9, 9, 9, 9], 2, "ties"),
        ([1, 2], 4, "2 patients for 4 intervals"),
        ([1, 2, 0, 4], 2, "1 of 4"),
        ([1, 2, np.nan, -4], 2, "2 of 4"),
        ([1, 2, 3], 1, "at least 2"),
    ],
)
def test_times_that_give_no_intervals_are_refused(days: list, n_bins: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        discretize(days, [1] * len(days), n_bins)


@pytest.mark.parametrize(("events", "message"), [([1, 0, np.nan, 2], "2 of 4"), ([1, 0, 1], "3 for 4")])
def test_a_status_that_is_unknown_is_refused(events: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        discretize([1, 2, 3, 4], events, 2)


def test_a_missing_time_has_no_interval() -> None:
    with pytest.raises(ValueError, match="missing"):
        bin_index([1.0, np.nan], [2.0])


@pytest.mark.data
def test_quartiles_of_real_patients_hold_a_quarter_each(test_data: Path) -> None:
    patients = read_patients(test_data / "cohort_composed" / "patients.tsv")
    days = patients["survival_days"].to_numpy()
    assert np.bincount(bin_index(days, discretize(days, patients["event"])), minlength=4).tolist() == [12] * 4
