"""The folds' ensemble on the external cohort."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pathduet.core.errors import InputError
from pathduet.evaluation.ensemble import ensemble_predictions


def survival(hazards: list[list[float]], order: list[int] | None = None) -> pd.DataFrame:
    h = np.array(hazards)
    table = pd.DataFrame(
        {"slide_id": [f"s{i}" for i in range(len(h))], "patient_id": [f"p{i}" for i in range(len(h))],
         "cohort": "e", "part": "external", "fold": 0, "survival_days": 9.0, "event": 1.0,
         "risk": -np.cumprod(1 - h, axis=1).sum(axis=1), "h_1": h[:, 0], "h_2": h[:, 1]}
    )  # fmt: skip
    return table.iloc[order].reset_index(drop=True) if order else table


def test_hazards_are_averaged_slide_by_slide_and_the_risk_follows_from_them():
    first = survival([[0.2, 0.4], [0.5, 0.5]])
    second = survival([[0.4, 0.0], [0.1, 0.3]], order=[1, 0])
    found = ensemble_predictions([first, second])
    assert found["slide_id"].tolist() == ["s0", "s1"] and set(found["fold"]) == {"ensemble"}
    np.testing.assert_allclose(found[["h_1", "h_2"]], [[0.3, 0.2], [0.3, 0.4]])
    np.testing.assert_allclose(found["risk"], [-(0.7 + 0.7 * 0.8), -(0.7 + 0.7 * 0.6)])
    assert list(found.columns) == list(first.columns)


def test_probabilities_are_averaged_and_the_class_chosen_again():
    base = {
        "slide_id": ["s"],
        "patient_id": ["p"],
        "cohort": "e",
        "part": "external",
        "fold": 0,
        "label": "a",
    }
    one = pd.DataFrame({**base, "predicted": "a", "p_a": [0.6], "p_b": [0.4]})
    two = pd.DataFrame({**base, "predicted": "b", "p_a": [0.1], "p_b": [0.9]})
    found = ensemble_predictions([one, two])
    assert found.loc[0, "p_a"] == pytest.approx(0.35) and found.loc[0, "predicted"] == "b"


def test_folds_that_saw_other_slides_are_refused():
    with pytest.raises(InputError, match="1 slides differ"):
        ensemble_predictions([survival([[0.1, 0.2], [0.3, 0.4]]), survival([[0.1, 0.2]])])
