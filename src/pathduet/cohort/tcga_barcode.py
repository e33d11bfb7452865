"""Parse TCGA barcodes: project, tissue source site, participant, sample, vial, portion, analyte, plate, centre.

https://docs.gdc.cancer.gov/Encyclopedia/pages/TCGA_Barcode/ defines the fields. They hold only letters and digits,
so that ids built from them are safe as file names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Codes of tumour samples are 01 ... 09; 10 ... 19 are normal, 20 ... 29 controls.
SAMPLE_TYPES = {
    "01": "primary solid tumor",
    "02": "recurrent solid tumor",
    "03": "primary blood derived cancer",
    "05": "additional new primary",
    "06": "metastatic",
    "07": "additional metastatic",
    "10": "blood derived normal",
    "11": "solid tissue normal",
}
_BARCODE = re.compile(
    r"(?P<patient>TCGA-(?P<site>[A-Z0-9]{2})-[A-Z0-9]{4})"
    r"(?:-(?P<sample_type>\d{2})(?P<vial>[A-Z])?"
    r"(?:-(?P<portion>[A-Z0-9]{2})(?P<analyte>[A-Z])?"
    r"(?:-(?P<rest>[A-Z0-9-]+))?)?)?"
)


@dataclass(frozen=True)
class Barcode:
    """One barcode's fields; those that a shorter barcode lacks are empty.

    Attributes
    ----------
    text : str
        The whole barcode, in capitals.
    patient : str
        ``TCGA-06-0125``.
    site : str
        Tissue source site, ``06``.
    sample_type : str
        ``01`` = primary tumour; see :data:`SAMPLE_TYPES`.
    vial, portion, analyte : str
        ``A``, ``01``, ``R`` (RNA), ``D`` (DNA).
    rest : str
        Plate and centre (``1849-01``), or a slide's ``DX1``.
    """

    text: str
    patient: str
    site: str
    sample_type: str = ""
    vial: str = ""
    portion: str = ""
    analyte: str = ""
    rest: str = ""

    @property
    def sample_type_name(self) -> str:
        """Sample type in words."""
        return SAMPLE_TYPES.get(self.sample_type, f"sample type {self.sample_type or 'not given'}")


def parse_barcode(text: str) -> Barcode | None:
    """Return the fields of a TCGA barcode (of a patient, sample, portion, aliquot or slide), else None.

    R replaces hyphens in column names with dots: ``TCGA.06.0125.01A`` is accepted, too.
    """
    plain = text.strip().upper()
    match = _BARCODE.fullmatch(plain.replace(".", "-") if "-" not in plain else plain)
    if match is None:
        return None
    return Barcode(match[0], **{name: value or "" for name, value in match.groupdict().items()})


def patient_of(text: str) -> str | None:
    """Return the patient's part of a TCGA barcode, else None."""
    barcode = parse_barcode(text)
    return barcode.patient if barcode else None
