"""Expression matrices in published formats: finds the column of gene names and each sample's patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pathduet.core.errors import InputError
from pathduet.core.plural import plural
from pathduet.importers.clinical_values import column_of
from pathduet.importers.cohort_sheets import CohortExpression
from pathduet.importers.report import ImportReport
from pathduet.importers.sample_types import sample_key, tumour_samples

if TYPE_CHECKING:
    import pandas as pd

#: Names of gene columns besides those in ``expression.table_files.GENE_COLUMNS``.
_GENE_NAMES = ( "hugo_symbol", "symbol", "gene", "genes", "entrez_gene_id", "gene_entrez_id", "ensembl",
)  # fmt: skip
#: Meaningless headers that matrices may have above their genes.
_CORNERS = ("idx", "id", "name", "index")


def expression_of(
    matrix: pd.DataFrame,
    unit: str,
    owner: Mapping[str, str],
    report: ImportReport,
    types: Sequence[str],
    *,
    source: str,
    patients: set[str] | None = None,
    exact: bool = False,
    standardise: bool = False,
) -> CohortExpression:
    """Return a matrix's samples of known patients; the other samples are recorded as left out.

    Parameters
    ----------
    matrix : DataFrame
        From :func:`read_matrix`.
    unit : str
        One of ``expression.table_checks.UNITS``.
    owner : mapping
        Sample id -> patient id. Unless `exact`, a column may also begin with a patient's id and end with the
        sample's type (``C3L-00104-T1``); then one sample per patient is taken.
    types : sequence of str
        Sample types to take (``sample_types``), the preferred first.
    patients : set of str, optional
        Patients that were kept; default all owners.
    standardise : bool
        Return z-scores of each gene over the table's samples: for values without a standard unit (arrays).

    Raises
    ------
    InputError
        If the unit is unknown or does not fit the values, a cell is no number, or no sample has a patient.
    """
    from pathduet.expression.table_checks import UNITS

    if unit not in UNITS and not standardise:
        raise InputError.of("--unit", repr(unit), f"declare one of {', '.join(UNITS)}")
    known = set(owner.values()) if patients is None else patients
    samples = _samples_of(matrix, owner, source, report, types, known, exact)
    matrix = matrix[[matrix.columns[0], *samples["sample_id"]]]
    matrix = numbers_of(matrix, "" if standardise else unit, source)
    if standardise:
        matrix, unit = _z_scored(matrix, report), "zscore"
    return CohortExpression(matrix, unit, samples)


def read_matrix(path: Path, *, samples_in_rows: bool = False) -> pd.DataFrame:
    """Return an expression matrix: first the genes, in a column named as in ``GENE_COLUMNS``, then the samples.

    The file has genes in rows and samples in columns, or the reverse with `samples_in_rows` (samples in the first column).

    Raises
    ------
    InputError
        If there is no column of genes, or no sample.
    """
    import pandas as pd

    from pathduet.expression.table_checks import check_samples
    from pathduet.expression.table_files import GENE_COLUMNS, gene_of, read_titled

    names = (*GENE_COLUMNS, *_GENE_NAMES)
    table = read_titled(path)
    if twice := check_samples(list(table.columns[1:]), path.name):
        raise InputError(twice)
    if samples_in_rows:
        first = table.columns[0]
        table = table.set_index(first).T.rename_axis("gene_symbol").reset_index()
        table.columns = pd.Index([str(column) for column in table.columns])
    first = str(table.columns[0])
    gene = column_of(table, names)
    if gene is None and (not first or first.startswith("Unnamed") or first.lower() in _CORNERS):
        gene = first
    if gene is None:
        found = f"columns {', '.join(map(str, table.columns[:5]))}"
        raise InputError.of(path.name, found, f"name the column of genes {' or '.join(GENE_COLUMNS)}")
    others = {c for c in table.columns if str(c).lower() in {*names, "description", "cytoband"}}
    values = [c for c in table.columns if c != gene and c not in others]
    if not values:
        raise InputError.of(path.name, "no sample column", "add one column per sample")
    renamed = table[[gene, *values]].rename(columns={gene: "gene_symbol"})
    renamed["gene_symbol"] = renamed["gene_symbol"].map(gene_of)
    return renamed


def numbers_of(matrix: pd.DataFrame, unit: str, source: str) -> pd.DataFrame:
    """Return a matrix with its cells as numbers that a run accepts.

    Parameters
    ----------
    matrix : DataFrame
        From :func:`read_matrix`; its index starts with the number of its first row in the file.
    unit : str
        One of ``expression.table_checks.UNITS``; "" only requires numbers.
    source : str
        The user's file.

    Raises
    ------
    InputError
        Listing cells, by row and column of the file, that are not numbers or do not fit the unit.
    """
    import pandas as pd

    from pathduet.expression.table_checks import check_values
    from pathduet.expression.table_files import from_frame

    frame = matrix.set_axis(range(matrix.shape[1]), axis=1).reset_index(drop=True)
    raw = from_frame(frame, ["gene_symbol", *map(str, matrix.columns[1:])], 0, source, int(matrix.index[0]))
    if problems := raw.problems or (check_values(raw, unit, source) if unit else []):
        raise InputError(problems)
    numbers = pd.DataFrame(raw.values, index=matrix.index, columns=matrix.columns[1:])
    numbers.insert(0, matrix.columns[0], matrix.iloc[:, 0])
    return numbers


def _samples_of(
    matrix: pd.DataFrame,
    owner: Mapping[str, str],
    source: str,
    report: ImportReport,
    types: Sequence[str],
    known: set[str],
    exact: bool,
) -> pd.DataFrame:
    import pandas as pd

    keys = Counter(map(sample_key, owner))
    by_key = {sample_key(name): patient for name, patient in owner.items() if keys[sample_key(name)] == 1}
    owners: dict[str, str] = {}
    for sample in matrix.columns[1:]:
        parts = sample_key(sample).split(".")
        beginnings = [".".join(parts[:n]) for n in range(len(parts), 0, -1)][: 1 if exact else None]
        name = owner.get(sample) or next((by_key[begin] for begin in beginnings if begin in by_key), None)
        if name is None:
            report.drop("sample", sample, source, "no patient of this id was imported")
        elif name not in known:
            report.drop("sample", sample, source, "its patient was not imported", name)
        else:
            owners[sample] = name
    owners = tumour_samples(owners, source, report, types, several=exact)
    if not owners:
        left = "; ".join(sorted({item.reason for item in report.dropped if item.where == source}))
        advice = "sample ids must be patient ids, or begin with one; else give a table of samples"
        raise InputError.of(source, f"no column belongs to a patient ({left})", advice)
    report.counts |= {"samples": len(owners), "genes": len(matrix)}
    rows = [(sample, owners[sample], "") for sample in matrix.columns[1:] if sample in owners]
    return pd.DataFrame(rows, columns=["sample_id", "patient_id", "slide_id"])


def _z_scored(matrix: pd.DataFrame, report: ImportReport) -> pd.DataFrame:
    values = matrix.iloc[:, 1:].astype(float)
    sd = values.std(axis=1, ddof=0)
    constant = ~(sd > 0)
    if constant.any():
        reason = "constant or incomplete: cannot be standardised"
        report.drop("gene", plural(int(constant.sum()), "row"), "expression", reason)
    scored = values.sub(values.mean(axis=1), axis=0).div(sd.where(sd > 0), axis=0)
    scored.insert(0, matrix.columns[0], matrix.iloc[:, 0])
    report.choose(
        f"each gene standardised over the samples themselves ({values.shape[1]}) and declared as z-scores"
    )
    return scored[~constant]
