"""One cohort's expression table: read, checked, and keyed by gene symbol."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pathduet.core.errors import InputError, Problems
from pathduet.core.plural import plural
from pathduet.expression.identifiers import harmonised_symbols
from pathduet.expression.table_checks import ADDITIVE, UNITS, Unit, check_samples, check_values
from pathduet.expression.table_files import RawTable, read_raw, read_sample_sheet

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ExpressionTable:
    """One cohort's expression.

    Attributes
    ----------
    cohort : str
        Cohort name.
    unit : {"counts", "tpm", "fpkm", "log2_tpm", "zscore"}
        Unit of `values`.
    values : pandas.DataFrame, shape (genes, samples)
        float64; index gene symbols (Ensembl ids where no symbol is known), columns sample ids, both unique
        and sorted.
    samples : pandas.DataFrame
        Index sample id (as the columns of `values`): `patient_id`, `slide_id` ("" if the sample represents
        the patient).
    counts : dict of str to int
        What was read, left out and merged.
    warnings : tuple of str
        Notes for the user.
    """

    cohort: str
    unit: Unit
    values: pd.DataFrame
    samples: pd.DataFrame
    counts: dict[str, int]
    warnings: tuple[str, ...] = ()


def read_expression(
    path: str | PathLike[str],
    unit: str,
    cohort: str,
    sample_sheet: str | PathLike[str] | None = None,
) -> ExpressionTable:
    """Read and check one expression table.

    Genes with a missing value in any sample are dropped and counted. Rows of one gene are merged: their sum
    for counts, TPM and FPKM, their mean for log2 and z-scored values. Ensembl ids (without version) and Entrez ids
    become symbols where ``presets/genesets/identifiers.tsv.gz`` has one; so do former and newer symbols and aliases.

    Parameters
    ----------
    path : path
        Text, ``.xlsx`` or ``.parquet`` (:func:`pathduet.expression.table_files.read_table`) with genes in rows, one column named
        as in ``table_files.GENE_COLUMNS``, and one column per sample; or ``.h5ad`` with samples in obs and genes in var
        (var names, or ``var["gene_symbol"]``), where ``obs["patient_id"]`` and ``obs["slide_id"]`` map the samples.
    unit : str
        Unit of the numbers; one of ``table_checks.UNITS``.
    cohort : str
        Name of the cohort.
    sample_sheet : path, optional
        TSV with `sample_id`, `patient_id` and optionally `slide_id`; samples of the table that it does not
        name are left out and counted. Without it, sample ids are patient ids.

    Raises
    ------
    InputError
        Lists everything wrong with the table: its form, duplicate samples, non-numeric cells, values
        that the unit forbids or that look like another unit.
    """
    path = Path(path)
    problems = Problems()
    if unit not in UNITS:
        problems.add(f"expression unit of {cohort}", repr(unit), f"use one of {', '.join(UNITS)}")
    try:
        raw = read_raw(path)
    except InputError as error:
        raise InputError([*problems, *error.problems]) from None
    sheet = raw.sample_sheet
    if sample_sheet is not None:
        with problems.collected():
            sheet = read_sample_sheet(Path(sample_sheet))
    problems += raw.problems
    problems += check_samples(raw.samples, path.name)
    problems += check_values(raw, unit, path.name)
    problems.check()
    files = path.name if sample_sheet is None else f"{path.name}, {Path(sample_sheet).name}"
    return _assemble(raw, unit, cohort, sheet, files)  # type: ignore[arg-type]


def _assemble(
    raw: RawTable, unit: Unit, cohort: str, sheet: pd.DataFrame | None, name: str
) -> ExpressionTable:
    import pandas as pd

    warnings = list(raw.warnings)
    counts = {"rows_read": len(raw.genes), "samples_read": len(raw.samples)}
    if sheet is None:
        sheet = pd.DataFrame({"patient_id": raw.samples, "slide_id": ""}, index=raw.samples)
    wanted = [sample for sample in raw.samples if sample in sheet.index]
    counts["samples_not_in_sample_sheet"] = len(raw.samples) - len(wanted)
    counts["sample_sheet_rows_without_expression"] = len(sheet) - len(wanted)
    if not wanted:
        advice = "sample_id must be spelled as the table's columns"
        raise InputError.of(name, "no sample of the table is in the sample sheet", advice)
    if len(wanted) < len(raw.samples):
        warnings.append(
            f"dropped: {plural(len(raw.samples) - len(wanted), 'sample')} that the sample sheet does not list"
        )

    symbols = harmonised_symbols(raw.genes)
    named = np.array([bool(symbol) for symbol in symbols])
    counts["rows_without_gene"] = int((~named).sum())
    frame = pd.DataFrame(raw.values, index=pd.Index(symbols, name="gene_symbol"), columns=raw.samples)
    frame = frame.loc[named, sorted(wanted)]
    incomplete = frame.index[frame.isna().any(axis=1)].unique()
    counts["genes_with_missing_values"] = len(incomplete)
    if len(incomplete):
        warnings.append(f"dropped: {plural(len(incomplete), 'gene')} without a value in some sample")
        frame = frame[~frame.index.isin(incomplete)]
    counts["rows_merged"] = int(frame.index.duplicated().sum())
    if counts["rows_merged"]:
        rows = frame.groupby(level=0, sort=False)
        frame = rows.sum() if unit in ADDITIVE else rows.mean()
        if unit not in ADDITIVE:
            warnings.append(f"averaged: {plural(counts['rows_merged'], 'row')} of repeated genes")
    if frame.empty:
        raise InputError.of(name, "no gene without missing values", "impute or remove the samples")
    counts |= {"genes": len(frame), "samples": frame.shape[1]}
    samples = sheet.loc[list(frame.columns), ["patient_id", "slide_id"]].rename_axis("sample_id")
    return ExpressionTable(cohort, unit, frame.sort_index(), samples, counts, tuple(warnings))
