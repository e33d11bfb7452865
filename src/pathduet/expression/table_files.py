"""Files with one cohort's expression, read as they are: genes, samples, numbers, and every cell that is no number."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pathduet.core.errors import InputError, Problem, Problems
from pathduet.core.text_table import read_columns

if TYPE_CHECKING:
    import pandas as pd

#: Column names that hold the gene; the first one present is used, the others are ignored.
GENE_COLUMNS = ("gene_symbol", "gene_name", "ensembl_id", "entrez_id", "gene_id")
#: Cells of one kind that an error lists.
SHOWN = 20


@dataclass
class RawTable:
    """What a file holds, before it is judged: gene of each row, sample of each column, numbers."""

    genes: list[str]
    samples: list[str]
    values: np.ndarray
    first_row: int
    problems: list[Problem] = field(default_factory=list)
    sample_sheet: pd.DataFrame | None = None


def read_raw(path: Path) -> RawTable:
    """Read a file by its ending."""
    name, label = path.name.lower(), f"expression table {path.name}"
    if not path.is_file():
        raise InputError.of(label, "no such file", "give its path")
    try:
        if name.endswith((".tsv", ".tsv.gz", ".csv", ".csv.gz")):
            return _read_text(path, "\t" if ".tsv" in name[-7:] else ",")
        if name.endswith(".parquet"):
            return _read_parquet(path)
        if name.endswith(".h5ad"):
            return _read_h5ad(path)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        found = f"cannot be read ({type(error).__name__}: {error})"
        raise InputError.of(label, found, "check that the file is whole") from error
    advice = "use .tsv, .tsv.gz, .csv, .csv.gz, .parquet or .h5ad"
    raise InputError.of(label, "unknown kind of file", advice)


def _read_text(path: Path, separator: str) -> RawTable:
    import pandas as pd

    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as handle:  # type: ignore[operator]
        lines = csv.reader(handle, delimiter=separator)
        header = [cell.strip() for cell in next(lines, [])]
        first = next(lines, [])
    gene_column = _gene_column(header, path.name)
    if not first:
        raise InputError.of(path.name, "no row below the header", "add one row a gene")
    if len(first) != len(header):
        advice = "give the gene column a name (R's write.table leaves it out)"
        found = f"{len(first)} cells under {len(header)} columns"
        raise InputError.of(f"{path.name} row 2", found, advice)
    try:
        frame = pd.read_csv(
            path, sep=separator, header=None, skiprows=1, names=range(len(header)), index_col=False,
            encoding="utf-8", low_memory=False, dtype={gene_column: str}, skip_blank_lines=False,
            on_bad_lines="error",
        )  # fmt: skip
    except pd.errors.ParserError as error:
        advice = "every row needs as many cells as the header"
        raise InputError.of(path.name, str(error).strip(), advice) from error
    return _from_frame(frame, header, gene_column, path.name)


def _read_parquet(path: Path) -> RawTable:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ValueError as error:
        found = f"cannot be read ({error})"
        raise InputError.of(path.name, found, "check that the file is whole") from error
    if frame.index.name in GENE_COLUMNS:
        frame = frame.reset_index()
    header = [str(column).strip() for column in frame.columns]
    gene_column = _gene_column(header, path.name)
    if frame.empty:
        raise InputError.of(path.name, "no row", "add one row a gene")
    frame.columns = pd.RangeIndex(len(header))
    return _from_frame(frame, header, gene_column, path.name)


def _read_h5ad(path: Path) -> RawTable:
    import anndata
    import pandas as pd

    try:
        adata = anndata.read_h5ad(path)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        found = f"no AnnData file ({error})"
        raise InputError.of(path.name, found, "write it with AnnData.write_h5ad") from error
    if adata.X is None or 0 in adata.shape:
        raise InputError.of(path.name, f"shape {adata.shape}", "needs samples, genes and X")
    values = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    genes = adata.var.get("gene_symbol", adata.var_names)
    sheet = None
    if "patient_id" in adata.obs:
        slides = adata.obs["slide_id"].astype(str) if "slide_id" in adata.obs else ""
        sheet = pd.DataFrame({"patient_id": adata.obs["patient_id"].astype(str), "slide_id": slides})
    samples = [str(sample).strip() for sample in adata.obs_names]
    symbols = ["" if gene != gene else str(gene).strip() for gene in genes]
    return RawTable(symbols, samples, values.T.astype(np.float64), 0, sample_sheet=sheet)


def _gene_column(header: list[str], name: str) -> int:
    for wanted in GENE_COLUMNS:
        if wanted in header:
            return header.index(wanted)
    found = f"columns {', '.join(header[:5])}{' ...' if len(header) > 5 else ''}" if header else "empty file"
    advice = f"name the column with the genes {' or '.join(GENE_COLUMNS)} (genes are rows, samples columns)"
    raise InputError.of(f"{name} header", found, advice)


def _from_frame(frame: pd.DataFrame, header: list[str], gene_column: int, name: str) -> RawTable:
    """Split a frame with numbered columns into genes and numbers, noting every cell that is no number."""
    import pandas as pd

    columns = [i for i, title in enumerate(header) if title not in GENE_COLUMNS]
    if not columns:
        raise InputError.of(f"{name} header", "no sample column", "add one column a sample")
    genes = ["" if gene != gene or gene is None else str(gene).strip() for gene in frame[gene_column]]
    bad, total = Problems(), 0
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
        for row in rows[: SHOWN - len(bad)]:
            where = f"{name} row {row + 2} ({genes[row] or 'no gene'}), column {header[column]}"
            bad.add(where, repr(cells.iloc[row]), advice)
    return RawTable(genes, [header[i] for i in columns], numbers, 2, bad + more_cells(total, name, advice))


def read_sample_sheet(path: Path) -> pd.DataFrame:
    """Return patient_id and slide_id of each sample."""
    label = f"sample sheet {path.name}"
    ids = ("sample_id", "patient_id")
    sheet = read_columns(path, ids, ["slide_id"], label=label, advice="give its path")
    problems = Problems()
    for column in ids:
        for row in sheet.index[sheet[column] == ""]:
            problems.add(f"{path.name} row {row}, {column}", "empty", "give the id")
    twice = sheet.loc[sheet["sample_id"].duplicated() & (sheet["sample_id"] != ""), "sample_id"]
    for sample in sorted(set(twice)):
        problems.add(f"{path.name}, sample {sample}", "more than one row", "keep one row a sample")
    problems.check()
    return sheet.set_index("sample_id")


def more_cells(total: int, name: str, advice: str) -> list[Problem]:
    """Say how many cells of a kind there are beyond those listed."""
    rest = total - SHOWN
    return [Problem(name, f"{rest} more cells of this kind", advice)] if rest > 0 else []
