"""IvyGAP from the Allen Institute: laser-dissected RNA samples, several per tumour, matched to slides by block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pathduet.core.errors import InputError
from pathduet.core.plural import plural
from pathduet.core.text_table import require_columns
from pathduet.importers.clinical_values import Choices, Patients, merge_values, read_table, read_values
from pathduet.importers.cohort_sheets import (
    CohortExpression,
    check_survival,
    drop_without_material,
    write_cohort,
)
from pathduet.importers.ids import safe_id
from pathduet.importers.matrix import numbers_of
from pathduet.importers.options import Cohort, Labels, Out
from pathduet.importers.report import ImportReport
from pathduet.importers.slide_rows import SlideRows, files_with_ending

if TYPE_CHECKING:
    import pandas as pd

#: ``W10-1-1-B.2.01``: tumour W10-1-1, block B, sub-block 2, specimen 01.
_SPECIMEN = re.compile(r"(?P<tumor>W\d+-\d+-\d+)-(?P<block>[A-Z]+)(?P<rest>(?:\.\d+)*)")
#: Labels that the atlas gives for every tumour.
_EVERY_TUMOUR = {"grade": "G4", "histology": "glioblastoma"}
SLIDE_ENDING = (".svs", ".tif", ".tiff", ".jp2", ".jpg", ".jpeg", ".ndpi")


def specimen(text: str) -> tuple[str, ...] | None:
    """Return (tumour, block, sub-block, ...) of a specimen's name anywhere in `text`, None if there is none."""
    match = _SPECIMEN.search(text)
    return (match["tumor"], match["block"], *match["rest"].split(".")[1:]) if match else None


def closeness(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many leading parts two specimens share: 1 = the tumour, 2 = the block, 3 = the sub-block ..."""
    shared = 0
    for a, b in zip(first, second):
        if a != b:
            break
        shared += 1
    return shared


def import_ivygap(
    out: Out,
    folder: Annotated[Path, typer.Argument(help="Folder with the Allen Institute's tables.")],
    *,
    cohort: Cohort = "ivygap",
    slides: Annotated[Path | None, typer.Option(help="Folder of slides named after specimens.")] = None,
    slide_table: Annotated[
        Path | None, typer.Option(help="Table of slides (path, sub_block_name), in place of --slides.")
    ] = None,
    labels: Labels = None,
    assume_died: Annotated[
        bool,
        typer.Option(help="Assume that all patients have died: the tables have no vital status."),
    ] = False,
) -> ImportReport:
    """Convert the Institute's tables to sheets; a patient is a tumour.

    The folder holds ``fpkm_table.csv``, ``columns-samples.csv`` and ``rows-genes.csv`` (the RNA archive, optional), and
    ``tumor_details.csv`` or ``sub_block_details.csv``. The archive has no IDH status; a table given as `labels` can add it.
    Slide names contain the specimen's name (``W10-1-1-B.2.01``). Without vital status, survival is left out unless `assume_died`.

    Raises
    ------
    InputError
        If a required table or column is missing.
    """
    report = ImportReport(cohort)
    patients = _details(folder, report)
    for path in labels or ():
        patients = merge_values(patients, read_values(read_table(path), path.name, report), report)
    for tumor, known in patients.items():
        patients[tumor] = {**_EVERY_TUMOUR, **known}
    report.choose("all tumours are glioblastomas, grade G4, as the atlas says")
    if assume_died:
        for tumor, outcomes in report.outcomes.items():
            report.outcomes[tumor] = [
                replace(one, event=1.0) if one.event is None and one.days is not None else one
                for one in outcomes
            ]
        report.choose(
            "no vital status in the tables: every patient with a survival time is taken to have died (requested)"
        )
    rows = _slides(slides, slide_table, report)
    expression = _expression(folder, report)
    if expression is not None:
        _match(expression.samples, rows, report)
        unknown = sorted(set(expression.samples["patient_id"]) - set(patients))
        patients |= {tumor: dict(_EVERY_TUMOUR) for tumor in unknown}
        if unknown:
            report.choose(
                f"{len(unknown)} tumours with RNA but without details are kept without further values"
            )
    for row in rows:
        row.pop("_specimen")
    if rows or expression is not None:
        drop_without_material(patients, rows, expression, report, folder.name)
    check_survival(patients, report)
    write_cohort(out, report, patients, rows, expression)
    return report


def _details(folder: Path, report: ImportReport) -> Patients:
    patients: Patients = {}
    for name in ("tumor_details.csv", "sub_block_details.csv"):
        if not (folder / name).is_file():
            continue
        table = read_table(folder / name)
        require_columns(table.columns, ["tumor_name"], name)
        kept = [
            c for c in ("tumor_name", "survival_days", "age_in_years", "gender", "sex") if c in table.columns
        ]
        # one row per tumour, not per sub-block
        distinct = table[kept].drop_duplicates()
        more = read_values(distinct, name, report, choices=Choices({"patient_id": "tumor_name"}))
        report.columns[name]["not used"] |= {c: "not of the tumour" for c in table.columns if c not in kept}
        patients = merge_values(patients, more, report, new_patients=True)
        if "surgery" in table.columns:
            again = table.loc[table["surgery"].str.lower() == "recurrent", "tumor_name"].nunique()
            if again:
                report.choose(f"{again} tumours of a second operation (recurrent) are kept")
    if not patients:
        found = "neither tumor_details.csv nor sub_block_details.csv"
        raise InputError.of(folder.name, found, "download them from the atlas (Downloads tab)")
    return patients


def _slides(folder: Path | None, table: Path | None, report: ImportReport) -> list[dict[str, Any]]:
    """Return slide rows with their specimen under ``_specimen``."""
    named: list[tuple[Path, str, str]] = []
    if folder is not None:
        found = files_with_ending(folder, SLIDE_ENDING)
        named += [(path, path.name, str(path.relative_to(folder))) for path in found]
    if table is not None:
        content = read_table(table)
        require_columns(content.columns, ["path", "sub_block_name"], table.name)
        for number, path, name in content[["path", "sub_block_name"]].itertuples():
            named.append((table.parent / path, name, f"{table.name} row {number}"))
    report.counts["slide files"] = len(named)
    rows = SlideRows(report)
    for path, name, where in named:
        parts, identifier = specimen(name), safe_id(path.stem)
        if parts is None or identifier is None:
            report.drop("slide", path.name, where, "no specimen name such as W10-1-1-B.2.01", name)
        elif not path.is_file():
            report.drop("slide", path.name, where, "no such file")
        else:
            rows.add(identifier, parts[0], path.resolve(), where, _specimen=parts)
    return rows.ordered()


def _expression(folder: Path, report: ImportReport) -> CohortExpression | None:
    import pandas as pd

    from pathduet.expression.table_files import read_titled

    names = ("fpkm_table.csv", "columns-samples.csv", "rows-genes.csv")
    present = [name for name in names if (folder / name).is_file()]
    if not present:
        report.choose("no RNA archive in the folder: clinical values and slides only")
        return None
    if len(present) < len(names):
        absent = ", ".join(sorted(set(names) - set(present)))
        raise InputError.of(folder.name, f"lacks {absent}", "unzip the whole RNA archive there")
    annotation, genes = read_table(folder / names[1]), read_table(folder / names[2])
    require_columns(annotation.columns, ("rna_well_id", "tumor_name", "specimen_name"), names[1])
    require_columns(genes.columns, ("gene_id", "gene_symbol"), names[2])
    fpkm = read_titled(folder / names[0])
    own = fpkm.columns[0]
    own_genes = fpkm[own].astype(str)
    symbol = dict(zip(genes["gene_id"], genes["gene_symbol"]))
    entrez = dict(zip(genes["gene_id"], genes["gene_entrez_id"])) if "gene_entrez_id" in genes.columns else {}
    # the archive's own names take precedence; the shipped mapping converts Entrez ids when the table is read
    named = [symbol.get(gene) or entrez.get(gene, "") for gene in own_genes]
    nameless = sum(not name for name in named)
    if nameless:
        reason = "gene_id without symbol or Entrez id in rows-genes.csv"
        report.drop("gene", plural(nameless, "row"), names[0], reason)
    rows = []
    for number, well, tumor, name in annotation[["rna_well_id", "tumor_name", "specimen_name"]].itertuples():
        where, patient = f"{names[1]} row {number}", safe_id(tumor)
        if well not in fpkm.columns:
            report.drop("sample", well, where, "no column in fpkm_table.csv")
        elif patient is None:
            report.drop("sample", well, where, "no tumour name", tumor)
        else:
            rows.append((well, patient, "", specimen(name) or (patient,)))
    samples = pd.DataFrame(rows, columns=["sample_id", "patient_id", "slide_id", "_specimen"])
    for well in sorted(set(fpkm.columns[1:]) - set(annotation["rna_well_id"])):
        report.drop("sample", well, names[0], "no row in columns-samples.csv")
    report.counts |= {"samples": len(samples), "genes": len(named) - nameless}
    report.choose("FPKM as the archive gives it (normalised across samples by its makers), declared as fpkm")
    table = numbers_of(fpkm[[own, *samples["sample_id"]]], "fpkm", names[0])
    table = table.rename(columns={own: "gene_symbol"}).assign(gene_symbol=named)
    return CohortExpression(table[[bool(name) for name in named]], "fpkm", samples)


def _match(samples: pd.DataFrame, slides: list[dict[str, Any]], report: ImportReport) -> None:
    """Assign each RNA sample the slide that shares most parts of its specimen's name, at least the block."""
    counts = {2: 0, 3: 0, 4: 0}
    chosen = []
    for parts in samples["_specimen"]:
        near = [(closeness(parts, slide["_specimen"]), slide["slide_id"]) for slide in slides]
        depth = max((level for level, _ in near), default=0)
        if depth < 2:
            chosen.append("")
            continue
        counts[min(depth, 4)] += 1
        chosen.append(min(identifier for level, identifier in near if level == depth))
    samples["slide_id"] = chosen
    if slides:
        report.choose(
            "an RNA sample belongs to the slide that shares most of its specimen's name, at least the block; of equals the "
            f"first by id ({counts[4]} by specimen, {counts[3]} by sub-block, {counts[2]} by block)"
        )
    alone = chosen.count("")
    if alone:
        report.choose(f"{alone} RNA samples without a slide of their block are assigned to their patient")
