"""What files and servers say is shown, and written into tables, without taking effect."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pathduet.core.errors import InputError, PathDuetError, SlideError, shown
from pathduet.core.files import write_tsv
from pathduet.slides.status import StageStatus

ESCAPES = {
    "\x1b[2J\x1b]0;title\x07": r"\x1b[2J\x1b]0;title\x07", "a\rb": r"a\rb", "\x9b31m": r"\x9b31m", "\x00": r"\x00", "\x7f": r"\x7f",
    "\u202egvs.1S": r"\u202egvs.1S", "\u2066": r"\u2066", "\u200b": r"\u200b", "\udcff": r"\udcff", "\u2028": r"\u2028",
}  # fmt: skip


@pytest.mark.parametrize("text", ESCAPES)
def test_control_characters_are_shown_and_not_obeyed(text: str) -> None:
    expected = ESCAPES[text]
    assert shown(text) == expected
    assert expected in str(PathDuetError(text)) and expected in str(SlideError("S1", "failed", text))
    assert expected in str(InputError.of("slides.tsv", text, "correct it"))
    status = StageStatus("S1", "tile", "failed", "failed", message=text, notes=text)
    assert status.message == status.notes == expected


def test_ordinary_text_stays_as_it_is() -> None:
    text = "Größe 0,25 µm; 東京 слайд é 🔬\n\tnext line"
    assert shown(text) == text


FORMULAS = [
    "=cmd|'/C calc'!A0", "=HYPERLINK(\"http://a.b\",\"x\")", "@SUM(1+1)*cmd|' /C calc'!A0", "+1+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0",
    "='file:///etc/passwd'#$passwd.A1", "\t=WEBSERVICE(\"http://a.b\")", "=1+1+IMPORTXML(A1)",
]  # fmt: skip
PLAIN = ["-", "+", "-11A", "-0.5", "+1", "1e-5", "G4", "HLA-A", "x=1(2)", "lost (a|b)", "it's", ""]


def test_a_formula_in_a_cell_is_text_in_a_spreadsheet(tmp_path: Path) -> None:
    cells = [*FORMULAS, *PLAIN, None]
    table = pd.DataFrame({"message": cells, "number": range(len(cells))})
    write_tsv(tmp_path / "t.tsv", table)
    read = pd.read_csv(tmp_path / "t.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert list(read["message"]) == [*(f"'{text}" for text in FORMULAS), *PLAIN, ""]
    assert list(table["message"]) == cells  # the caller's table is as it was


def test_a_table_without_formulas_has_the_same_bytes(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": PLAIN, "value": [i / 7 for i in range(len(PLAIN))]})
    write_tsv(tmp_path / "t.tsv", table)
    assert (tmp_path / "t.tsv").read_text() == table.to_csv(sep="\t", index=False, float_format="%.10g")
