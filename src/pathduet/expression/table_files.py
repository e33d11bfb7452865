"""Files with one cohort's expression, read unchanged: genes, samples, numbers, and every non-numeric cell."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import TextIOBase
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from pathduet.core.errors import InputError, Problem, Problems
from pathduet.core.plural import plural
from pathduet.core.sheet_file import open_text, read_lines, too_many_cells
from pathduet.core.text_table import read_columns
from pathduet.expression.identifiers import harmonised_symbols, known_identifiers

if TYPE_CHECKING:
    import pandas as pd

#: Column names that hold the gene; the first one present is used, the others are ignored.
GENE_COLUMNS = ("gene_symbol", "gene_name", "ensembl_id", "entrez_id", "gene_id")
#: Most cells of one kind that an error lists.
SHOWN = 20
_TEXT = (".tsv", ".txt", ".tab", ".csv", ".gct", ".cct")
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
#: Summary rows of HTSeq and STAR.
_SUMMARY_ROW = re.compile(r"__\w+|N_(unmapped|multimapping|noFeature|ambiguous)")
#: Dates that Excel makes of MARCH1, SEPT2, DEC1: 1-Mar, Mar-01, 01.03.2021, 2021-03-01.
_DATE = re.compile(
    r"\d{1,2}-[A-Z][a-z]{2}(-\d{2,4})?|[A-Z][a-z]{2}-\d{1,2}|\d{4}-\d\d-\d\d( 00:00:00)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}"
)
_DAY = re.compile(r"3[6-9]\d{3}|4\d{4}|5[0-4]\d{3}")


@dataclass
class RawTable:
    """Contents of a file before any check: gene of each row, sample of each column, numbers.

    Rows without a gene have an empty gene and no numbers.
    """

    genes: list[str]
    samples: list[str]
    values: np.ndarray
    first_row: int
    problems: list[Problem] = field(default_factory=list)
    sample_sheet: pd.DataFrame | None = None
    warnings: list[str] = field(default_factory=list)


def read_raw(path: Path) -> RawTable:
    """Read a file by its extension."""
    if path.name.lower().endswith(".h5ad"):
        raw = _read_h5ad(_there(path))
    else:
        header, frame, first_row = read_table(path)
        raw = from_frame(frame, header, _gene_column(header, path.name), path.name, first_row)
    _leave_out_no_genes(raw)
    return raw


def read_table(path: Path) -> tuple[list[str], pd.DataFrame, int]:
    """Read a matrix of genes and samples unchanged from a text file, a workbook or Parquet.

    Text is UTF-8, or UTF-16 with a byte-order mark, gzipped or not, with tabs, commas or semicolons between cells (the most
    frequent in the header); in a file with semicolons, numbers may have decimal commas. GCT 1.2 is text with two lines before
    its header.

    Returns
    -------
    header : list of str
    frame : DataFrame
        The rows below it; columns are numbered.
    first_row : int
        Number of the first of them in the file.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another kind, or has no row.
    """
    import pandas as pd

    name = _there(path).name.lower().removesuffix(".gz")
    try:
        if name.endswith(_TEXT):
            header, frame, first_row = _read_text(path)
        elif name.endswith(".xlsx"):
            header, *rows = read_lines(path) or [[]]
            width = max(map(len, [header, *rows]))
            header = header + [""] * (width - len(header))
            first_row = 2
            frame = pd.DataFrame(
                [[cell or None for cell in row] for row in rows], columns=range(width), dtype=object
            )
        elif name.endswith(".parquet"):
            if find_spec("pyarrow") is None:
                advice = "pip install 'pathduet[parquet]', or give .tsv.gz or .h5ad"
                raise InputError.of(f"expression table {path.name}", "Parquet needs pyarrow", advice)
            frame, first_row = pd.read_parquet(path), 2
            if frame.index.name in GENE_COLUMNS:
                frame = frame.reset_index()
            header = [str(column).strip() for column in frame.columns]
            frame.columns = pd.RangeIndex(len(header))
        else:
            advice = f"use {', '.join(_TEXT)} (also .gz), .xlsx or .parquet; .h5ad only in the configuration's expression.tables"
            raise InputError.of(f"expression table {path.name}", "unknown kind of file", advice)
    except (InputError, MemoryError):
        raise
    # gzip, the text parsers and the Parquet reader raise all kinds of errors on a damaged file
    except Exception as error:
        found = f"cannot be read ({type(error).__name__}: {str(error).strip()})"
        advice = "check that the file is complete, and that every row has as many cells as the header"
        if isinstance(error, UnicodeDecodeError):
            advice = "save it as UTF-8"
        raise InputError.of(f"expression table {path.name}", found, advice) from error
    if frame.empty:
        raise InputError.of(path.name, "no row below the header", "add one row per gene")
    # spreadsheets leave empty columns behind
    kept = [i for i, title in enumerate(header) if title or frame[i].notna().any()]
    frame = frame[kept]
    frame.columns = pd.RangeIndex(len(kept))
    return [header[i] for i in kept], frame, first_row


def read_titled(path: Path) -> pd.DataFrame:
    """Return the matrix of :func:`read_table` with its header as columns; the index is each row's number in the file."""
    import pandas as pd

    header, frame, first_row = read_table(path)
    frame.columns = pd.Index(header)
    frame.index += first_row
    return frame


def _there(path: Path) -> Path:
    if not path.is_file():
        raise InputError.of(f"expression table {path.name}", "no such file", "give its path")
    return path


def _read_text(path: Path) -> tuple[list[str], pd.DataFrame, int]:
    import pandas as pd

    skipped = 0
    with open_text(path) as handle:
        line = handle.readline()
        if not line.strip():
            raise InputError.of(path.name, "empty file, or no header in its first line", "add the header")
        if line.startswith("!"):
            advice = (
                "name the rows by genes (its platform's annotation has them) and give genes x samples only"
            )
            raise InputError.of(path.name, "a GEO series matrix: its rows are probes of an array", advice)
        if line.startswith("# gene-model"):
            advice = "join the samples' files: pathduet import tcga"
            raise InputError.of(path.name, "the GDC's STAR counts of one sample", advice)
        if line.startswith("#1.") and not line.startswith("#1.2"):
            found = f"GCT {line.strip()[1:]}, with rows and columns of annotation"
            raise InputError.of(path.name, found, "give genes x samples only, or GCT 1.2")
        if gct := line.startswith("#1.2"):
            skipped, line = 2, [handle.readline(), handle.readline()][1]
        while line.startswith("#"):
            skipped, line = skipped + 1, handle.readline()
        usual = "," if ".csv" in path.name.lower() else "\t"
        separator = max("\t,;", key=lambda mark: (line.count(mark), mark == usual))
        second = handle.readline()
        header, first = (
            [cell.strip() for cell in next(csv.reader([text], delimiter=separator), [])]
            for text in (line, second)
        )
        # a gene's zeros have no comma: check the rows below
        comma = separator == ";" and any(
            _DECIMAL_COMMA.fullmatch(cell.strip(' "\r\n'))
            for text in (second, *islice(handle, 200))
            for cell in text.split(";")
        )
    if gct:
        header = [{"Name": "gene_id", "Description": "gene_name"}.get(title, title) for title in header]
    if first and first[-1:] == [""] and len(first) == len(header) + 1:
        header.append("")
    if len(first) > len(header) and header:
        raise InputError([too_many_cells(first, header, f"{path.name} row {skipped + 2}")])
    with open_text(path) as handle:
        frame = pd.DataFrame() if not first else pd.read_csv(
            _Checked(handle), sep=separator, header=None, skiprows=skipped + 1, names=range(len(header)), index_col=False,
            low_memory=False, dtype={i: str for i, title in enumerate(header) if title in GENE_COLUMNS},
            skip_blank_lines=False, on_bad_lines="error", decimal="," if comma else ".",
        )  # fmt: skip
    return header, frame, skipped + 2


class _Checked(TextIOBase):
    """Text for pandas, which would silently end a cell at a NUL byte."""

    def __init__(self, text: TextIO) -> None:
        self.text = text

    def read(self, size: int | None = None) -> str:
        chunk = self.text.read(-1 if size is None else size)
        if "\0" in chunk:
            raise ValueError("it holds NUL bytes")
        return chunk


def _read_h5ad(path: Path) -> RawTable:
    import anndata
    import pandas as pd

    try:
        adata = anndata.read_h5ad(path)
        if adata.X is None or 0 in adata.shape:
            raise ValueError(f"shape {adata.shape}, no X")
        values = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
        values = values.T.astype(np.float64)
    except MemoryError:
        raise
    # HDF5 and its readers raise all kinds of errors on other files
    except Exception as error:
        found = f"no AnnData file with samples, genes and numbers ({type(error).__name__}: {error})"
        raise InputError.of(path.name, found, "write it with AnnData.write_h5ad") from error
    genes = adata.var.get("gene_symbol", adata.var_names)
    sheet = None
    if "patient_id" in adata.obs:
        slides = adata.obs["slide_id"].astype(str) if "slide_id" in adata.obs else ""
        sheet = pd.DataFrame({"patient_id": adata.obs["patient_id"].astype(str), "slide_id": slides})
    samples = [str(sample).strip() for sample in adata.obs_names]
    return RawTable(list(map(gene_of, genes)), samples, values, 0, sample_sheet=sheet)


def gene_of(cell: object) -> str:
    """Return a cell's gene; Entrez ids that were read as numbers lose their ``.0``."""
    if cell is None or cell != cell:
        return ""
    gene = str(cell).strip()
    return gene[:-2] if re.fullmatch(r"\d+\.0", gene) else gene


def _gene_column(header: list[str], name: str) -> int:
    for wanted in GENE_COLUMNS:
        if wanted in header:
            return header.index(wanted)
    found = f"columns {', '.join(header[:5])}{' ...' if len(header) > 5 else ''}" if header else "empty file"
    advice = f"name the gene column {' or '.join(GENE_COLUMNS)} (genes are rows, samples columns)"
    if 2 * len(known_identifiers(header[1:])) > len(header) > 2:
        found = f"samples in rows: its columns are genes, {', '.join(header[1:4])}, ..."
        advice = "transpose it: genes are rows, samples columns"
    raise InputError.of(f"{name} header", found, advice)


def _leave_out_no_genes(raw: RawTable) -> None:
    """Clear gene and numbers of rows that are not genes: counters' summaries, and symbols that Excel read as dates.

    Where genes are symbols, a number of the years 2000 to 2049, in days since 1900, is such a date unless it is an Entrez id.
    """
    symbols = 2 * sum(gene.isdecimal() for gene in raw.genes) < len(raw.genes)
    summaries = [i for i, gene in enumerate(raw.genes) if _SUMMARY_ROW.fullmatch(gene)]
    dates = [
        i for i, gene in enumerate(raw.genes)
        if _DATE.fullmatch(gene) or (symbols and _DAY.fullmatch(gene) and harmonised_symbols([gene]) == [gene])
    ]  # fmt: skip
    for rows, what in (
        (summaries, "summaries of a read counter"),
        (dates, "dates or numbers, which Excel makes of genes such as MARCH1 or SEPT2"),
    ):
        if rows:
            shown = ", ".join(raw.genes[i] for i in rows[:3])
            raw.warnings.append(f"left out: {what}: {plural(len(rows), 'row')} ({shown})")
    for i in (*summaries, *dates):
        raw.genes[i] = ""
        raw.values[i] = np.nan


def from_frame(
    frame: pd.DataFrame, header: list[str], gene_column: int, name: str, first_row: int
) -> RawTable:
    """Split a frame with numbered columns into genes and numbers, recording every non-numeric cell."""
    import pandas as pd

    columns = [i for i, title in enumerate(header) if title not in GENE_COLUMNS]
    if not columns:
        raise InputError.of(f"{name} header", "no sample column", "add one column per sample")
    genes = list(map(gene_of, frame[gene_column]))
    bad, total, worded = Problems(), 0, []
    advice = "needs a number or an empty cell"
    numbers = np.empty((len(frame), len(columns)), dtype=np.float64)
    for target, column in enumerate(columns):
        cells = frame[column]
        if pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells):
            numbers[:, target] = cells.to_numpy(dtype=np.float64, na_value=np.nan)
            continue
        said = cells.map(
            lambda cell: isinstance(cell, str | int | float | np.number) and not isinstance(cell, bool)
        ).to_numpy(dtype=bool)
        words = cells.map(lambda cell: str(cell).strip().casefold() in ("true", "false")).to_numpy(dtype=bool)
        parsed = pd.to_numeric(cells.astype(object).where(said & ~words), errors="coerce")
        numbers[:, target] = parsed.to_numpy(dtype=np.float64, na_value=np.nan)
        rows = np.flatnonzero(cells.notna().to_numpy() & np.isnan(numbers[:, target]))
        if len(rows) > 2 and np.isnan(numbers[:, target]).all():
            worded.append(target)
            continue
        total += len(rows)
        for row in rows[: SHOWN - len(bad)]:
            where = f"{name} row {row + first_row} ({genes[row] or 'no gene'}), column {header[column]}"
            bad.add(where, repr(cells.iloc[row])[:80], advice)
    samples = [header[i] for i in columns]
    bad += more_cells(total, name, advice)
    if worded:
        where = f"{name}, column {', '.join(samples[i] for i in worded[:3])}"
        where += f" and {len(worded) - 3} more" if len(worded) > 3 else ""
        some = ", ".join(map(repr, frame[columns[worded[0]]].dropna()[:3]))
        advice = "remove it if it is not a sample; write numbers with decimal points"
        bad.add(where, f"no cell is a number ({some[:80]}, ...)", advice)
        samples = [sample for i, sample in enumerate(samples) if i not in worded]
        numbers = np.delete(numbers, worded, axis=1)
    return RawTable(genes, samples, numbers, first_row, bad)


def read_sample_sheet(path: Path) -> pd.DataFrame:
    """Return patient_id and slide_id of each sample."""
    label = f"sample sheet {path.name}"
    ids = ("sample_id", "patient_id")
    sheet = read_columns(path, ids, ["slide_id"], label=label, advice="give its path")
    problems = Problems()
    if sheet.empty:
        problems.add(label, "no row below the header", "add one row per sample")
    for column in ids:
        for row in sheet.index[sheet[column] == ""]:
            problems.add(f"{path.name} row {row}, {column}", "empty", "give the id")
    twice = sheet.loc[sheet["sample_id"].duplicated() & (sheet["sample_id"] != ""), "sample_id"]
    for sample in sorted(set(twice)):
        problems.add(f"{path.name}, sample {sample}", "more than one row", "keep one row per sample")
    problems.check()
    return sheet.set_index("sample_id")


def more_cells(total: int, name: str, advice: str) -> list[Problem]:
    """Say how many cells of a kind there are beyond those listed."""
    rest = total - SHOWN
    return [Problem(name, plural(rest, "more cell") + " of this kind", advice)] if rest > 0 else []
