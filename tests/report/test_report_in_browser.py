"""The page in a real browser: nothing is requested, nothing is complained about, every picture decodes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from test_report_page import FIGURES

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
