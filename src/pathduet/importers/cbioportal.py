"""A cBioPortal study folder of TCGA: its clinical tables and its RNA matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pathduet.cohort.tcga_barcode import patient_of
from pathduet.core.errors import InputError
from pathduet.core.plural import plural
from pathduet.importers.clinical_values import read_table
from pathduet.importers.cohort_sheets import CohortExpression
from pathduet.importers.matrix import numbers_of
from pathduet.importers.report import ImportReport
from pathduet.importers.sample_types import tumour_samples

if TYPE_CHECKING:
    import pandas as pd

#: Batch correction of the Pan-Cancer Atlas made 0.6 % of its RSEM values negative; a larger share means another quantity.
_MOST_NEGATIVE = 0.05


def read_study_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the study's clinical tables by file name; four lines that begin with # precede their headers."""
    names = ("data_clinical_patient.txt", "data_clinical_sample.txt")
    return {name: read_table(folder / name, comment="#") for name in names if (folder / name).is_file()}


def read_study_expression(
    folder: Path, report: ImportReport, sample_types: Sequence[str]
) -> CohortExpression:
    """Return the study's RNA matrix: RSEM if available (as per-million values), else z-scores."""
    import pandas as pd

    from pathduet.expression.table_files import read_titled

    names = ("data_mrna_seq_v2_rsem.txt", "data_RNA_Seq_v2_expression_median.txt", "data_mrna_seq_tpm.txt",
             "data_mrna_seq_fpkm.txt", "data_mrna_seq_v2_rsem_zscores_ref_all_samples.txt")  # fmt: skip
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise InputError.of(folder.name, "no RNA matrix", f"needs one of {', '.join(names)}")
    table = read_titled(path)
    if "Hugo_Symbol" not in table and "Entrez_Gene_Id" not in table:
        raise InputError.of(path.name, "no column Hugo_Symbol or Entrez_Gene_Id", "give a cBioPortal matrix")
    empty = pd.Series("", index=table.index)
    symbols, entrez = (
        table.get(name, empty).map(lambda cell: "" if cell is None or cell != cell else str(cell))
        for name in ("Hugo_Symbol", "Entrez_Gene_Id")
    )
    genes = symbols.where(symbols != "", entrez.str.removesuffix(".0"))
    unnamed = genes == ""
    if unnamed.any():
        report.drop("gene", plural(int(unnamed.sum()), "row"), path.name, "neither symbol nor Entrez id")
    owners: dict[str, str] = {}
    for sample in table.columns:
        if sample in ("Hugo_Symbol", "Entrez_Gene_Id", "Cytoband"):
            continue
        if patient := patient_of(sample):
            owners[sample] = patient
        else:
            report.drop("sample", sample, path.name, "no TCGA barcode")
    kept = tumour_samples(owners, path.name, report, sample_types)
    matrix = pd.concat([genes.rename("gene_symbol"), table[list(kept)]], axis=1)
    rescaled = not any(word in path.name for word in ("zscores", "fpkm", "tpm"))
    unit = "zscore" if "zscores" in path.name else "fpkm" if "fpkm" in path.name else "tpm"
    matrix = numbers_of(matrix, "" if rescaled else unit, path.name)[~unnamed]
    if rescaled:
        values = _without_negatives(matrix.iloc[:, 1:], genes, path.name, report)
        matrix = pd.concat([matrix["gene_symbol"], values / values.sum(axis=0) * 1e6], axis=1)
        report.choose(
            f"{path.name}: RSEM estimates rescaled to one million a sample and declared tpm (no gene lengths: CPM)"
        )
    report.counts |= {"samples": len(kept), "genes": len(matrix)}
    rows = [(sample, patient, "") for sample, patient in kept.items()]
    return CohortExpression(matrix, unit, pd.DataFrame(rows, columns=["sample_id", "patient_id", "slide_id"]))


def _without_negatives(
    values: pd.DataFrame, genes: pd.Series, source: str, report: ImportReport
) -> pd.DataFrame:
    """Return RSEM estimates with the few negative values, left by batch correction, set to 0."""
    import numpy as np

    negative = values < 0
    count, share = int(negative.to_numpy().sum()), float(negative.to_numpy().mean())
    if not count:
        return values
    row, place = divmod(int(np.nanargmin(values.to_numpy())), values.shape[1])
    number, lowest = int(values.index.to_numpy()[row]), float(values.to_numpy()[row, place])
    where = f"row {number} ({genes[number]}), column {values.columns[place]}"
    if share > _MOST_NEGATIVE:
        found = f"{lowest:g}; {share:.0%} of the values are negative: no RSEM estimates"
        raise InputError.of(
            f"{source} {where}", found, "give the study's file of estimates, not of logarithms or z-scores"
        )
    report.choose(
        f"{source}: {plural(count, 'negative value')} ({share:.2%}, by batch correction) set to 0; the lowest is {lowest:g} in {where}"
    )
    return values.clip(lower=0)
