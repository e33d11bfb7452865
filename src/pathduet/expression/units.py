"""Conversion from a table's declared unit to log2(TPM + 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pathduet.expression.tables import ExpressionTable

if TYPE_CHECKING:
    import pandas as pd

#: Tables with fewer genes are hardly whole transcriptomes, whose sum the renormalisation needs.
_WHOLE_TRANSCRIPTOME = 5000


def to_log2(table: ExpressionTable) -> tuple[pd.DataFrame, list[str]]:
    """Bring a table to log2(TPM + 1), as far as its unit allows.

    =========== ==================================================================================
    declared    result
    =========== ==================================================================================
    counts      log2(CPM + 1): counts per million of the sample's sum. Not TPM: without gene lengths
                long genes stay higher; within one gene, which is all that scaling and selection
                compare, samples are comparable.
    tpm         log2(TPM + 1)
    fpkm        log2(TPM + 1), with TPM = 1e6 FPKM / sum of the sample's FPKM (Li & Dewey 2011)
    log2_tpm    unchanged
    zscore      unchanged, with a warning: the scale is lost
    =========== ==================================================================================

    Parameters
    ----------
    table : ExpressionTable
        As read; sums are taken over all of its genes, so call this before genes are selected.

    Returns
    -------
    tuple of (pandas.DataFrame, list of str)
        Values (genes, samples), and notes on the conversion for the user.
    """
    values, warnings = table.values, []
    if table.unit == "counts":
        values = _per_million(values)
        warnings.append("counts without gene lengths became log2(CPM + 1), not log2(TPM + 1)")
    elif table.unit == "fpkm":
        values = _per_million(values)
    if table.unit in ("counts", "fpkm") and len(values) < _WHOLE_TRANSCRIPTOME:
        warnings.append(
            f"the per-million sums were computed over the table's {len(values)} genes, fewer than a transcriptome"
        )
    if table.unit == "zscore":
        warnings.append(
            "z-scored values cannot be brought back to log2(TPM + 1) and are used unchanged; if they were computed over all patients, test patients influenced them"
        )
    if table.unit in ("counts", "tpm", "fpkm"):
        values = values.add(1.0).transform(np.log2)
    return values, [f"{table.cohort}: {warning}" for warning in warnings]


def _per_million(values: pd.DataFrame) -> pd.DataFrame:
    return values / values.sum(axis=0) * 1e6
