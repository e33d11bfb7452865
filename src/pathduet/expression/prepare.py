"""A fold's expression matrix from the configuration: reads the tables and gene lists that it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pathduet.core.errors import InputError, Problem
from pathduet.expression import fold_matrix
from pathduet.expression.gene_sets import read_gene_set, shipped
from pathduet.expression.tables import ExpressionTable, read_expression

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def read_tables(expression: Mapping[str, Any]) -> list[ExpressionTable]:
    """Read every table of the configuration's ``expression`` section.

    Raises
    ------
    InputError
        With the problems of all tables, not of the first bad one.
    """
    tables, problems = [], []
    for entry in expression["tables"]:
        try:
            tables.append(read_expression(entry["path"], entry["unit"], entry["cohort"], entry["samples"]))
        except InputError as error:
            problems += [
                Problem(f"cohort {entry['cohort']}: {p.where}", p.found, p.advice) for p in error.problems
            ]
    if problems:
        raise InputError(problems)
    return tables


def gene_lists(genesets: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the tumor and the microenvironment genes that the configuration names."""
    lists = [
        shipped(name) if genesets[name] == "shipped" else read_gene_set(genesets[name])
        for name in ("tumor", "tme")
    ]
    return lists[0], lists[1]


def prepare_fold(
    settings: Mapping[str, Any], patients: pd.DataFrame, folds: pd.DataFrame, fold: int
) -> AnnData:
    """Make the matrix of one fold, see :func:`pathduet.expression.fold_matrix.build`.

    Parameters
    ----------
    settings : mapping
        ``expression``, ``genesets``, ``protocol`` and ``seed`` of the configuration.
    patients, folds : DataFrame
        As from ``sheets.read_patients`` and ``cohort.splits.read_folds``.
    fold : int
        Fold number.
    """
    tumor, tme = gene_lists(settings["genesets"])
    return fold_matrix.build(
        read_tables(settings["expression"]),
        patients,
        folds,
        fold,
        tumor=tumor,
        tme=tme,
        both=settings["genesets"]["both"],
        flavor=settings["expression"]["hvg_flavor"],
        fraction=settings["expression"]["hvg_fraction"],
        protocol=settings["protocol"],
        batch_correction=settings["expression"]["batch_correction"],
        external_scaling=settings["expression"]["external_scaling"],
        seed=settings["seed"],
    )
