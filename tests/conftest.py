"""Fixtures that every test area shares."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that may take longest, so that in the end no process waits for another one's."""
    limits: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        limit = item.get_closest_marker("timeout")
        seconds = limit.args[0] if limit else 600 if item.get_closest_marker("slow") else 0
        limits[item.path] = max(limits[item.path], seconds)
    items.sort(key=lambda item: -limits[item.path])


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data, or a skip that says how to get it."""
    folder = os.environ.get("PATHDUET_TEST_DATA")
    if not folder:
        pytest.skip("real test data: PATHDUET_TEST_DATA is not set")
    path = Path(folder)
    if not (path / "MANIFEST.tsv").is_file():
        pytest.skip("real test data: PATHDUET_TEST_DATA names a folder without MANIFEST.tsv")
    return path


@pytest.fixture(scope="session")
def chromium() -> str:
    """A Chromium binary, or a skip that says how to get one."""
    for name in (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome", "chrome"):
        if name and (found := shutil.which(name)):
            return found
    pytest.skip("no Chromium binary (Debian: apt-get install chromium), or name one in the variable CHROMIUM")
