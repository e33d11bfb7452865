"""The page in a real browser: nothing is requested, nothing is complained about, every picture decodes."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_report_page import FIGURES

from explain.devtools import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def open_page(chromium: str, page: Path, profile: Path) -> tuple[str, list[str]]:
    """Open a page headless; return the DOM after its scripts ran and the console's lines."""
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom",
        page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_console_is_silent_and_every_picture_and_figure_is_shown(
    chromium: str, report: Path, tmp_path: Path
):
    dom, console = open_page(chromium, report, tmp_path)
    assert console == []
    shown = re.search(r'data-pictures="(\d+)/(\d+)"', dom)
    # 8 used slides with three pictures and 3 failed ones with a thumbnail
    assert shown and shown.groups() == ("27", "27")
    assert dom.count("<figure") == FIGURES and 'class="gap' not in dom
    # The script ran: headings sort.
    assert dom.count("<th scope") == dom.count("<button>") > 50


def test_a_request_to_anywhere_would_be_seen(chromium: str, report: Path, tmp_path: Path):
    """The check above can fail: an outside picture is refused by the policy and reported on the console."""
    html = report.read_text().replace("</main>", '<img src="http://127.0.0.1:9/x.png" alt=""></main>')
    page = tmp_path / "page.html"
    page.write_text(html)
    dom, console = open_page(chromium, page, tmp_path / "profile")
    assert any("Content Security Policy" in line for line in console)
    assert 'data-pictures="27/28"' in dom and "the picture cannot be decoded" in dom


def test_a_script_that_got_into_the_page_would_not_run(chromium: str, report: Path, tmp_path: Path):
    html = report.read_text().replace("</main>", "<script>document.title = 'taken'</script></main>")
    page = tmp_path / "page.html"
    page.write_text(html)
    dom, console = open_page(chromium, page, tmp_path / "profile")
    assert "<title>taken" not in dom and any("Content Security Policy" in line for line in console)


@pytest.fixture(scope="module")
def browser(chromium: str, report: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The report on a small laptop's screen, with everything unfolded."""
    with Browser(chromium, tmp_path_factory.mktemp("laptop"), (1300, 900)) as browser:
        browser.open(report.as_uri())
        browser.wait("document.documentElement.dataset.pictures")
        browser.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        yield browser


def test_no_table_is_cut_on_a_small_laptop(browser: Browser):
    wider = "(box) => box.scrollWidth > box.clientWidth"
    tables = "[...document.querySelectorAll('.scroll')]"
    assert browser.value(f"{tables}.length") > 20
    assert browser.value(f"{tables}.filter({wider}).map((box) => box.querySelector('table').id)") == []
    assert not browser.value(f"({wider})(document.documentElement)")
    # the check can fail
    browser.value("document.body.style.width = '600px'")
    assert browser.value(f"{tables}.filter({wider}).length") > 0
    browser.value("document.body.style.width = ''")


def test_fifteen_models_are_readable_on_a_small_laptop(
    chromium: str, fifteen_models: tuple[Path, dict[str, Any]], tmp_path: Path
):
    with Browser(chromium, tmp_path, (1300, 900)) as browser:
        browser.open(fifteen_models[0].as_uri())
        browser.wait("document.documentElement.dataset.pictures")
        rows = browser.value("document.querySelector('#table-metrics-receptor').tBodies[0].rows.length")
        assert rows >= 15
        assert (
            browser.value(
                "[...document.querySelectorAll('.scroll')].filter((b) => b.scrollWidth > b.clientWidth).length"
            )
            == 0
        )
        # the figure is as wide as it was drawn, and no model's name lies on another
        names = browser.value(
            "[...document.querySelectorAll('#figure-spread-receptor svg text')].map((t) => [t.textContent, t.getBoundingClientRect()])"
            ".map(([text, b]) => [text, b.left, b.top, b.bottom, b.height])"
        )
        left = min(one[1] for one in names)
        column = sorted((one for one in names if one[1] < left + 75), key=lambda one: one[2])
        models = [one for one in column if one[0] and not one[0].replace(".", "").isdigit()]
        assert len(models) >= 15
        assert min(one[4] for one in models) >= 9
        assert all(low[2] >= high[3] - 2 for high, low in itertools.pairwise(models))


def test_keys_alone_skip_the_navigation_and_sort_a_table(browser: Browser):
    browser.press("Tab", 9)
    assert browser.value("document.activeElement.className") == "skip"
    browser.press("Enter", 13)
    browser.wait("location.hash === '#main'")
    for _ in range(200):
        browser.press("Tab", 9)
        if browser.value("document.activeElement.matches('main th button')"):
            break
    browser.press("Enter", 13)
    assert browser.value("document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"


def test_axe_finds_nothing_serious(browser: Browser):
    # rows and slides are alike, and axe takes time for each
    browser.value(
        "document.querySelectorAll('tbody tr:nth-child(n+4), .slide:nth-child(n+3)').forEach((one) => one.remove())"
    )
    assert browser.inaccessible() == []
    # the check can fail
    browser.value("document.querySelector('main').insertAdjacentHTML('beforeend', '<img id=\"no-text\">')")
    assert any("image-alt: #no-text" in line for line in browser.inaccessible())
