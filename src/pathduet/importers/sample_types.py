"""Which samples are a patient's tumour: by sample type in a TCGA barcode, a suffix of the patient's id, or a column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pathduet.cohort.tcga_barcode import SAMPLE_TYPES, parse_barcode
from pathduet.importers.report import ImportReport

if TYPE_CHECKING:
    import pandas as pd

PRIMARY = "01"
#: Any tumour, primary ones first.
TUMOURS = tuple(code for code in SAMPLE_TYPES if code < "10")
UNKNOWN = "sample type not known: name it by TCGA's codes, or give a table of samples with sample_type"
_SUFFIXES = {
    "01": ("t", "tp", "tumor", "tumour", "primary"),
    "02": ("r", "tr", "rec", "recurrent", "recurrence", "relapse"),
    "06": ("m", "tm", "met", "metastasis", "metastatic"),
    "10": ("nb", "blood", "pbmc", "germline"),
    # CPTAC: .N, -NAT and -A are normal tissue adjacent to the tumour
    "11": ("n", "nt", "nat", "a", "adj", "adjacent", "normal"),
}
_TYPE_OF_SUFFIX = {suffix: code for code, many in _SUFFIXES.items() for suffix in many}
_TYPE_COLUMNS = ("sample_type", "specimen_type", "tissue_type", "sample_type_name", "tumor_normal")


def type_of_sample(sample: str, patient: str) -> str | None:
    """Return the code in ``tcga_barcode.SAMPLE_TYPES`` that a sample's id states, "" if it states none, None for an unknown type.

    The type is in a barcode, or follows the patient's id: ``C3N-00314.N``, ``P1-T1``, ``P1_02A``.
    """
    barcode = parse_barcode(sample.split(".")[0] if sample.count("-") > 1 else sample)
    if barcode is not None:
        return barcode.sample_type
    if not sample_key(sample).startswith(sample_key(patient)):
        return ""
    suffix = sample_key(sample)[len(sample_key(patient)) :].strip(".").split(".")[0].lower()
    if numbered := re.fullmatch(r"(\d\d)[a-z]?", suffix):
        return numbered[1] if numbered[1] in SAMPLE_TYPES else None
    worded = re.fullmatch(r"([a-z]+?)\d{0,2}[a-z]?", suffix) if suffix not in _TYPE_OF_SUFFIX else None
    return _TYPE_OF_SUFFIX.get(worded[1] if worded else suffix) if suffix else ""


def sample_key(text: str) -> str:
    """Return the key for matching samples to patients: R writes ``C3N-00314`` as ``C3N.00314``, and ``7316-1`` as ``X7316.1``."""
    return re.sub(r"^X(?=\d)", "", re.sub(r"[^A-Za-z0-9]+", ".", text))


def types_of_rows(table: pd.DataFrame) -> dict[int, str | None] | None:
    """Return each row's sample type from the table's column of sample types, None for unknown words.

    None if there is no such column, or it contains no sample types.
    """
    from pathduet.importers.clinical_values import column_of

    column = column_of(table, _TYPE_COLUMNS)
    types = {} if column is None else {int(n): _type_in(cell) for n, cell in zip(table.index, table[column])}
    return types if any(types.values()) else None


def _type_in(text: str) -> str | None:
    words = re.findall(r"[a-z]+|\d\d", text.lower())
    if "blood" in words and "cancer" in " ".join(words):
        return "03"
    # "normal" before "tumor": solid tissue normal, tumor-adjacent normal
    for code in ("11", "10", "02", "06", "01"):
        if {code, *(suffix for suffix in _SUFFIXES[code] if len(suffix) > 1)} & set(words):
            return code
    return None


def wrong_type(code: str | None, types: Sequence[str]) -> str:
    """Return why a sample of this type is left out, "" if it is kept."""
    if code is None:
        return UNKNOWN
    return f"another sample type: {SAMPLE_TYPES.get(code, code)}" if code and code not in types else ""


def tumour_samples(
    owners: Mapping[str, str],
    source: str,
    report: ImportReport,
    types: Sequence[str],
    *,
    several: bool = False,
) -> dict[str, str]:
    """Return one sample per patient, or `several`; the others are recorded as left out.

    Parameters
    ----------
    owners : mapping
        Sample -> patient.
    types : sequence of str
        Sample types to take, the preferred first; a sample whose id states none comes before them.
    several : bool
        Keep all samples of the best type, even if their ids state no known type: a table gives their patients.
    """
    by_patient: dict[str, list[tuple[int, str]]] = {}
    for sample, patient in owners.items():
        code = type_of_sample(sample, patient)
        if (reason := wrong_type(code, types)) and not (several and code is None):
            report.drop("sample", sample, source, reason)
        else:
            by_patient.setdefault(patient, []).append((types.index(code) if code else -1, sample))
    kept = {}
    for patient, found in sorted(by_patient.items()):
        best, first = min(found)
        for rank, sample in sorted(found):
            if sample == first or (several and rank == best):
                kept[sample] = patient
            else:
                report.drop("sample", sample, source, "another sample of the patient was used", first)
    if not several:
        order = " before ".join(types)
        report.choose(f"one sample per patient: of sample type {order}, of several the first vial or id")
    elif more := [f"{patient} ({n})" for patient, n in Counter(kept.values()).items() if n > 1]:
        report.choose(f"patients with several samples, all of which are used: {', '.join(more)}")
    return kept
