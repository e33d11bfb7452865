"""A GDC download folder as `gdc-client` leaves it, made from one real STAR-counts table."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

SHEET_HEADER = "File ID\tFile Name\tData Category\tData Type\tProject ID\tCase ID\tSample ID\tSample Type\n"
STAR_HEADER = (
    "# gene-model: GENCODE v36\n"
    "gene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second\ttpm_unstranded\tfpkm_unstranded"
    "\tfpkm_uq_unstranded\n"
    "N_unmapped\t\t\t40504982\t40504982\t40504982\t\t\t\n"
    "N_multimapping\t\t\t1737286\t1737286\t1737286\t\t\t\n"
    "N_noFeature\t\t\t597934\t4592671\t4570862\t\t\t\n"
    "N_ambiguous\t\t\t845451\t212043\t214487\t\t\t\n"
)
GENES = [
    ("ENSG00000141510.18", "TP53"),
    ("ENSG00000164611.13", "PTTG1"),
    ("ENSG00000159128.15", "IFNGR2"),
    ("ENSG00000146648.19", "EGFR"),
    ("ENSG00000002586.20_PAR_Y", "CD99"),
    ("ENSG00000002586.20", "CD99"),
]


def uuid(number: int) -> str:
    return f"{number:08x}-3f2a-4c1d-9b7e-{number:012x}"


def star_table(values: Sequence[int], genes: Sequence[tuple[str, str]] = tuple(GENES)) -> str:
    """The augmented format; TPM, FPKM and FPKM-UQ are 2.25, 0.5 and 0.25 times the counts, to be told apart."""
    rows = [
        f"{gene}\t{name}\tprotein_coding\t{v}\t{v // 2}\t{v - v // 2}\t{2.25 * v:.4f}\t{v / 2:.4f}\t{v / 4:.4f}\n"
        for (gene, name), v in zip(genes, values, strict=True)
    ]
    return STAR_HEADER + "".join(rows)


class GdcFolder:
    """A folder with UUID folders, its sample sheet and its metadata."""

    def __init__(self, root: Path) -> None:
        self.root = root / "gdc"
        self.root.mkdir(parents=True)
        self.sheet = root / "gdc_sample_sheet.2024-05-01.tsv"
        self.metadata = root / "metadata.cart.2024-05-01.json"
        self.rows: list[str] = []
        self.entries: list[dict] = []
        self.number = 0

    def _add(self, name: str, content: bytes, kind: str, sample: str, aliquot: str) -> Path:
        self.number += 1
        folder = self.root / uuid(self.number)
        folder.mkdir()
        (folder / "logs").mkdir()
        (folder / "logs" / f"{name}.parcel").write_bytes(b"\x80\x04")
        path = folder / name
        path.write_bytes(content)
        patient = sample[:12]
        self.rows.append(
            f"{uuid(self.number)}\t{name}\t{kind.split(':')[0]}\t{kind.split(':')[1]}\tTCGA-GBM\t{patient}\t{sample}\tx\n"
        )
        self.entries.append(
            {
                "file_id": uuid(self.number),
                "file_name": name,
                "associated_entities": [{"entity_submitter_id": aliquot, "entity_type": "aliquot"}],
            }
        )
        return path

    def expression(self, aliquot: str, text: str, *, gz: bool = False) -> Path:
        name = f"{uuid(1000 + self.number)}.rna_seq.augmented_star_gene_counts.tsv"
        content = text.encode()
        kind = "Transcriptome Profiling:Gene Expression Quantification"
        path = self._add(name, content, kind, aliquot[:16], aliquot)
        if gz:
            path.with_name(name + ".gz").write_bytes(gzip.compress(content, mtime=0))
            path.unlink()
        return path

    def slide(self, barcode: str) -> Path:
        name = f"{barcode}.{uuid(2000 + self.number).upper()}.svs"
        return self._add(name, b"II*\x00", "Biospecimen:Slide Image", barcode[:16], barcode)

    def write(self) -> None:
        self.sheet.write_text(SHEET_HEADER + "".join(self.rows))
        self.metadata.write_text(json.dumps(self.entries))
