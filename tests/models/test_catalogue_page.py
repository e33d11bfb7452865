"""`pathduet models` lists everything that can be compared, with settings that are explained."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from pathduet.catalogue import CATALOGUE, find
from pathduet.catalogue_page import default_settings, describe_settings
from pathduet.cli import app


def test_the_whole_catalogue_is_listed() -> None:
    output = CliRunner().invoke(app, ["models"]).output
    assert [name for name in CATALOGUE if name not in output] == []


@pytest.mark.parametrize("name", [model.name for model in CATALOGUE.values() if model.network])
def test_what_the_catalogue_names_can_be_loaded(name: str) -> None:
    assert callable(find(name).load_network()) and find(name).load_settings() is not None


@pytest.mark.parametrize("name", [model.name for model in CATALOGUE.values() if model.settings])
def test_every_setting_is_explained(name: str) -> None:
    model = find(name)
    meanings = describe_settings(model.load_settings())
    assert set(meanings) == set(default_settings(model))
    assert [setting for setting, meaning in meanings.items() if not meaning] == []


def test_one_model_is_shown_with_its_settings() -> None:
    output = CliRunner().invoke(app, ["models", "ae"]).output
    assert "reconstruction" in output and "code" in output and "10x+20x" in output


def test_an_unknown_model_is_an_error_that_names_the_known_ones() -> None:
    result = CliRunner().invoke(app, ["models", "abmill"])
    assert result.exit_code != 0
    assert "abmil" in str(result.exception)
