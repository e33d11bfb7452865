"""One cohort's expression table: read, checked, and keyed by gene symbol."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from pathduet.core.errors import InputError, Problem

if TYPE_CHECKING:
    import pandas as pd

Unit = Literal["counts", "tpm", "fpkm", "log2_tpm", "zscore"]
UNITS: tuple[str, ...] = get_args(Unit)
#: Column names that hold the gene; the first one present is used, the others are ignored.
GENE_COLUMNS = ("gene_symbol", "gene_name", "ensembl_id", "entrez_id", "gene_id")
#: Units whose rows add up when a gene has several; the others are averaged.
_ADDITIVE = {"counts", "tpm", "fpkm"}
_ENSEMBL = re.compile(r"(ENSG\d{11})(?:\.\d+)?(?:_PAR_Y)?")
#: log2(1e6 + 1): no log2(TPM + 1) can be larger.
_LOG2_LARGEST = 19.95
#: Fewer genes than this say nothing about the unit of linear values that happen to be small.
_ENOUGH_GENES = 500
_SHOWN = 20
#: Offending rows of each sample: (sample's position, rows' positions).
_Hits = list[tuple[int, np.ndarray]]


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
        Index sample id (as the columns of `values`): `patient_id`, `slide_id` ("" if the sample stands for
        the patient).
    counts : dict of str to int
        What was read, left out and merged.
    warnings : tuple of str
        What the user should know.
    """

    cohort: str
    unit: Unit
    values: pd.DataFrame
    samples: pd.DataFrame
    counts: dict[str, int]
    warnings: tuple[str, ...] = ()


@dataclass
class _Raw:
    """What a file holds, before it is judged: gene of each row, sample of each column, numbers."""

    genes: list[str]
    samples: list[str]
    values: np.ndarray
    first_row: int
    problems: list[Problem] = field(default_factory=list)
    sample_sheet: pd.DataFrame | None = None


def read_expression(
    path: str | PathLike[str],
    unit: str,
    cohort: str,
    sample_sheet: str | PathLike[str] | None = None,
) -> ExpressionTable:
    """Read and check one expression table.

    Genes that miss a value in any sample are dropped and counted. Rows of one gene are merged: their sum for
    counts, TPM and FPKM, their mean for log2 and z-scored values. Ensembl ids (without version) and Entrez ids become
    symbols where ``genesets/identifiers.tsv`` knows one; so do former and newer symbols of those genes.

    Parameters
    ----------
    path : path
        ``.tsv[.gz]``, ``.csv[.gz]`` or ``.parquet`` with genes in rows, one column named as in
        :data:`GENE_COLUMNS`, and one column a sample; or ``.h5ad`` with samples in obs and genes in var (var
        names, or ``var["gene_symbol"]``), where ``obs["patient_id"]`` and ``obs["slide_id"]`` map the samples.
    unit : str
        What the numbers are; one of :data:`UNITS`.
    cohort : str
        Name of the cohort.
    sample_sheet : path, optional
        TSV with `sample_id`, `patient_id` and optionally `slide_id`; samples of the table that it does not
        name are left out and counted. Without it, sample ids are patient ids.

    Raises
    ------
    InputError
        Listing everything wrong with the table: its form, samples twice, cells that are no numbers, values
        that the unit forbids or that look like another unit.
    """
    path = Path(path)
    problems: list[Problem] = []
    if unit not in UNITS:
        problems.append(Problem(f"expression unit of {cohort}", repr(unit), f"use one of {', '.join(UNITS)}"))
    try:
        raw = _read(path)
    except InputError as error:
        raise InputError([*problems, *error.problems]) from None
    sheet = raw.sample_sheet
    if sample_sheet is not None:
        try:
            sheet = _read_sample_sheet(Path(sample_sheet))
        except InputError as error:
            problems += error.problems
    problems += raw.problems
    problems += _check_samples(raw.samples, path.name)
    problems += _check_values(raw, unit, path.name)
    if problems:
        raise InputError(problems)
    return _assemble(raw, unit, cohort, sheet, path.name)  # type: ignore[arg-type]


def _assemble(raw: _Raw, unit: Unit, cohort: str, sheet: pd.DataFrame | None, name: str) -> ExpressionTable:
    import pandas as pd

    warnings = []
    counts = {"rows_read": len(raw.genes), "samples_read": len(raw.samples)}
    if sheet is None:
        sheet = pd.DataFrame({"patient_id": raw.samples, "slide_id": ""}, index=raw.samples)
    wanted = [sample for sample in raw.samples if sample in sheet.index]
    counts["samples_not_in_sample_sheet"] = len(raw.samples) - len(wanted)
    counts["sample_sheet_rows_without_expression"] = len(sheet) - len(wanted)
    if not wanted:
        advice = "sample_id must be spelled as the table's columns"
        raise InputError([Problem(name, "no sample of the table is in the sample sheet", advice)])
    if len(wanted) < len(raw.samples):
        warnings.append(f"{len(raw.samples) - len(wanted)} samples are not in the sample sheet: left out")

    symbols = harmonised_symbols(raw.genes)
    named = np.array([bool(symbol) for symbol in symbols])
    counts["rows_without_gene"] = int((~named).sum())
    frame = pd.DataFrame(raw.values, index=pd.Index(symbols, name="gene_symbol"), columns=raw.samples)
    frame = frame.loc[named, sorted(wanted)]
    incomplete = frame.index[frame.isna().any(axis=1)].unique()
    counts["genes_with_missing_values"] = len(incomplete)
    if len(incomplete):
        warnings.append(f"{len(incomplete)} genes miss a value in some sample: left out")
        frame = frame[~frame.index.isin(incomplete)]
    counts["rows_merged"] = int(frame.index.duplicated().sum())
    if counts["rows_merged"]:
        rows = frame.groupby(level=0, sort=False)
        frame = rows.sum() if unit in _ADDITIVE else rows.mean()
    if frame.empty:
        raise InputError([Problem(name, "no gene without missing values", "impute or remove the samples")])
    counts |= {"genes": len(frame), "samples": frame.shape[1]}
    samples = sheet.loc[list(frame.columns), ["patient_id", "slide_id"]].rename_axis("sample_id")
    return ExpressionTable(cohort, unit, frame.sort_index(), samples, counts, tuple(warnings))


# -- reading ----------------------------------------------------------------------------------------------


def _read(path: Path) -> _Raw:
    name = path.name.lower()
    if not path.is_file():
        raise InputError([Problem(f"expression table {path.name}", "no such file", "give its path")])
    try:
        if name.endswith((".tsv", ".tsv.gz", ".csv", ".csv.gz")):
            return _read_text(path, "\t" if ".tsv" in name[-7:] else ",")
        if name.endswith(".parquet"):
            return _read_parquet(path)
        if name.endswith(".h5ad"):
            return _read_h5ad(path)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        message = f"cannot be read ({type(error).__name__}: {error})"
        problem = Problem(f"expression table {path.name}", message, "check that the file is whole")
        raise InputError([problem]) from error
    advice = "use .tsv, .tsv.gz, .csv, .csv.gz, .parquet or .h5ad"
    raise InputError([Problem(f"expression table {path.name}", "unknown kind of file", advice)])


def _read_text(path: Path, separator: str) -> _Raw:
    import pandas as pd

    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as handle:  # type: ignore[operator]
        lines = csv.reader(handle, delimiter=separator)
        header = [cell.strip() for cell in next(lines, [])]
        first = next(lines, [])
    gene_column = _gene_column(header, path.name)
    if not first:
        raise InputError([Problem(path.name, "no row below the header", "add one row a gene")])
    if len(first) != len(header):
        advice = "give the gene column a name (R's write.table leaves it out)"
        found = f"{len(first)} cells under {len(header)} columns"
        raise InputError([Problem(f"{path.name} row 2", found, advice)])
    try:
        frame = pd.read_csv(
            path, sep=separator, header=None, skiprows=1, names=range(len(header)), index_col=False,
            encoding="utf-8", low_memory=False, dtype={gene_column: str}, skip_blank_lines=False,
            on_bad_lines="error",
        )  # fmt: skip
    except pd.errors.ParserError as error:
        problem = Problem(path.name, str(error).strip(), "every row needs as many cells as the header")
        raise InputError([problem]) from error
    return _from_frame(frame, header, gene_column, path.name)


def _read_parquet(path: Path) -> _Raw:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ValueError as error:
        found = f"cannot be read ({error})"
        raise InputError([Problem(path.name, found, "check that the file is whole")]) from error
    if frame.index.name in GENE_COLUMNS:
        frame = frame.reset_index()
    header = [str(column).strip() for column in frame.columns]
    gene_column = _gene_column(header, path.name)
    if frame.empty:
        raise InputError([Problem(path.name, "no row", "add one row a gene")])
    frame.columns = pd.RangeIndex(len(header))
    return _from_frame(frame, header, gene_column, path.name)


def _read_h5ad(path: Path) -> _Raw:
    import anndata
    import pandas as pd

    try:
        adata = anndata.read_h5ad(path)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        found = f"no AnnData file ({error})"
        raise InputError([Problem(path.name, found, "write it with AnnData.write_h5ad")]) from error
    if adata.X is None or 0 in adata.shape:
        raise InputError([Problem(path.name, f"shape {adata.shape}", "needs samples, genes and X")])
    values = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    genes = adata.var.get("gene_symbol", adata.var_names)
    sheet = None
    if "patient_id" in adata.obs:
        slides = adata.obs["slide_id"].astype(str) if "slide_id" in adata.obs else ""
        sheet = pd.DataFrame({"patient_id": adata.obs["patient_id"].astype(str), "slide_id": slides})
    samples = [str(sample).strip() for sample in adata.obs_names]
    symbols = ["" if gene != gene else str(gene).strip() for gene in genes]
    return _Raw(symbols, samples, values.T.astype(np.float64), 0, sample_sheet=sheet)


def _gene_column(header: list[str], name: str) -> int:
    for wanted in GENE_COLUMNS:
        if wanted in header:
            return header.index(wanted)
    found = f"columns {', '.join(header[:5])}{' ...' if len(header) > 5 else ''}" if header else "empty file"
    advice = f"name the column with the genes {' or '.join(GENE_COLUMNS)} (genes are rows, samples columns)"
    raise InputError([Problem(f"{name} header", found, advice)])


def _from_frame(frame: pd.DataFrame, header: list[str], gene_column: int, name: str) -> _Raw:
    """Split a frame with numbered columns into genes and numbers, noting every cell that is no number."""
    import pandas as pd

    columns = [i for i, title in enumerate(header) if title not in GENE_COLUMNS]
    if not columns:
        raise InputError([Problem(f"{name} header", "no sample column", "add one column a sample")])
    genes = ["" if gene != gene or gene is None else str(gene).strip() for gene in frame[gene_column]]
    bad: list[Problem] = []
    total = 0
    advice = "needs a number or an empty cell"
    numbers = np.empty((len(frame), len(columns)), dtype=np.float64)
    for target, column in enumerate(columns):
        cells = frame[column]
        if pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells):
            numbers[:, target] = cells.to_numpy(dtype=np.float64, na_value=np.nan)
            continue
        truths = cells.map(lambda cell: isinstance(cell, bool | np.bool_)).to_numpy(dtype=bool)
        parsed = pd.to_numeric(cells.astype(object).where(~truths), errors="coerce")
        numbers[:, target] = parsed.to_numpy(dtype=np.float64, na_value=np.nan)
        rows = np.flatnonzero(cells.notna().to_numpy() & np.isnan(numbers[:, target]))
        total += len(rows)
        for row in rows[: _SHOWN - len(bad)]:
            where = f"{name} row {row + 2} ({genes[row] or 'no gene'}), column {header[column]}"
            bad.append(Problem(where, repr(cells.iloc[row]), advice))
    return _Raw(genes, [header[i] for i in columns], numbers, 2, bad + _more(total, name, advice))


def _read_sample_sheet(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise InputError([Problem(f"sample sheet {path.name}", "no such file", "give its path")])
    sheet = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    absent = [column for column in ("sample_id", "patient_id") if column not in sheet.columns]
    if absent:
        found = f"columns {', '.join(map(str, sheet.columns))}"
        raise InputError([Problem(path.name, found, f"needs {' and '.join(absent)} too (tab-separated)")])
    if "slide_id" not in sheet.columns:
        sheet["slide_id"] = ""
    sheet = sheet[["sample_id", "patient_id", "slide_id"]].apply(lambda column: column.str.strip())
    problems = [
        Problem(f"{path.name} row {row}, {column}", "empty", "give the id")
        for column in ("sample_id", "patient_id")
        for row in np.flatnonzero(sheet[column] == "") + 2
    ]
    twice = sheet.loc[sheet["sample_id"].duplicated() & (sheet["sample_id"] != ""), "sample_id"]
    problems += [
        Problem(f"{path.name}, sample {sample}", "more than one row", "keep one row a sample")
        for sample in sorted(set(twice))
    ]
    if problems:
        raise InputError(problems)
    return sheet.set_index("sample_id")


# -- checks -----------------------------------------------------------------------------------------------


def _check_samples(samples: list[str], name: str) -> list[Problem]:
    problems = [
        Problem(f"{name} header, column {position + 1}", "no sample id", "name the sample")
        for position, sample in enumerate(samples)
        if not sample
    ]
    seen: set[str] = set()
    twice = {s for s in samples if s and (s in seen or seen.add(s))}  # type: ignore[func-returns-value]
    problems += [
        Problem(f"{name} header, sample {sample}", "more than one column", "keep one column a sample")
        for sample in sorted(twice)
    ]
    return problems


def _check_values(raw: _Raw, unit: str, name: str) -> list[Problem]:
    """List impossible values, sample by sample (a whole transcriptome is large: no full-size temporaries)."""
    problems: list[Problem] = []
    infinite: _Hits = []
    negative: _Hits = []
    fraction: _Hits = []
    for sample, values in enumerate(raw.values.T):
        where = f"{name}, sample {raw.samples[sample]}"
        finite = np.isfinite(values)
        if not finite.any():
            problems.append(Problem(where, "no value at all", "remove the column"))
            continue
        if unit in _ADDITIVE and not values[finite].any():
            problems.append(Problem(where, "all values are 0", "remove the column"))
        infinite.append((sample, np.flatnonzero(np.isinf(values))))
        if unit != "zscore":
            negative.append((sample, np.flatnonzero(finite & (values < 0))))
        if unit == "counts":
            whole = np.floor(values, where=finite, out=np.zeros_like(values))
            fraction.append((sample, np.flatnonzero(finite & (values != whole))))
    problems += _cells(raw, infinite, name, "needs a finite number or an empty cell")
    advice = "log2(TPM + 1) is never negative" if unit == "log2_tpm" else f"{unit} are never negative"
    problems += _cells(raw, negative, name, f"{advice}; declare the right unit or correct the value")
    advice = "counts are whole: round expected counts (RSEM, Salmon), or declare the right unit"
    problems += _cells(raw, fraction, name, advice)
    return problems or _check_unit(raw.values, unit, name)


def _check_unit(values: np.ndarray, unit: str, name: str) -> list[Problem]:
    """Refuse numbers that cannot be, or hardly are, what they are said to be."""
    smallest, largest, n_genes = float(np.nanmin(values)), float(np.nanmax(values)), len(values)
    looks = ""
    if unit == "log2_tpm" and largest > _LOG2_LARGEST:
        looks = f"{largest:g} is more than log2(1e6 + 1): not logarithms"
    elif unit == "zscore" and smallest >= 0:
        looks = "no value below 0: not z-scores"
    elif unit == "zscore" and (typical := float(np.nanmedian(np.abs(values)))) > 5:
        # Single z-scores against a reference group reach 100 and more; typical ones do not.
        looks = f"half of the values are beyond {typical:g} in size: not z-scores"
    elif unit in ("tpm", "fpkm") and largest > 1 and all(_whole(column) for column in values.T):
        looks = "only whole numbers: these look like counts"
    elif unit in ("tpm", "fpkm") and largest < _LOG2_LARGEST and n_genes >= _ENOUGH_GENES:
        looks = f"no value above {largest:g} in {n_genes} genes: these look like logarithms"
    elif unit == "counts" and largest < _LOG2_LARGEST and n_genes >= _ENOUGH_GENES:
        looks = f"no value above {largest:g} in {n_genes} genes: these look like rounded logarithms"
    return [Problem(f"{name}, unit {unit}", looks, f"declare one of {', '.join(UNITS)}")] if looks else []


def _whole(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    return bool((known == np.floor(known)).all())


def _cells(raw: _Raw, hits: _Hits, name: str, advice: str) -> list[Problem]:
    problems: list[Problem] = []
    for column, rows in hits:
        for row in rows[: _SHOWN - len(problems)]:
            place = f"row {row + raw.first_row}" if raw.first_row else "gene"
            where = f"{name} {place} ({raw.genes[row] or 'no gene'}), column {raw.samples[column]}"
            problems.append(Problem(where, f"{raw.values[row, column]:g}", advice))
    return problems + _more(sum(len(rows) for _, rows in hits), name, advice)


def _more(total: int, name: str, advice: str) -> list[Problem]:
    """Say how many cells of a kind there are beyond those listed."""
    rest = total - _SHOWN
    return [Problem(name, f"{rest} more cells of this kind", advice)] if rest > 0 else []


# -- symbols ----------------------------------------------------------------------------------------------


@cache
def _identifiers() -> tuple[frozenset[str], dict[str, str], dict[str, str]]:
    """Return the shipped lists' symbols, {Ensembl or NCBI gene id: symbol} and {former or newer symbol: symbol}."""
    symbols: set[str] = set()
    by_id: dict[str, str] = {}
    by_other: dict[str, str] = {}
    text = (files("pathduet") / "_genesets" / "identifiers.tsv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines(), delimiter="\t"):
        symbols.add(row["gene_symbol"])
        by_id |= dict.fromkeys(filter(None, row["ensembl_id"].split(";")), row["gene_symbol"])
        if row["entrez_id"]:
            by_id[row["entrez_id"]] = row["gene_symbol"]
        by_other |= dict.fromkeys(filter(None, row["other_symbols"].split(";")), row["gene_symbol"])
    return frozenset(symbols), by_id, by_other


def harmonised_symbols(genes: Iterable[str]) -> list[str]:
    """Return each gene by the symbol that the shipped lists use, if they hold it, else as given.

    Ensembl ids lose their version (``ENSG00000164611.13`` -> PTTG1; unknown ones stay, without version). NCBI gene
    (Entrez) ids, bare numbers, become symbols too (``9232`` -> PTTG1; unknown ones stay numbers). A former
    or newer symbol (IL8 -> CXCL8), or one whose hyphens R turned into dots (HLA.A), is replaced only if the
    symbol itself is not among `genes`.
    """
    genes = list(genes)
    symbols, by_id, by_other = _identifiers()
    present = set(genes)
    result = []
    for gene in genes:
        if match := _ENSEMBL.fullmatch(gene):
            result.append(by_id.get(match[1], match[1]))
            continue
        if gene.isdecimal():
            result.append(by_id.get(gene, gene))
            continue
        hyphenated = gene.replace(".", "-")
        known = by_other.get(gene) or (hyphenated if hyphenated in symbols else None)
        result.append(known if known and known not in present else gene)
    return result
