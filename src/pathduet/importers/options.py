"""Options shared by several imports; an import's signature is its command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option(help="Folder of the sheets; several cohorts may share one.")]
Cohort = Annotated[str, typer.Option(help="Name of the cohort.")]
Labels = Annotated[
    list[Path] | None,
    typer.Option(
        help="Table with molecular findings (.tsv, .csv, .xlsx); repeatable, the first with a value wins."
    ),
]
Matrix = Annotated[Path | None, typer.Option(help="Genes x samples.")]
Unit = Annotated[str, typer.Option(help="counts, tpm, fpkm, log2_tpm or zscore.")]
Column = Annotated[
    list[str] | None,
    typer.Option(
        help="OURS=THEIRS, e.g. survival_months=OS.time (OURS in days, months or years), age_years=Age, event=Status; repeatable."
    ),
]
EventMeans = Annotated[
    list[str] | None,
    typer.Option(help="VALUE=dead or VALUE=alive: what a value of the event's column means; repeatable."),
]
SampleTypes = Annotated[
    list[str] | None,
    typer.Option(
        help="Sample types to use, the preferred first; repeatable. Default 01, primary solid tumour; 03 blood (LAML), "
        "06 metastatic (SKCM), 02 recurrent.",
    ),
]
