"""The documentation's site in a real browser: nothing is asked of a server, and axe-core finds nothing serious."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from explain.devtools import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def site(repository: Path) -> Path:
    folder = repository / "results" / "site"
    if not (folder / "index.html").is_file():
        pytest.skip("no results/site: make docs")
    return folder


@pytest.fixture(scope="module")
def browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(chromium, tmp_path_factory.mktemp("site"), (1300, 900)) as browser:
        yield browser


@pytest.mark.parametrize("page", ["index", "tutorial", "configuration", "api/slides"])
def test_a_page_is_accessible_and_asks_no_server(browser: Browser, site: Path, page: str):
    browser.open((site / f"{page}.html").as_uri())
    browser.wait("document.readyState === 'complete'")
    assert browser.inaccessible() == []
    assert [one for one in browser.requests if not one.startswith(("file:", "data:", "blob:"))] == []


def test_search_is_reached_and_left_by_keys(browser: Browser, site: Path):
    browser.open((site / "index.html").as_uri())
    browser.wait("document.readyState === 'complete'")
    for _ in range(12):
        browser.press("Tab", 9)
        if browser.value("document.activeElement.matches('.md-search__input')"):
            break
    assert browser.value("document.activeElement.matches('.md-search__input')")
