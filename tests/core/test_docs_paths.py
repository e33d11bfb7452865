"""Files, modules and functions that pages, the configuration and docstrings name are in the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("examples/**/*.md"),
    ROOT / "config.yaml",
]
NAMED = re.compile(
    r"(?<![\w/.-])((?:src/pathduet|tests|rules|benchmarks|workflow_scripts|schemas|examples|docs)/[\w/.-]+)"
)
MODULE = re.compile(r"`~?(pathduet(?:\.\w+)+)")


def is_there(name: str) -> bool:
    """Whether a dotted name is a module of the package, or a name in one."""
    package, *parts = name.split(".")
    place = ROOT / "src" / package
    while parts and ((place / parts[0]).is_dir() or (place / f"{parts[0]}.py").is_file()):
        place /= parts.pop(0)
    if not parts:
        return True
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return re.search(rf"\b{parts[0]}\b", file.read_text(encoding="utf-8")) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_files_and_modules_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = {path.rstrip("./") for path in NAMED.findall(text)}
    assert sorted(path for path in paths if "NAME" not in path and not list(ROOT.glob(f"{path}*"))) == []
    assert [name for name in MODULE.findall(text) if not is_there(name)] == []


def test_docstrings_refer_to_what_is_there() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in (ROOT / "src" / "pathduet").rglob("*.py")
        for name in MODULE.findall(file.read_text(encoding="utf-8"))
        if not is_there(name)
    ]
    assert wrong == []
