"""The pages of docs/results show what their rows hold."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["comparison", "grounds", "truth", "variations"])
def test_every_line_of_a_table_is_made_from_the_rows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    more = ["--search", str(RESULTS / "comparison_search.jsonl")] if name == "comparison" else []
    command = ["report", str(RESULTS / f"{name}.jsonl"), "--out", str(tmp_path / "page.md"), *more]
    monkeypatch.setattr(sys, "argv", [name, *command])
    runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"), run_name="__main__")
    made = [line for line in (tmp_path / "page.md").read_text().splitlines() if line.startswith("|")]
    shown = (RESULTS / f"{name}.md").read_text().splitlines()
    assert len(made) > 20 and [line for line in made if line not in shown] == []
