"""The WHO 2021 diagnosis of a glioma from molecular findings; a missing finding gives no label, never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

#: Classes of the diagnosis task, in the order of the model's outputs.
DIAGNOSES = ("glioblastoma", "oligodendroglioma", "astrocytoma_grade4", "astrocytoma_low_grade")
#: Classes of the grading task, in the order of the model's outputs.
GRADES = ("G2", "G3", "G4")

Cdkn2aRule = Literal["homozygous", "any_loss"]
#: The highest copy number call that counts as a loss.
_LOSS = {"homozygous": -2.0, "any_loss": -1.0}


def who2021(patient: Mapping[Any, Any], cdkn2a_rule: Cdkn2aRule = "homozygous") -> tuple[str | None, str]:
    """Return the WHO 2021 diagnosis that a patient's molecular findings imply, or why there is none.

    IDH wild type is a glioblastoma; IDH mutant and 1p/19q-codeleted an oligodendroglioma; IDH mutant without
    the codeletion an astrocytoma, of grade 4 if CDKN2A/B is lost or the grade is 4, else of low grade. One
    known sign of grade 4 suffices; without one, both copy number and grade must be known. A published table of 940 TCGA
    patients lists these values and a numeric label without a legend. With the best-fitting assignment of diagnoses to
    numbers (5 glioblastoma, 4 astrocytoma of grade 4, 2 and 3 of lower grade, 0 and 1 oligodendroglioma), ``any_loss``
    agrees for all 940 and ``homozygous`` for 869: the other 71 have a single-copy loss. Full agreement identifies the
    rule behind the numbers; it does not show that the diagnoses are right.

    Parameters
    ----------
    patient : mapping
        `idh` ("WT" | "Mutant"), `codel_1p19q` ("codel" | "non-codel"), `cdkn2a` (-2 ... 2), `grade`
        ("G2" | "G3" | "G4"). Missing: None, NaN or absent.
    cdkn2a_rule : {"homozygous", "any_loss"}
        Whether only a homozygous deletion (-2) counts as a loss (WHO), or a single-copy one (-1) too (the paper).

    Returns
    -------
    tuple of (str or None, str)
        One of :data:`DIAGNOSES` and ``""``, or None and the reason.

    Raises
    ------
    ValueError
        If a value is not listed above.

    References
    ----------
    Louis et al., Neuro-Oncology 2021, doi:10.1093/neuonc/noab106.
    """
    idh = word_of(patient, "idh", ("WT", "Mutant"))
    if idh is None:
        return None, "idh missing"
    if idh == "WT":
        return "glioblastoma", ""
    codeletion = word_of(patient, "codel_1p19q", ("codel", "non-codel"))
    if codeletion is None:
        return None, "codel_1p19q missing"
    if codeletion == "codel":
        return "oligodendroglioma", ""
    cdkn2a, grade = copy_number(patient, "cdkn2a"), word_of(patient, "grade", GRADES)
    if grade == "G4" or (cdkn2a is not None and cdkn2a <= _LOSS[cdkn2a_rule]):
        return "astrocytoma_grade4", ""
    missing = [name for name, value in (("cdkn2a", cdkn2a), ("grade", grade)) if value is None]
    if missing:
        return None, " and ".join(missing) + " missing"
    return "astrocytoma_low_grade", ""


def copy_number(patient: Mapping[Any, Any], name: str) -> float | None:
    """Return a copy number call, -2 (homozygous deletion) to 2, None if it is missing."""
    value = patient.get(name)
    if value is None or value != value:
        return None
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if number != number or not -2 <= number <= 2 or number % 1:
        raise ValueError(f"{name} is {value!r}, not a copy number call from -2 to 2")
    return number


def word_of(patient: Mapping[Any, Any], name: str, known: tuple[str, ...]) -> str | None:
    """Return a word of patients.tsv, None if it is missing; ValueError if it is not in `known`."""
    value = patient.get(name)
    # NaN is the only value that differs from itself
    if value is None or value != value or value == "":
        return None
    if value not in known:
        raise ValueError(f"{name} is {value!r}, not one of {', '.join(known)}")
    return str(value)
