"""Labels of the three tasks from patients.tsv; a missing value gives a missing label and a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pathduet.cohort.who_labels import GRADES, Cdkn2aRule, number_of, who2021, word_of
from pathduet.core.errors import InputError, Problems

if TYPE_CHECKING:
    import pandas as pd

Task = Literal["diagnosis", "grading", "survival"]


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
        See :func:`pathduet.cohort.who_labels.who2021`; used for the diagnosis only.

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
    problems = Problems()
    for patient_id, patient in zip(patients.index, patients.to_dict("records")):
        try:
            if task == "diagnosis":
                rows.append(who2021(patient, cdkn2a_rule))
            elif task == "grading":
                grade = word_of(patient, "grade", GRADES)
                rows.append((grade, "" if grade else "grade missing"))
            elif task == "survival":
                rows.append(_survival(patient))
            else:
                raise InputError.of("task", repr(task), "use diagnosis, grading or survival")
        except ValueError as error:
            problems.add(f"patient {patient_id}", str(error), "correct patients.tsv")
    problems.check()
    columns = ["survival_days", "event", "reason"] if task == "survival" else ["label", "reason"]
    table = pd.DataFrame(rows, index=patients.index, columns=columns)
    if task == "survival":
        return table.astype({"survival_days": float, "event": float})
    return table.astype(object)


def _survival(patient: Mapping[Any, Any]) -> tuple[float, float, str]:
    days, event = number_of(patient, "survival_days"), number_of(patient, "event")
    nothing = float("nan")
    missing = [name for name, value in (("survival_days", days), ("event", event)) if value is None]
    if days is None or event is None:
        return nothing, nothing, " and ".join(missing) + " missing"
    if event not in (0.0, 1.0):
        raise ValueError(f"event is {event:g}, not 0 or 1")
    if days <= 0:
        return nothing, nothing, f"survival_days is {days:g}, not above 0"
    return days, event, ""
