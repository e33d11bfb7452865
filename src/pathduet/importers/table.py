"""Any cohort that comes as a table of patients, a matrix of genes and samples, and a folder or list of slides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.errors import InputError, Problem
from pathduet.expression.table_checks import UNITS
from pathduet.expression.table_files import GENE_COLUMNS
from pathduet.importers.cohort_sheets import check_survival, safe_id, write_cohort
from pathduet.importers.facts import column_of, read_facts, read_table
from pathduet.importers.report import ImportReport

if TYPE_CHECKING:
    import pandas as pd

_GENE_NAMES = (
    *GENE_COLUMNS,
    "hugo_symbol",
    "symbol",
    "gene",
    "genes",
    "entrez_gene_id",
    "gene_entrez_id",
    "ensembl",
)


def import_table(
    out: Path,
    patients: Path,
    *,
    cohort: str,
    columns: Mapping[str, str] | None = None,
    expression: Path | None = None,
    unit: str = "",
    samples_in_rows: bool = False,
    standardise: bool = False,
    samples: Path | None = None,
    slides: Path | None = None,
) -> ImportReport:
    """Turn a table of patients, an expression matrix and a list of slides into sheets.

    Parameters
    ----------
    out : Path
        Folder of the sheets.
    patients : Path
        One or several rows a patient; columns by their usual names, or as `columns` says.
    cohort : str
        Cohort name.
    columns : mapping, optional
        Column of patients.tsv -> column of the table.
    expression : Path, optional
        Genes in rows, samples in columns; the other way round with `samples_in_rows` (the sample in the first column).
    unit : str
        One of ``expression.table_checks.UNITS``.
    standardise : bool
        Standardise each gene over the table's samples and declare z-scores: for values without a unit that others share
        (arrays). Looks at all samples of the cohort, so only for an external one.
    samples : Path, optional
        Table with sample_id and patient_id (and slide_id). Without it a sample is named like its patient.
    slides : Path, optional
        Table with slide_id, patient_id and path (relative to it, or absolute), optionally mpp, scanner, site, exclude.

    Raises
    ------
    InputError
        If the tables lack what they must have.
    """
    report = ImportReport(cohort)
    table = read_table(patients)
    facts = read_facts(table, patients.name, report, patient=safe_id, columns=columns)
    report.counts |= {f"rows in {patients.name}": len(table), "patients listed": len(facts)}
    check_survival(facts, report, {}, drop=False)
    matrix: pd.DataFrame | None = None
    mapping: pd.DataFrame | None = None
    if expression is not None:
        if unit not in UNITS and not standardise:
            raise InputError([Problem("--unit", repr(unit), f"declare one of {', '.join(UNITS)}")])
        matrix = read_matrix(expression, samples_in_rows=samples_in_rows)
        owner = _owners(samples) if samples is not None else {p: p for p in facts}
        mapping = matrix_samples(
            matrix, owner, expression.name, report, known=set(facts), exact=samples is not None
        )
        matrix = matrix[[matrix.columns[0], *mapping["sample_id"]]]
        if standardise:
            matrix, unit = _standardised(matrix, report), "zscore"
    rows = _slide_rows(slides, report) if slides is not None else []
    write_cohort(out, report, facts, slides=rows, expression=matrix, unit=unit, samples=mapping)
    return report


def read_matrix(path: Path, *, samples_in_rows: bool = False) -> pd.DataFrame:
    """Return an expression matrix: the genes in the first column, called as ``GENE_COLUMNS`` wants, then the samples.

    Raises
    ------
    InputError
        If there is no column of genes, or no sample.
    """
    import pandas as pd

    if path.name.lower().endswith(".parquet"):
        table = pd.read_parquet(path)
    elif path.name.lower().endswith((".xlsx", ".xlsm")):
        table = pd.read_excel(path)
    elif path.is_file():
        comma = path.name.lower().removesuffix(".gz").endswith(".csv")
        table = pd.read_csv(path, sep="," if comma else "\t", encoding="utf-8-sig", low_memory=False)
    else:
        raise InputError([Problem(str(path), "no such file", "give the matrix's path")])
    table.columns = pd.Index([str(column).strip() for column in table.columns])
    if samples_in_rows:
        first = table.columns[0]
        table = table.set_index(first).T.rename_axis("gene_symbol").reset_index()
        table.columns = pd.Index([str(column) for column in table.columns])
    gene = column_of(table, list(_GENE_NAMES)) or (table.columns[0] if not str(table.columns[0]) else None)
    if gene is None:
        # many matrices leave the corner empty, or call it "Unnamed: 0" or "idx"
        first = str(table.columns[0])
        gene = (
            first if first.startswith("Unnamed") or first.lower() in ("idx", "id", "name", "index") else None
        )
    if gene is None:
        found = f"columns {', '.join(map(str, table.columns[:5]))}"
        raise InputError([Problem(path.name, found, f"name the column of genes {' or '.join(GENE_COLUMNS)}")])
    others = {c for c in table.columns if str(c).lower() in {*_GENE_NAMES, "description", "cytoband"}}
    values = [c for c in table.columns if c != gene and c not in others]
    if not values:
        raise InputError([Problem(path.name, "no sample column", "add one column a sample")])
    renamed = table[[gene, *values]].rename(columns={gene: "gene_symbol"})
    renamed["gene_symbol"] = renamed["gene_symbol"].astype(str)
    return renamed


def matrix_samples(
    matrix: pd.DataFrame,
    owner: Mapping[str, str],
    source: str,
    report: ImportReport,
    *,
    known: set[str] | None = None,
    exact: bool = False,
) -> pd.DataFrame:
    """Return sample_id, patient_id, slide_id of a matrix's columns; those of nobody are recorded as left out.

    Parameters
    ----------
    owner : mapping
        Sample id -> patient id. A column may also begin with a patient's id (``C3L-00104-T1``) unless `exact`.
    known : set of str, optional
        Patients that were taken over; all owners if not given.
    """
    import pandas as pd

    known = set(owner.values()) if known is None else known
    rows: list[tuple[str, str, str]] = []
    by_length = sorted(owner, key=len, reverse=True)
    for sample in matrix.columns[1:]:
        name = owner.get(sample)
        if name is None and not exact:
            begin = next(
                (o for o in by_length if sample.startswith(o) and not sample[len(o)].isalnum()), None
            )
            name = owner[begin] if begin else None
        if name is None:
            report.drop("sample", sample, source, "no patient of this id was taken over")
        elif name not in known:
            report.drop("sample", sample, source, "its patient was not taken over", name)
        else:
            rows.append((sample, name, ""))
    if not rows:
        advice = "sample ids must be patient ids, or begin with one; else give a table of samples"
        raise InputError([Problem(source, "no column belongs to a patient", advice)])
    report.counts |= {"samples": len(rows), "genes": len(matrix)}
    return pd.DataFrame(rows, columns=["sample_id", "patient_id", "slide_id"])


def _owners(path: Path) -> dict[str, str]:
    table = read_table(path)
    sample, patient = (
        column_of(table, ["sample_id", "sample"]),
        column_of(table, ["patient_id", "patient", "case_id"]),
    )
    if sample is None or patient is None:
        raise InputError(
            [Problem(path.name, f"columns {', '.join(table.columns)}", "needs sample_id and patient_id")]
        )
    return dict(zip(table[sample], table[patient]))


def _standardised(matrix: pd.DataFrame, report: ImportReport) -> pd.DataFrame:
    values = matrix.iloc[:, 1:].astype(float)
    sd = values.std(axis=1, ddof=0)
    constant = ~(sd > 0)
    if constant.any():
        report.drop(
            "gene",
            f"{int(constant.sum())} rows",
            "expression",
            "constant or incomplete: cannot be standardised",
        )
    scored = values.sub(values.mean(axis=1), axis=0).div(sd.where(sd > 0), axis=0)
    scored.insert(0, matrix.columns[0], matrix.iloc[:, 0])
    report.choose(
        f"each gene standardised over the {values.shape[1]} samples themselves and declared as z-scores"
    )
    return scored[~constant]


def _slide_rows(path: Path, report: ImportReport) -> list[dict[str, Any]]:
    table = read_table(path)
    missing = [c for c in ("slide_id", "patient_id", "path") if c not in table.columns]
    if missing:
        found = f"columns {', '.join(table.columns)}"
        raise InputError([Problem(path.name, found, f"needs {', '.join(missing)} too")])
    rows: dict[str, dict[str, Any]] = {}
    for number, (_, row) in enumerate(table.iterrows(), 2):
        where, key = f"{path.name} row {number}", safe_id(row["slide_id"])
        file = Path(row["path"])
        file = file if file.is_absolute() else path.resolve().parent / file
        if key is None:
            report.drop("slide", row["slide_id"], where, "not a usable id")
        elif not file.is_file() and not row.get("exclude"):
            report.drop("slide", key, where, "no such file", row["path"])
        elif key in rows:
            report.drop("slide", key, where, "its id stands in another row, too")
        else:
            optional = {
                c: row[c] for c in ("mpp", "scanner", "site", "exclude") if c in table.columns and row[c]
            }
            rows[key] = {"slide_id": key, "patient_id": row["patient_id"], "path": str(file), **optional}
    return [rows[key] for key in sorted(rows)]
