"""On Windows the package imports; what needs POSIX locks says so."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pathduet.core.errors import PathDuetError
from pathduet.core.run_lock import hold_run

POSIX_ONLY = re.compile(r"^(?:import|from) (?:fcntl|resource|pwd|grp|termios|pty)\b", re.MULTILINE)


def test_no_module_imports_at_its_top_what_windows_lacks(repository: Path) -> None:
    files = list((repository / "src").rglob("*.py"))
    assert files and [file for file in files if POSIX_ONLY.search(file.read_text(encoding="utf-8"))] == []


def test_a_run_on_windows_stops_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(PathDuetError, match="use Linux, macOS or WSL 2"):
        hold_run(tmp_path / "results")
    assert not (tmp_path / "results").exists()
