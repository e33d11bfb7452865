"""TCGA from a GDC download (UUID folders, sample sheet, clinical tables) or from a cBioPortal study folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pathduet.cohort.tcga_barcode import Barcode, parse_barcode
from pathduet.core.errors import InputError, Problem
from pathduet.core.progress import track
from pathduet.importers.cohort_sheets import check_survival, safe_id, write_cohort
from pathduet.importers.facts import column_of, is_missing, merge_facts, read_facts, read_table
from pathduet.importers.report import ImportReport

if TYPE_CHECKING:
    import pandas as pd

Quantity = Literal["counts", "tpm", "fpkm", "fpkm_uq"]
#: Column of the augmented STAR-counts format, and the unit to declare. FPKM-UQ differs from FPKM by one factor a
#: sample, which the conversion to TPM takes out again.
QUANTITIES: dict[str, tuple[str, str]] = {
    "counts": ("unstranded", "counts"),
    "tpm": ("tpm_unstranded", "tpm"),
    "fpkm": ("fpkm_unstranded", "fpkm"),
    "fpkm_uq": ("fpkm_uq_unstranded", "fpkm"),
}
STAR_ENDING = (".augmented_star_gene_counts.tsv", ".augmented_star_gene_counts.tsv.gz")
SLIDE_ENDING = (".svs", ".tif", ".tiff")
ALIQUOT_RULE = (
    "one expression file a patient: primary tumour (sample type 01); of several the first vial, then analyte R (RNA) before "
    "others, then the latest plate, then the first file name"
)
SAMPLE_RULE = "one sample a patient: primary tumour (sample type 01), of several the first vial"


@dataclass(frozen=True)
class StarFile:
    """One expression file and the sample it is of."""

    path: Path
    barcode: Barcode


def import_tcga(
    out: Path,
    *,
    cohort: str = "tcga",
    downloads: Path | None = None,
    sample_sheet: Path | None = None,
    metadata: Path | None = None,
    clinical: Sequence[Path] = (),
    labels: Sequence[Path] = (),
    cbioportal: Path | None = None,
    quantity: Quantity = "tpm",
    frozen: bool = False,
) -> ImportReport:
    """Turn TCGA downloads into sheets.

    Parameters
    ----------
    out : Path
        Folder of the sheets.
    downloads : Path, optional
        Folder of a GDC download: a folder a file (its UUID), with slides and STAR-counts tables.
    sample_sheet, metadata : Path, optional
        The GDC's sample sheet (TSV), or the cart's metadata (JSON), which knows aliquots too: whose a
        STAR-counts file is. At least one where there are such files.
    clinical : sequence of Path
        GDC ``clinical.tsv`` or biotab ``*_clinical_patient_*.txt``; the first wins where two know a fact.
    labels : sequence of Path
        Molecular facts: any table that :func:`read_facts` understands (.tsv, .csv, .xlsx).
    cbioportal : Path, optional
        A study folder instead of `downloads`: ``data_mrna_seq_*.txt``, ``data_clinical_*.txt``.
    quantity : {"counts", "tpm", "fpkm", "fpkm_uq"}
        What to take of the STAR-counts tables.
    frozen : bool
        Also take slides of frozen sections (TS, BS, MS), not just diagnostic ones (DX).

    Raises
    ------
    InputError
        If nothing usable is found.
    """
    report = ImportReport(cohort)
    if (downloads is None) == (cbioportal is None):
        raise InputError(
            [Problem("pathduet import tcga", "needs --downloads or --cbioportal", "give one of them")]
        )
    facts: dict[str, dict[str, Any]] = {}
    for path in clinical:
        facts = _join(facts, read_clinical(path, report))
    slides: list[dict[str, Any]] = []
    expression: pd.DataFrame | None = None
    unit = QUANTITIES[quantity][1]
    samples: pd.DataFrame | None = None
    if downloads is not None:
        slides = find_slides(downloads, report, frozen=frozen)
        files = find_star_files(downloads, sample_sheet, metadata, report)
        if files:
            expression, samples = read_star_files(files, quantity, report)
    elif cbioportal is not None:
        facts = _join(facts, _cbioportal_clinical(cbioportal, report))
        expression, samples, unit = _cbioportal_expression(cbioportal, report)
    for path in labels:
        told = read_facts(read_table(path), path.name, report, patient=_patient)
        facts = _join(facts, told) if not facts else merge_facts(facts, told)
    for patient in [
        *(s["patient_id"] for s in slides),
        *(samples["patient_id"] if samples is not None else ()),
    ]:
        if patient not in facts:
            facts[patient] = {}
            report.choose("patients with slides or expression but no clinical row are kept without facts")
    material = {s["patient_id"] for s in slides} | set(samples["patient_id"] if samples is not None else ())
    for patient in sorted(set(facts) - material):
        report.drop("patient", patient, "clinical tables", "neither slide nor expression")
        del facts[patient]
    check_survival(facts, report, {}, drop=False)
    write_cohort(out, report, facts, slides=slides, expression=expression, unit=unit, samples=samples)
    return report


def _join(
    first: Mapping[str, Mapping[str, Any]], more: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    return merge_facts({**{patient: {} for patient in more}, **first}, more)


def _patient(text: str) -> str | None:
    barcode = parse_barcode(text)
    return barcode.patient if barcode else None


# -- slides ---------------------------------------------------------------------------------------------------


def find_slides(folder: Path, report: ImportReport, *, frozen: bool = False) -> list[dict[str, Any]]:
    """Return the rows of slides.tsv for a download's whole-slide images (path absolute), sorted by id."""
    rows: dict[str, dict[str, Any]] = {}
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p.name.lower().endswith(SLIDE_ENDING))
    report.counts["slide files"] = len(found)
    for path in found:
        barcode = parse_barcode(path.name.split(".", 1)[0])
        identifier = safe_id(path.stem)
        where = str(path.relative_to(folder))
        if barcode is None or identifier is None:
            report.drop("slide", path.name, where, "its name does not begin with a TCGA barcode")
        elif not barcode.is_primary_tumor:
            report.drop("slide", identifier, where, f"not of a primary tumour: {barcode.sample_type_name}")
        elif not barcode.rest.startswith("DX") and not frozen:
            report.drop("slide", identifier, where, "frozen section (diagnostic slides are DX)", barcode.rest)
        elif identifier in rows:
            report.drop("slide", identifier, where, "the same slide is in another folder, too")
        else:
            rows[identifier] = {
                "slide_id": identifier,
                "patient_id": barcode.patient,
                "path": str(path.resolve()),
                "site": barcode.site,
            }
    return [rows[key] for key in sorted(rows)]


# -- expression -----------------------------------------------------------------------------------------------


def find_star_files(
    folder: Path, sample_sheet: Path | None, metadata: Path | None, report: ImportReport
) -> list[StarFile]:
    """Return one STAR-counts file a patient, by :data:`ALIQUOT_RULE`; the others are recorded as left out."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name.endswith(STAR_ENDING))
    report.counts["expression files"] = len(paths)
    if not paths:
        return []
    if sample_sheet is None and metadata is None:
        advice = "give --sample-sheet (GDC: Cart, Sample Sheet) or --metadata (Cart, Metadata)"
        raise InputError(
            [Problem(f"{len(paths)} STAR-counts files", "named by UUID, not by patient", advice)]
        )
    owner = _owners(sample_sheet, metadata, report)
    named: list[StarFile] = []
    for path in paths:
        where = str(path.relative_to(folder))
        # the file's name is unique, its folder is the file's UUID: either finds it
        text = owner.get(path.name.removesuffix(".gz")) or owner.get(path.parent.name)
        barcode = parse_barcode(text) if text else None
        if barcode is None:
            report.drop(
                "sample",
                path.name,
                where,
                "not in the sample sheet" if not text else "no TCGA barcode",
                text or "",
            )
        elif not barcode.is_primary_tumor:
            report.drop("sample", barcode.text, where, f"not of a primary tumour: {barcode.sample_type_name}")
        else:
            named.append(StarFile(path, barcode))
    report.choose(ALIQUOT_RULE)
    by_patient: dict[str, list[StarFile]] = {}
    for file in named:
        by_patient.setdefault(file.barcode.patient, []).append(file)
    kept = []
    for patient in sorted(by_patient):
        first, *rest = sorted(by_patient[patient], key=_preference)
        kept.append(first)
        for file in rest:
            chosen = f"{first.barcode.text} ({first.path.name}) was taken"
            report.drop(
                "sample",
                file.barcode.text,
                str(file.path.relative_to(folder)),
                "another aliquot of the patient was taken",
                chosen,
            )
    return kept


def _preference(file: StarFile) -> tuple[Any, ...]:
    barcode = file.barcode
    plate = barcode.rest.split("-")[0]
    latest_first = tuple(-ord(letter) for letter in plate)
    # a plate that is known comes before an unknown one
    return (barcode.vial, barcode.analyte not in ("R", ""), not plate, latest_first, file.path.name)


def _owners(sample_sheet: Path | None, metadata: Path | None, report: ImportReport) -> dict[str, str]:
    """Return {file name or UUID: barcode}; the metadata's aliquots before the sample sheet's samples."""
    owner: dict[str, str] = {}
    if sample_sheet is not None:
        table = read_table(sample_sheet)
        found_columns = [column_of(table, [name]) for name in ("file_id", "file_name", "sample_id")]
        columns = [column for column in found_columns if column is not None]
        if len(columns) < 3:
            found = f"columns {', '.join(table.columns)}"
            raise InputError([Problem(sample_sheet.name, found, "needs File ID, File Name and Sample ID")])
        for identifier, name, sample in table[columns].itertuples(index=False):
            if len({part.strip() for part in sample.split(",")}) > 1:
                # one file of several samples (tumour-normal pairs): expression files never are
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
        raise InputError(
            [Problem(path.name, f"cannot be read ({error})", "give the cart's metadata JSON")]
        ) from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError([Problem(path.name, "not a list of files", "give the cart's metadata JSON")])
    return entries


def read_star_file(path: Path, column: str) -> tuple[list[str], list[str], np.ndarray]:
    """Return Ensembl ids (with version), symbols and one column of a STAR-counts file; its N_ rows are left out.

    Raises
    ------
    ValueError
        If the file is not of the augmented format, or not whole.
    """
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
        raise ValueError("rows without gene or value: the file is not whole")
    return table["gene_id"].tolist(), table["gene_name"].tolist(), values


def read_star_files(
    files: Sequence[StarFile], quantity: Quantity, report: ImportReport
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read one quantity of every file into a table of genes and samples (columns: sample barcodes), and its samples.

    Files are joined by gene id. A file that is no STAR-counts table, or has other genes than most, is left out with
    the reason: it comes from another gene model, or was cut short.
    """
    import pandas as pd

    column = QUANTITIES[quantity][0]
    read: list[tuple[StarFile, list[str], list[str], np.ndarray]] = []
    for file in track(files, len(files), "reading expression", "files"):
        try:
            read.append((file, *read_star_file(file.path, column)))
        except ValueError as error:
            report.drop("sample", file.barcode.text, file.path.name, str(error))
    if not read:
        raise InputError(
            [Problem("STAR-counts files", "none can be read", "see the report; download them again")]
        )
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
                found = f"{len(own)} genes, the others {len(usual)}"
                report.drop(
                    "sample", file.barcode.text, file.path.name, "not the genes of the other files", found
                )
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
    return table, pd.DataFrame(rows, columns=["sample_id", "patient_id", "slide_id"])


# -- clinical -------------------------------------------------------------------------------------------------


def read_clinical(path: Path, report: ImportReport) -> dict[str, dict[str, Any]]:
    """Return patient facts of a GDC clinical.tsv, a biotab file or any table with the usual columns.

    Survival: days to death of the dead, else days to last follow-up (the largest, where follow-ups have rows of their own).
    """
    table = read_table(path)
    if len(table) > 1 and str(table.iloc[1, 0]).startswith("CDE_ID"):
        # biotab: names, names again, CDE ids, then patients
        table = table.iloc[2:]
    facts = read_facts(_without_age_in_days(table), path.name, report, patient=_patient)
    _survival_of_rows(table, facts, path.name, report)
    report.counts[f"patients in {path.name}"] = len(facts)
    return facts


def _without_age_in_days(table: pd.DataFrame) -> pd.DataFrame:
    """Drop GDC's age in days where the age in years stands beside it."""
    years, days = column_of(table, ["age_at_index"]), column_of(table, ["age_at_diagnosis"])
    return table.drop(columns=[days]) if years and days else table


def _survival_of_rows(
    table: pd.DataFrame, facts: dict[str, dict[str, Any]], source: str, report: ImportReport
) -> None:
    death = column_of(table, ["days_to_death", "death_days_to"])
    last = column_of(table, ["days_to_last_follow_up", "days_to_last_followup", "last_contact_days_to"])
    identifier = column_of(table, ["case_submitter_id", "submitter_id", "bcr_patient_barcode", "patient_id"])
    if identifier is None or (death is None and last is None):
        return
    longest: dict[tuple[str, str], float] = {}
    for number, (_, row) in enumerate(table.iterrows(), 2):
        patient = _patient(str(row[identifier]))
        if patient is None:
            continue
        for name, column in (("death", death), ("last", last)):
            if column is None or is_missing(row[column]):
                continue
            try:
                days = float(row[column])
            except ValueError:
                report.drop(
                    "fact", f"{patient}.{column}", f"{source} row {number}", "days are no number", row[column]
                )
                continue
            longest[patient, name] = max(days, longest.get((patient, name), -np.inf))
    for patient, known in facts.items():
        if "survival_days" in known:
            continue
        followed = longest.get((patient, "death" if known.get("event") == 1 else "last"))
        if followed is not None:
            known["survival_days"] = followed


# -- cBioPortal -----------------------------------------------------------------------------------------------


def _cbioportal_clinical(folder: Path, report: ImportReport) -> dict[str, dict[str, Any]]:
    facts: dict[str, dict[str, Any]] = {}
    for name in ("data_clinical_patient.txt", "data_clinical_sample.txt"):
        if (folder / name).is_file():
            facts = _join(facts, read_facts(_cbioportal_table(folder / name), name, report, patient=_patient))
    return facts


def _cbioportal_table(path: Path) -> pd.DataFrame:
    """cBioPortal puts four lines that begin with # above the header."""
    return read_table(path, comment="#")


def _cbioportal_expression(folder: Path, report: ImportReport) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return the study's RNA matrix: RSEM if it is there (as per-million values), else z-scores."""
    import pandas as pd

    names = ("data_mrna_seq_v2_rsem.txt", "data_RNA_Seq_v2_expression_median.txt", "data_mrna_seq_tpm.txt",
             "data_mrna_seq_fpkm.txt", "data_mrna_seq_v2_rsem_zscores_ref_all_samples.txt")  # fmt: skip
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise InputError([Problem(folder.name, "no RNA matrix", f"needs one of {', '.join(names)}")])
    table = pd.read_csv(path, sep="\t", comment="#", dtype={"Hugo_Symbol": str, "Entrez_Gene_Id": str})
    if "Hugo_Symbol" not in table and "Entrez_Gene_Id" not in table:
        raise InputError(
            [Problem(path.name, "no column Hugo_Symbol or Entrez_Gene_Id", "give a cBioPortal matrix")]
        )
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
    return expression, pd.DataFrame(rows, columns=["sample_id", "patient_id", "slide_id"]), unit


def _one_sample_a_patient(samples: Iterable[str], source: str, report: ImportReport) -> dict[str, str]:
    report.choose(SAMPLE_RULE)
    best: dict[str, tuple[str, str]] = {}
    for sample in samples:
        barcode = parse_barcode(sample)
        if barcode is None:
            report.drop("sample", sample, source, "no TCGA barcode")
        elif not barcode.is_primary_tumor:
            report.drop("sample", sample, source, f"not of a primary tumour: {barcode.sample_type_name}")
        elif barcode.patient in best and best[barcode.patient] <= (barcode.vial, sample):
            report.drop(
                "sample", sample, source, "another sample of the patient was taken", best[barcode.patient][1]
            )
        else:
            if barcode.patient in best:
                report.drop(
                    "sample",
                    best[barcode.patient][1],
                    source,
                    "another sample of the patient was taken",
                    sample,
                )
            best[barcode.patient] = (barcode.vial, sample)
    return {sample: patient for patient, (_, sample) in sorted(best.items())}
