"""The data and labels that each patient has: one row per patient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def participation(
    ledger: pd.DataFrame,
    patients: pd.DataFrame,
    with_expression: Iterable[str],
    labelled: Mapping[str, Iterable[str]],
) -> pd.DataFrame:
    """Return which data and labels each patient has.

    Parameters
    ----------
    ledger : DataFrame
        From :func:`pathduet.cohort.ledger.build_ledger`.
    patients : DataFrame
        Indexed by patient_id, with a column `cohort`.
    with_expression : iterable of str
        Patients that have at least one expression sample.
    labelled : mapping of str to iterable of str
        For each task, the patients that have its label.

    Returns
    -------
    DataFrame
        patient_id, cohort, n_slides, n_slides_used, expression (yes/no), one column per task: ``both``
        (slides and expression), ``slides``, ``expression``, ``no label`` or ``no data``.
    """
    import pandas as pd

    expressed = set(with_expression)
    used = ledger[ledger["status"] == "ok"].groupby("patient_id").size()
    total = ledger.groupby("patient_id").size()
    table = pd.DataFrame(index=patients.index)
    table["cohort"] = patients["cohort"]
    table["n_slides"] = total.reindex(table.index, fill_value=0)
    table["n_slides_used"] = used.reindex(table.index, fill_value=0)
    table["expression"] = ["yes" if p in expressed else "no" for p in table.index]
    for task, ids in labelled.items():
        have_label = set(ids)
        states = []
        for patient, n in table["n_slides_used"].items():
            if patient not in have_label:
                states.append("no label")
            elif n and patient in expressed:
                states.append("both")
            elif n:
                states.append("slides")
            else:
                states.append("expression" if patient in expressed else "no data")
        table[task] = states
    table.index.name = "patient_id"
    return table.reset_index()
