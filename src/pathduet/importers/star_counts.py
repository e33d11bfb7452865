"""Expression of a GDC download: one augmented STAR-counts file per sample, in folders named by UUID."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.cohort.tcga_barcode import Barcode, parse_barcode
from pathduet.core.errors import InputError
from pathduet.core.plural import plural
from pathduet.importers.clinical_values import column_of, read_table
from pathduet.importers.cohort_sheets import CohortExpression
from pathduet.importers.report import ImportReport
from pathduet.importers.slide_rows import files_with_ending

if TYPE_CHECKING:
    import numpy as np

#: Column of the augmented STAR-counts format, and the unit to declare. FPKM-UQ differs from FPKM by one factor
#: per sample, which the conversion to TPM cancels.
QUANTITIES: dict[str, tuple[str, str]] = {
    "counts": ("unstranded", "counts"),
    "tpm": ("tpm_unstranded", "tpm"),
    "fpkm": ("fpkm_unstranded", "fpkm"),
    "fpkm_uq": ("fpkm_uq_unstranded", "fpkm"),
}
STAR_ENDING = (".augmented_star_gene_counts.tsv", ".augmented_star_gene_counts.tsv.gz")
ALIQUOT_RULE = (
    "one expression file per patient: of sample type {types}; of several the first vial, then analyte R (RNA) before "
    "others, then the latest plate, then the first file name"
)


@dataclass(frozen=True)
class StarFile:
    """One expression file and its sample."""

    path: Path
    barcode: Barcode


def find_star_files(
    folder: Path,
    sample_sheet: Path | None,
    metadata: Path | None,
    report: ImportReport,
    sample_types: Sequence[str],
) -> list[StarFile]:
    """Return one STAR-counts file per patient, by :data:`ALIQUOT_RULE`; the others are recorded as left out.

    Of several `sample_types` a patient's first one counts.
    """
    paths = files_with_ending(folder, STAR_ENDING)
    report.counts["expression files"] = len(paths)
    if not paths:
        return []
    if sample_sheet is None and metadata is None:
        advice = "give --sample-sheet (GDC: Cart, Sample Sheet) or --metadata (Cart, Metadata)"
        raise InputError.of(f"{len(paths)} STAR-counts files", "named by UUID, not by patient", advice)
    owner = _owners(sample_sheet, metadata, report)
    named: list[StarFile] = []
    for path in paths:
        where = str(path.relative_to(folder))
        # the file's name is unique, its folder is the file's UUID: either identifies it
        text = owner.get(path.name.removesuffix(".gz")) or owner.get(path.parent.name)
        barcode = parse_barcode(text) if text else None
        if barcode is None:
            reason = "no TCGA barcode" if text else "not in the sample sheet"
            report.drop("sample", path.name, where, reason, text or "")
        elif barcode.sample_type not in sample_types:
            report.drop("sample", barcode.text, where, f"another sample type: {barcode.sample_type_name}")
        else:
            named.append(StarFile(path, barcode))
    report.choose(ALIQUOT_RULE.format(types=" before ".join(sample_types)))
    by_patient: dict[str, list[StarFile]] = {}
    for file in named:
        by_patient.setdefault(file.barcode.patient, []).append(file)
    kept = []
    for patient in sorted(by_patient):
        first, *rest = sorted(
            by_patient[patient],
            key=lambda file: (sample_types.index(file.barcode.sample_type), *_preference(file)),
        )
        kept.append(first)
        for file in rest:
            chosen = f"{first.barcode.text} ({first.path.name}) was taken"
            where, reason = str(file.path.relative_to(folder)), "another aliquot of the patient was used"
            report.drop("sample", file.barcode.text, where, reason, chosen)
    return kept


def _preference(file: StarFile) -> tuple[Any, ...]:
    barcode = file.barcode
    plate = barcode.rest.split("-")[0]
    latest_first = tuple(-ord(letter) for letter in plate)
    # a known plate comes before an unknown one
    return (barcode.vial, barcode.analyte not in ("R", ""), not plate, latest_first, file.path.name)


def _owners(sample_sheet: Path | None, metadata: Path | None, report: ImportReport) -> dict[str, str]:
    """Return {file name or UUID: barcode}; the metadata's aliquots override the sample sheet's samples."""
    owner: dict[str, str] = {}
    if sample_sheet is not None:
        table = read_table(sample_sheet)
        found_columns = [column_of(table, [name]) for name in ("file_id", "file_name", "sample_id")]
        columns = [column for column in found_columns if column is not None]
        if len(columns) < 3:
            found = f"columns {', '.join(table.columns)}"
            raise InputError.of(sample_sheet.name, found, "needs File ID, File Name and Sample ID")
        for identifier, name, sample in table[columns].itertuples(index=False):
            if len({part.strip() for part in sample.split(",")}) > 1:
                # one file of several samples (tumour-normal pairs): never an expression file
                continue
            sample = sample.split(",")[0].strip()
            owner[name.removesuffix(".gz")] = sample
            owner[identifier] = sample
    if metadata is not None:
        for entry in _read_metadata(metadata):
            aliquots = {
                e["entity_submitter_id"]
                for e in entry.get("associated_entities", [])
                if "entity_submitter_id" in e
            }
            if len(aliquots) == 1:
                aliquot = aliquots.pop()
                owner[str(entry.get("file_name", "")).removesuffix(".gz")] = aliquot
                owner[str(entry.get("file_id", ""))] = aliquot
        report.choose("aliquots are those of the cart's metadata")
    owner.pop("", None)
    return owner


def _read_metadata(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError.of(path.name, f"cannot be read ({error})", "give the cart's metadata JSON") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError.of(path.name, "not a list of files", "give the cart's metadata JSON")
    return entries


def read_star_file(path: Path, column: str) -> tuple[list[str], list[str], np.ndarray]:
    """Return Ensembl ids (with version), symbols and one column of a STAR-counts file, without its N_ rows.

    Raises
    ------
    ValueError
        If the file does not have the augmented format, or is incomplete.
    """
    import numpy as np
    import pandas as pd

    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as handle:  # type: ignore[operator]
        comment = handle.readline().startswith("#")
    try:
        table = pd.read_csv(
            path, sep="\t", skiprows=1 if comment else 0, usecols=["gene_id", "gene_name", column],
            dtype={"gene_id": str, "gene_name": str},
        )  # fmt: skip
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"not an augmented STAR-counts table with the column {column}") from error
    table = table[~table["gene_id"].astype(str).str.startswith("N_")]
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
    if not len(table) or np.isnan(values).any() or table["gene_name"].isna().any():
        raise ValueError("rows without gene or value: the file is not complete")
    return table["gene_id"].tolist(), table["gene_name"].tolist(), values


def read_star_files(files: Sequence[StarFile], quantity: str, report: ImportReport) -> CohortExpression:
    """Read one quantity of every file into a table of genes and samples (columns: sample barcodes).

    Files are joined by gene id. A file that is not a STAR-counts table, or whose genes differ from most files', is
    left out with the reason: it uses another gene model, or was truncated.
    """
    import numpy as np
    import pandas as pd

    from pathduet.core.progress import track

    column = QUANTITIES[quantity][0]
    read: list[tuple[StarFile, list[str], list[str], np.ndarray]] = []
    for file in track(files, len(files), "reading expression", "files"):
        try:
            read.append((file, *read_star_file(file.path, column)))
        except ValueError as error:
            report.drop("sample", file.barcode.text, file.path.name, str(error))
    if not read:
        raise InputError.of("STAR-counts files", "none can be read", "see the report; download them again")
    models: dict[tuple[str, ...], int] = {}
    for _, genes, _, _ in read:
        key = tuple(sorted(genes))
        models[key] = models.get(key, 0) + 1
    usual = max(models, key=lambda key: (models[key], len(key)))
    genes, symbols = next((g, s) for _, g, s, _ in read if tuple(sorted(g)) == usual)
    columns: dict[str, np.ndarray] = {}
    rows = []
    for file, own, _, values in read:
        if own != genes:
            if tuple(sorted(own)) != usual:
                found = f"{plural(len(own), 'gene')}, the others {len(usual):,}"
                reason = "not the genes of the other files"
                report.drop("sample", file.barcode.text, file.path.name, reason, found)
                continue
            place = {gene: i for i, gene in enumerate(own)}
            values = values[[place[gene] for gene in genes]]
        columns[file.barcode.text] = (
            values.astype(np.float32) if quantity != "counts" else values.astype(np.int64)
        )
        rows.append((file.barcode.text, file.barcode.patient, ""))
    report.counts |= {"samples": len(rows), "genes": len(genes)}
    report.choose(
        f"{quantity} of the STAR-counts tables (column {column}), declared as {QUANTITIES[quantity][1]}"
    )
    table = pd.DataFrame({"gene_symbol": symbols, "gene_id": genes, **columns})
    samples = pd.DataFrame(rows, columns=["sample_id", "patient_id", "slide_id"])
    return CohortExpression(table, QUANTITIES[quantity][1], samples)
