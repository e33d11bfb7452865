"""docs/architecture.md: every package has its line, both ways have at most twelve hops, and each hop's function is where it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
HOP = re.compile(r"^\| (\d+) \| .+ \|$", re.MULTILINE)
PLACE = re.compile(r"\[[^\]]+\]\((\.\./[^)#]+\.(?:py|smk))\)(?: `(?:(\w+)\.)?(\w+)`)?")


def section(title: str) -> str:
    """Return a section's text."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def test_every_part_of_the_package_has_a_line_in_the_tree() -> None:
    package = ROOT / "src" / "pathduet"
    folders = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").is_file()}
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    named = set(re.findall(r"^ {6}([\w/]+(?:\.py)?) ", section("The tree"), re.MULTILINE))
    assert folders | modules <= named
    assert {name for name in named if name.endswith(".py")} <= modules


@pytest.mark.parametrize("title", ["A slide's way to its features", "A gene's way to the logits"])
def test_a_way_has_at_most_twelve_hops(title: str) -> None:
    hops = [int(number) for number in HOP.findall(section(title))]
    assert 1 < len(hops) <= 12 and hops == list(range(1, len(hops) + 1))
    assert len(PLACE.findall(section(title))) >= len(hops)


def test_what_the_page_points_to_is_there() -> None:
    wrong = []
    for path, owner, name in PLACE.findall(PAGE):
        file = (ROOT / "docs" / path).resolve()
        text = file.read_text(encoding="utf-8") if file.is_file() else None
        if text is None or any(
            part
            and not re.search(
                rf"^\s*(?:async )?(?:def|class|rule|use rule \w+ as) {part}\b", text, re.MULTILINE
            )
            for part in (owner, name)
        ):
            wrong.append(f"{path} {owner} {name}")
    assert wrong == []
