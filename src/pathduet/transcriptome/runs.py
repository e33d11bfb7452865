"""From sheets to predictions of a fold, and from predictions of all folds to what the table compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.cohort.folds import read_folds
from pathduet.cohort.sheets import read_patients
from pathduet.core.files import write_tsv
from pathduet.core.hardware import limit_threads
from pathduet.evaluation.predictions import read_predictions
from pathduet.expression.gene_sets import shipped
from pathduet.expression.tables import read_expression
from pathduet.transcriptome.entries import ENTRIES
from pathduet.transcriptome.fold import FoldData, run_fold

if TYPE_CHECKING:
    import pandas as pd


def write_fold(
    sheets: Path,
    folds: str | PathLike[str],
    fold: int,
    outputs: Mapping[str, str | PathLike[str]],
    *,
    cohorts: Sequence[str],
    part: str,
    settings: Mapping[str, Any],
    split: str,
) -> None:
    """Fit every entry of a fold and write its predictions.

    Parameters
    ----------
    sheets : Path
        Folder with patients.tsv and ``expression_{cohort}.tsv.gz``.
    folds : path
        folds.tsv.
    fold : int
    outputs : mapping
        Task -> file.
    cohorts : sequence of str
        Whose tables to read.
    part : {"test", "external"}
        Who is predicted.
    settings : mapping
        ``network``, ``training``, ``bins``, ``both``, ``seeds``.
    split : str
        ``seed-N`` gives the networks their seed; other names the first of ``seeds``.
    """
    limit_threads(1)
    named = split.removeprefix("seed-")
    data = FoldData(
        read_patients(sheets / "patients.tsv"),
        read_folds(folds),
        fold,
        [read_expression(sheets / f"expression_{cohort}.tsv.gz", "zscore", cohort) for cohort in cohorts],
        shipped("tumor"),
        shipped("tme"),
        both=settings["both"],
        part=part,
        seed=int(named) if named.isdecimal() else int(settings["seeds"][0]),
    )
    for task, path in outputs.items():
        write_tsv(path, run_fold(data, ENTRIES, task, settings))


def read_predictions_of(
    folder: Path, splits: Mapping[str, int], settings: Mapping[str, Any]
) -> dict[str, dict[str, list[pd.DataFrame]]]:
    """Return evaluation -> task -> predictions of every fold; external cohorts are evaluations of their own."""
    found: dict[str, dict[str, list[pd.DataFrame]]] = {}
    for split, count in splits.items():
        evaluation = "published 5-fold" if split == "published" else f"{count}-fold"
        for task in settings["tasks"]:
            tables = [
                read_predictions(folder / split / f"fold-{fold}" / f"{task}.tsv") for fold in range(count)
            ]
            found.setdefault(evaluation, {}).setdefault(task, []).extend(tables)
    if settings["external"]:
        tables = [
            read_predictions(folder / "external" / f"fold-{f}" / "survival.tsv")
            for f in range(settings["folds"])
        ]
        for cohort in sorted(set(tables[0]["cohort"])):
            found[f"{cohort}, zero-shot"] = {
                "survival": [table[table["cohort"] == cohort] for table in tables]
            }
    return found
