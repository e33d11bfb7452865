"""docs/method.md has every equation of the paper, and the code that it points to is there and says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| (\d+) \| `(.+?)` \| (.+?) \| (.+) \|$")
PLACE = re.compile(r"\]\((\.\./src/[^)]+)\) `(\w+)`")
SPOKEN = re.compile(r"(?:[Ee]q\.|[Ee]quations?) (\d+(?:(?:-| to | and |, )\d+)*)")


def rows() -> dict[int, tuple[str, list[tuple[Path, str]]]]:
    found = {}
    for line in (DOCS / "method.md").read_text(encoding="utf-8").splitlines():
        if row := ROW.match(line):
            places = [((DOCS / path).resolve(), name) for path, name in PLACE.findall(row[4])]
            found[int(row[1])] = (row[2], places)
    return found


def spoken_of(text: str) -> set[int]:
    """Return the equations that a file's comments name."""
    found: set[int] = set()
    for numbers in SPOKEN.findall(text):
        for part in re.split(r" and |, ", numbers):
            first, *last = map(int, re.split(r"-| to ", part))
            found |= set(range(first, (last or [first])[-1] + 1))
    return found


def test_numbers_are_read_as_people_write_them() -> None:
    text = "equations 1-3 and 8-9; eq. 13, 14; Equation 7; (eq. 10 and 11), equations 1 to 5"
    assert spoken_of(text) == {1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 13, 14}


def test_the_page_has_all_eighteen_equations() -> None:
    assert list(rows()) == list(range(1, 19))


@pytest.mark.parametrize("number", range(1, 19))
def test_an_equations_code_is_where_the_page_says_and_names_it(number: int) -> None:
    formula, places = rows()[number]
    assert formula and places
    for path, name in places:
        text = path.read_text(encoding="utf-8")
        assert re.search(rf"^(?:def|class) {name}\b", text, flags=re.MULTILINE), f"{path.name} has no {name}"
    assert any(number in spoken_of(path.read_text(encoding="utf-8")) for path, _ in places)
