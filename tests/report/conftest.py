"""One fabricated results folder for all tests of the report; tests that break something work on a copy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_results import fake_results

from pathduet.report.build import build_report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever draws a whole report takes more than a few seconds."""
    for item in items:
        here = Path(__file__).parent in item.path.parents
        if here and {"report", "breast", "copy", "fifteen_models"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def fabricated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder (do not change it) and its configuration."""
    folder = tmp_path_factory.mktemp("fabricated") / "results"
    return folder, fake_results(folder)


@pytest.fixture
def copy(fabricated: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy that may be broken."""
    folder, config = fabricated
    shutil.copytree(folder, tmp_path / "results")
    return tmp_path / "results", config


@pytest.fixture(scope="session")
def breast(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The report of a run of every kind of task, and its configuration."""
    return reported(tmp_path_factory.mktemp("breast") / "results", "breast")


@pytest.fixture(scope="session")
def slides_only(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The report of a run without expression, and its configuration."""
    return reported(tmp_path_factory.mktemp("slides") / "results", "slides_only")


@pytest.fixture(scope="session")
def expression_only(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The report of a run without slides, and its configuration."""
    return reported(tmp_path_factory.mktemp("expression") / "results", "expression_only")


@pytest.fixture(scope="session")
def fifteen_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The report of a run with as many networks, and its configuration."""
    return reported(tmp_path_factory.mktemp("fifteen") / "results", "fifteen_models")


def reported(folder: Path, design: str) -> tuple[Path, dict[str, Any]]:
    """Fabricate a run and draw its report."""
    config = fake_results(folder, design)
    out = folder / "report" / "report.html"
    build_report(folder, config, out)
    return out, config


@pytest.fixture(scope="session")
def report(fabricated: tuple[Path, dict[str, Any]]) -> Path:
    """The whole run's report."""
    folder, config = fabricated
    out = folder / "report" / "report.html"
    build_report(folder, config, out)
    return out
