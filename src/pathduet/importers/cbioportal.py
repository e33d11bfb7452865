"""A cBioPortal study folder of TCGA: its clinical tables and its RNA matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pathduet.cohort.tcga_barcode import parse_barcode, patient_of
from pathduet.core.errors import InputError
from pathduet.importers.clinical_values import Patients, merge_values, read_table, read_values
from pathduet.importers.cohort_sheets import CohortExpression
from pathduet.importers.report import ImportReport

SAMPLE_RULE = "one sample a patient: of sample type {types}, of several the first vial"


def read_study_clinical(folder: Path, report: ImportReport) -> Patients:
    """Return what the study's clinical tables say of its patients."""
    patients: Patients = {}
    for name in ("data_clinical_patient.txt", "data_clinical_sample.txt"):
        if (folder / name).is_file():
            # four lines that begin with # stand above the header
            table = read_table(folder / name, comment="#")
            told = read_values(table, name, report, patient=patient_of)
            patients = merge_values(patients, told, new_patients=True)
    return patients


def read_study_expression(
    folder: Path, report: ImportReport, sample_types: Sequence[str]
) -> CohortExpression:
    """Return the study's RNA matrix: RSEM if it is there (as per-million values), else z-scores."""
    import pandas as pd

    names = ("data_mrna_seq_v2_rsem.txt", "data_RNA_Seq_v2_expression_median.txt", "data_mrna_seq_tpm.txt",
             "data_mrna_seq_fpkm.txt", "data_mrna_seq_v2_rsem_zscores_ref_all_samples.txt")  # fmt: skip
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise InputError.of(folder.name, "no RNA matrix", f"needs one of {', '.join(names)}")
    table = pd.read_csv(path, sep="\t", comment="#", dtype={"Hugo_Symbol": str, "Entrez_Gene_Id": str})
    if "Hugo_Symbol" not in table and "Entrez_Gene_Id" not in table:
        raise InputError.of(path.name, "no column Hugo_Symbol or Entrez_Gene_Id", "give a cBioPortal matrix")
    symbols = table.get("Hugo_Symbol", pd.Series(None, index=table.index, dtype=object))
    entrez = table.get("Entrez_Gene_Id", pd.Series(None, index=table.index, dtype=object))
    genes = symbols.where(symbols.notna() & (symbols != ""), entrez).fillna("").astype(str)
    unnamed = genes == ""
    if unnamed.any():
        report.drop("gene", f"{int(unnamed.sum())} rows", path.name, "neither symbol nor Entrez id")
    kept = _one_sample_a_patient(
        [c for c in table.columns if c not in ("Hugo_Symbol", "Entrez_Gene_Id", "Cytoband")],
        path.name,
        report,
        sample_types,
    )
    values = table.loc[~unnamed, list(kept)].apply(pd.to_numeric, errors="coerce")
    unit = "tpm"
    if "zscores" in path.name:
        unit = "zscore"
    elif "fpkm" in path.name:
        unit = "fpkm"
    elif "tpm" not in path.name:
        values = values / values.sum(axis=0) * 1e6
        report.choose(
            f"{path.name}: RSEM estimates rescaled to one million a sample and declared tpm (no gene lengths: CPM)"
        )
    report.counts |= {"samples": len(kept), "genes": len(values)}
    expression = pd.concat([genes[~unnamed].rename("gene_symbol"), values], axis=1)
    rows = [(sample, patient, "") for sample, patient in kept.items()]
    return CohortExpression(
        expression, unit, pd.DataFrame(rows, columns=["sample_id", "patient_id", "slide_id"])
    )


def _one_sample_a_patient(
    samples: Iterable[str], source: str, report: ImportReport, sample_types: Sequence[str]
) -> dict[str, str]:
    """Return {sample: patient} by :data:`SAMPLE_RULE`."""
    report.choose(SAMPLE_RULE.format(types=" before ".join(sample_types)))
    by_patient: dict[str, list[tuple[int, str, str]]] = {}
    for sample in samples:
        barcode = parse_barcode(sample)
        if barcode is None:
            report.drop("sample", sample, source, "no TCGA barcode")
        elif barcode.sample_type not in sample_types:
            report.drop("sample", sample, source, f"another sample type: {barcode.sample_type_name}")
        else:
            rank = sample_types.index(barcode.sample_type)
            by_patient.setdefault(barcode.patient, []).append((rank, barcode.vial, sample))
    kept = {}
    for patient, found in sorted(by_patient.items()):
        (_, _, first), *others = sorted(found)
        kept[first] = patient
        for _, _, sample in others:
            report.drop("sample", sample, source, "another sample of the patient was taken", first)
    return kept
