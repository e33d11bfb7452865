"""docs/artifacts.md names the columns that the code writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pathduet.cohort import folds as splits
from pathduet.cohort import ledger
from pathduet.explain.files import TABLES

PAGE = (Path(__file__).parents[2] / "docs" / "artifacts.md").read_text(encoding="utf-8")


def row_of(name: str) -> str:
    """Return what the page says of a table's columns."""
    (row,) = re.findall(
        rf"^\| [^|]*`(?:explanations/<task>/)?{re.escape(name)}`[^|]* \| (.+) \|$",
        PAGE.split("## Columns")[1],
        re.MULTILINE,
    )
    return str(row)


@pytest.mark.parametrize(
    ("name", "columns"), [("ledger.tsv", ledger.COLUMNS), ("split/folds.tsv", splits.COLUMNS)]
)
def test_every_column_is_explained(name: str, columns: tuple[str, ...]) -> None:
    assert [column for column in columns if f"`{column}`" not in row_of(name)] == []


def test_every_table_of_the_explanations_is_there() -> None:
    missing = []
    for tables in TABLES.values():
        for table in tables:
            if table not in (
                "gene_correlation_summary.tsv",
                "region_agreement_slides.tsv",
            ):  # sums and parts of others
                missing += [] if f"{table}`" in PAGE else [table]
    assert missing == []
