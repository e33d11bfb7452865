"""`pathduet models` lists everything that can be compared, with settings that are explained."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from pathduet.cli import app
from pathduet.model_list import describe_settings, find_model, listed_models
from pathduet.models.baselines.registry import BASELINES


def test_ours_all_baselines_and_the_clinical_models_are_listed() -> None:
    output = CliRunner().invoke(app, ["models"]).output
    names = [model.name for model in listed_models()]
    assert len(names) == len(set(names)) and set(BASELINES) < set(names)
    for name in ("teacher", "student", "distilled", "cox_age_sex", "logistic_age_sex", *BASELINES):
        assert name in names and name in output


@pytest.mark.parametrize("name", [model.name for model in listed_models() if model.config is not None])
def test_every_setting_is_explained(name: str) -> None:
    model = find_model(name)
    meanings = describe_settings(model.config)
    assert set(meanings) == set(model.settings())
    assert [setting for setting, meaning in meanings.items() if not meaning] == []


def test_one_model_is_shown_with_its_settings() -> None:
    output = CliRunner().invoke(app, ["models", "ae"]).output
    assert "reconstruction" in output and "code" in output and "10x+20x" in output


def test_an_unknown_model_is_an_error_that_names_the_known_ones() -> None:
    result = CliRunner().invoke(app, ["models", "abmill"])
    assert result.exit_code != 0
    assert "abmil" in str(result.exception)
