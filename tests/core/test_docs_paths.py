"""Files that Markdown pages and the configuration name are in the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"), ROOT / "config.yaml"]
NAMED = re.compile(
    r"(?<![\w/.-])((?:src/pathduet|tests|rules|benchmarks|workflow_scripts|schemas|examples|docs)/[\w/.-]+)"
)
MODULE = re.compile(r"`(pathduet(?:\.[a-z]\w*)+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_files_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = {path.rstrip("./") for path in NAMED.findall(text)}
    assert sorted(path for path in paths if "NAME" not in path and not list(ROOT.glob(f"{path}*"))) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_modules_are_there(page: Path) -> None:
    for name in MODULE.findall(page.read_text(encoding="utf-8")):
        path = ROOT / "src" / name.replace(".", "/")
        last = path.name
        holder = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path
        if not holder.exists():  # an attribute of a module
            holder = next(
                p for p in (path.parent.with_suffix(".py"), path.parent / "__init__.py") if p.is_file()
            )
            assert re.search(rf"\b{last}\b", holder.read_text(encoding="utf-8")), name
