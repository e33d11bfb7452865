"""Options shared by several imports; an import's signature is its command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option(help="Folder for the sheets; several cohorts may share it.")]
Cohort = Annotated[str, typer.Option(help="Name of the cohort.")]
Labels = Annotated[
    list[Path] | None,
    typer.Option(
        help="Table of molecular findings (.tsv, .csv, .xlsx); repeatable: the first one that has a value counts."
    ),
]
Matrix = Annotated[Path | None, typer.Option(help="Expression matrix, genes in rows, samples in columns.")]
Unit = Annotated[str, typer.Option(help="Unit of the matrix: counts, tpm, fpkm, log2_tpm or zscore.")]
Column = Annotated[
    list[str] | None,
    typer.Option(
        help="OURS=THEIRS: a column that is not recognised, e.g. survival_months=OS.time (or _days, _years), age_years=Age, event=Status; repeatable."
    ),
]
EventMeans = Annotated[
    list[str] | None,
    typer.Option(help="VALUE=dead or VALUE=alive: meaning of a value in the event column; repeatable."),
]
SampleTypes = Annotated[
    list[str] | None,
    typer.Option(
        help="TCGA sample types to use, the preferred one first; repeatable. Default: 01, primary solid tumour. Others: 03 blood (LAML), "
        "06 metastatic (SKCM), 02 recurrent.",
    ),
]
