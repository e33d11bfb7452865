"""A short fuzz of sheets, folds and expression tables; its long form is run by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from fuzz_tables import KINDS, fuzz


@pytest.mark.slow
def test_any_table_is_read_as_it_stands_or_refused_in_words(tmp_path: Path) -> None:
    counts, wrong = fuzz(tmp_path / "fuzz", 150, seed=7)
    assert not wrong, "\n".join(wrong)
    assert all(counts[f"{kind} read"] and counts[f"{kind} refused"] for kind in KINDS)
