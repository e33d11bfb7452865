"""Labels of the three tasks from patients.tsv; a missing fact gives a missing label and a reason, never a guess."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pathduet.core.errors import InputError, Problem

if TYPE_CHECKING:
    import pandas as pd

#: Classes of the diagnosis task, in the order of the model's outputs.
DIAGNOSES = ("glioblastoma", "oligodendroglioma", "astrocytoma_grade4", "astrocytoma_low_grade")
#: Classes of the grading task, in the order of the model's outputs.
GRADES = ("G2", "G3", "G4")

Task = Literal["diagnosis", "grading", "survival"]
Cdkn2aRule = Literal["homozygous", "any_loss"]
#: The highest copy number call that counts as a loss.
_LOSS = {"homozygous": -2.0, "any_loss": -1.0}


def who2021(facts: Mapping[Any, Any], cdkn2a_rule: Cdkn2aRule = "homozygous") -> tuple[str | None, str]:
    """Return the WHO 2021 diagnosis that a patient's molecular facts imply, or why there is none.

    IDH wild type is a glioblastoma; IDH mutant and 1p/19q-codeleted an oligodendroglioma; IDH mutant without
    the codeletion an astrocytoma, of grade 4 if CDKN2A/B is lost or the grade is 4, else of low grade. One
    known sign of grade 4 suffices; without one, both copy number and grade must be known. A published table of 940 TCGA
    patients holds these facts and a label as a bare number. What the numbers mean is not stated there; read as the one
    assignment of diagnoses to numbers that fits best (5 glioblastoma, 4 astrocytoma of grade 4, 2 and 3 of lower grade,
    0 and 1 oligodendroglioma), ``any_loss`` agrees for all 940 and ``homozygous`` for 869: the other 71 have a
    single-copy loss. So full agreement shows the rule that made the numbers, not that the diagnoses are right.

    Parameters
    ----------
    facts : mapping
        `idh` ("WT" | "Mutant"), `codel_1p19q` ("codel" | "non-codel"), `cdkn2a` (-2 ... 2), `grade`
        ("G2" | "G3" | "G4") and `diagnosis`, which wins over the derived label if given. Missing: None, NaN
        or absent.
    cdkn2a_rule : {"homozygous", "any_loss"}
        Whether only a homozygous deletion (-2) counts as a loss (WHO), or a single-copy one (-1) too (the paper).

    Returns
    -------
    tuple of (str or None, str)
        One of :data:`DIAGNOSES` and ``""``, or None and the reason.

    Raises
    ------
    ValueError
        If a fact has a value that is none of the above.

    References
    ----------
    Louis et al., Neuro-Oncology 2021, doi:10.1093/neuonc/noab106.
    """
    given = _fact(facts, "diagnosis", DIAGNOSES)
    if given is not None:
        return given, ""
    idh = _fact(facts, "idh", ("WT", "Mutant"))
    if idh is None:
        return None, "idh missing"
    if idh == "WT":
        return "glioblastoma", ""
    codeletion = _fact(facts, "codel_1p19q", ("codel", "non-codel"))
    if codeletion is None:
        return None, "codel_1p19q missing"
    if codeletion == "codel":
        return "oligodendroglioma", ""
    cdkn2a, grade = _number(facts.get("cdkn2a")), _fact(facts, "grade", GRADES)
    if grade == "G4" or (cdkn2a is not None and cdkn2a <= _LOSS[cdkn2a_rule]):
        return "astrocytoma_grade4", ""
    missing = [name for name, value in (("cdkn2a", cdkn2a), ("grade", grade)) if value is None]
    if missing:
        return None, " and ".join(missing) + " missing"
    return "astrocytoma_low_grade", ""


def task_labels(
    patients: pd.DataFrame, task: Task, *, cdkn2a_rule: Cdkn2aRule = "homozygous"
) -> pd.DataFrame:
    """Return every patient's label for a task, or the reason why the patient has none.

    Parameters
    ----------
    patients : pandas.DataFrame
        Indexed by patient_id, with the columns of patients.tsv.
    task : {"diagnosis", "grading", "survival"}
        What to label.
    cdkn2a_rule : {"homozygous", "any_loss"}
        See :func:`who2021`; used for the diagnosis only.

    Returns
    -------
    pandas.DataFrame
        Index as `patients`. Classification: `label` (a class name or None) and `reason` ("" if labelled).
        Survival: `survival_days`, `event` (floats, both NaN if either is unusable) and `reason`.

    Raises
    ------
    InputError
        If values are not those of patients.tsv; all such patients are listed.
    """
    import pandas as pd

    rows: list[tuple[Any, ...]] = []
    problems = []
    for patient_id, facts in zip(patients.index, patients.to_dict("records")):
        try:
            if task == "diagnosis":
                rows.append(who2021(facts, cdkn2a_rule))
            elif task == "grading":
                grade = _fact(facts, "grade", GRADES)
                rows.append((grade, "" if grade else "grade missing"))
            elif task == "survival":
                rows.append(_survival(facts))
            else:
                raise InputError([Problem("task", repr(task), "use diagnosis, grading or survival")])
        except ValueError as error:
            problems.append(Problem(f"patient {patient_id}", str(error), "correct patients.tsv"))
    if problems:
        raise InputError(problems)
    columns = ["survival_days", "event", "reason"] if task == "survival" else ["label", "reason"]
    table = pd.DataFrame(rows, index=patients.index, columns=columns)
    if task == "survival":
        return table.astype({"survival_days": float, "event": float})
    return table.astype(object)


def _survival(facts: Mapping[Any, Any]) -> tuple[float, float, str]:
    days, event = _number(facts.get("survival_days")), _number(facts.get("event"))
    nothing = float("nan")
    missing = [name for name, value in (("survival_days", days), ("event", event)) if value is None]
    if days is None or event is None:
        return nothing, nothing, " and ".join(missing) + " missing"
    if event not in (0.0, 1.0):
        raise ValueError(f"event is {event:g}, not 0 or 1")
    if days <= 0:
        return nothing, nothing, f"survival_days is {days:g}, not above 0"
    return days, event, ""


def _number(value: Any) -> float | None:
    if value is None or value != value:
        return None
    return float(value)


def _fact(facts: Mapping[Any, Any], name: str, known: tuple[str, ...]) -> str | None:
    value = facts.get(name)
    # NaN is the only value that differs from itself
    if value is None or value != value or value == "":
        return None
    if value not in known:
        raise ValueError(f"{name} is {value!r}, not one of {', '.join(known)}")
    return str(value)
