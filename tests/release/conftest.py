"""One tiny run and one release of it for all tests; tests that break something work on a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_run

from pathduet.release.contents import write_manifest
from pathduet.release.export import export_release


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> tiny_run.TinyRun:
    """The finished run (do not change it)."""
    return tiny_run.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def released(run: tiny_run.TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its student's release (do not change it)."""
    folder = tmp_path_factory.mktemp("released") / "student"
    export_release(run.results, "student", folder)
    return folder


@pytest.fixture
def copy(released: Path, tmp_path: Path) -> Path:
    """A release that may be broken."""
    shutil.copytree(released, tmp_path / "release")
    return tmp_path / "release"


@pytest.fixture
def forge() -> Callable[[Path], None]:
    """Rewrite a broken release's manifest, as somebody would who wants the checksums to fit."""
    import json

    def rewrite(folder: Path) -> None:
        facts = json.loads((folder / "manifest.json").read_text())
        for name in ("files", "format", "kind"):
            facts.pop(name)
        write_manifest(folder, facts)

    return rewrite
