"""Cohorts on one gene axis, matched by symbol and never by position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pathduet.core.errors import InputError, Problem

if TYPE_CHECKING:
    import pandas as pd


def align(values: Mapping[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """Keep the genes that every cohort has, in alphabetical order.

    Parameters
    ----------
    values : mapping of str to pandas.DataFrame
        Cohort -> (genes, samples), index unique gene symbols in any order.

    Returns
    -------
    tuple of (dict, dict)
        Cohort -> (common genes, samples), all with the same index; cohort -> number of its genes left out.

    Raises
    ------
    InputError
        If no gene is common to all cohorts.
    """
    common = common_genes(values)
    aligned = {cohort: frame.loc[common] for cohort, frame in values.items()}
    return aligned, {cohort: len(frame) - len(common) for cohort, frame in values.items()}


def common_genes(values: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the genes that every cohort has, in alphabetical order; InputError if there is none."""
    common = sorted(set.intersection(*(set(frame.index) for frame in values.values())))
    if not common:
        problems = [
            Problem(f"expression of {cohort}", f"genes such as {', '.join(map(str, frame.index[:3]))}",
                    "no gene is in all cohorts: use the same kind of gene names in all tables")
            for cohort, frame in values.items()
        ]  # fmt: skip
        raise InputError(problems)
    return common
