"""Options that several imports share; an import's own signature is its command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option(help="Folder of the sheets; several cohorts may share one.")]
Cohort = Annotated[str, typer.Option(help="Name of the cohort.")]
Labels = Annotated[
    list[Path] | None,
    typer.Option(
        help="Table with molecular findings (.tsv, .csv, .xlsx); repeatable, the first that knows a value wins."
    ),
]
Matrix = Annotated[Path | None, typer.Option(help="Genes x samples.")]
Unit = Annotated[str, typer.Option(help="counts, tpm, fpkm, log2_tpm or zscore.")]
