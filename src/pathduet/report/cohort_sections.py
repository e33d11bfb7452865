"""Sections about the cohort: included and excluded slides and patients, and the contents of the sheet."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pathduet.catalogue import clinical_sets
from pathduet.cohort.labels import known_labels, label_columns
from pathduet.cohort.tasks import Task
from pathduet.core.plural import plural
from pathduet.report import label_figure
from pathduet.report.blocks import Block, Drawer, Section, note, table
from pathduet.report.findings import Findings

_REASON_TITLES = {
    "no_mpp": "no pixel size",
    "time_limit": "took too long",
    "memory_limit": "used too much memory",
}
_STATES = {
    "both": "Slides + expression",
    "slides": "Slides only",
    "expression": "Expression only",
    "no label": "No label",
    "no data": "No data",
}


def reason_title(reason: str) -> str:
    """Return a short title for the reason a slide was lost."""
    return _REASON_TITLES.get(reason, reason.replace("_", " "))


# --- participation


def flow(found: Findings) -> Section:
    """Included and excluded slides and patients, with reasons."""
    section = Section(
        "flow",
        "Cohort flow",
        "Which patients and slides were included, which were used, and what happened to the others.",
    )
    ledger, people = found.ledger, found.participation
    if not found.has_slides:
        section.blocks.append(
            note(
                "No slides: the configuration names no sheet of slides (sheets.slides), so patients are counted."
            )
        )
        if people is not None:
            section.blocks += [
                {"kind": "flow", "steps": _patient_steps(found, people)},
                _cohorts(found, None),
            ]
    elif ledger is None:
        section.blocks.append(found.gap("No slide ledger.", "ledger.tsv"))
    else:
        section.blocks += [{"kind": "flow", "steps": _slide_steps(ledger)}, _cohorts(found, ledger)]
    section.blocks.append(_participation(found))
    return section


def _slide_steps(ledger: pd.DataFrame) -> list[dict[str, Any]]:
    excluded, failed = (ledger[ledger["status"] == s] for s in ("excluded", "failed"))
    used = ledger[ledger["status"] == "ok"]
    steps: list[dict[str, Any]] = [
        {"count": len(ledger), "name": "slides in the sheet", "lost": [("excluded by the sheet", len(excluded))],
         "detail": plural(ledger['patient_id'].nunique(), "patient")},
        {"count": len(ledger) - len(excluded), "name": "slides tried",
         "lost": [(reason_title(str(r)), n) for r, n in failed["reason"].value_counts().sort_index().items()],
         "detail": plural(ledger[ledger['status'] != 'excluded']['patient_id'].nunique(), "patient")},
        {"count": len(used), "name": "slides used", "lost": [],
         "detail": plural(used['patient_id'].nunique(), "patient")},
    ]  # fmt: skip
    for step in steps:
        step["lost"] = [(name, count) for name, count in step["lost"] if count]
    return steps


def _patient_steps(found: Findings, people: pd.DataFrame) -> list[dict[str, Any]]:
    cohorts, expressed = people["cohort"].nunique(), int((people["expression"] == "yes").sum())
    detail = f"{cohorts} cohort{'' if cohorts == 1 else 's'}"
    sheet: dict[str, Any] = {
        "count": len(people),
        "name": "patients in the sheet",
        "lost": [],
        "detail": detail,
    }
    if not found.has_expression:
        return [sheet]
    if expressed < len(people):
        sheet["lost"] = [("without expression", len(people) - expressed)]
    return [sheet, {"count": expressed, "name": "patients with expression", "lost": [], "detail": ""}]


def _cohorts(found: Findings, ledger: pd.DataFrame | None) -> Block:
    """Return slides and patients by cohort."""
    rows, people = [], found.participation
    parts = [part for part in (ledger, people) if part is not None]
    for cohort in dict.fromkeys(cohort for part in parts for cohort in part["cohort"]):
        row: dict[str, Any] = {"Cohort": cohort}
        if ledger is not None:
            here = ledger[ledger["cohort"] == cohort]
            row["Slides"] = len(here)
            for title, status in (("Used", "ok"), ("Failed", "failed"), ("Excluded", "excluded")):
                row[title] = int((here["status"] == status).sum())
            row["Patients"] = here["patient_id"].nunique()
            row["with a used slide"] = here[here["status"] == "ok"]["patient_id"].nunique()
        if people is not None:
            group = people[people["cohort"] == cohort]
            row["Patients"] = len(group)
            if found.has_expression:
                row["with expression"] = int((group["expression"] == "yes").sum())
        rows.append(row)
    columns = list(rows[0]) if rows else ["Cohort"]
    source = " and ".join(
        name for name, part in (("ledger.tsv", ledger), ("participation.tsv", people)) if part is not None
    )
    return table("cohorts", columns, [[row[column] for column in columns] for row in rows], numbers=columns[1:],
                 title="By cohort", source=source)  # fmt: skip


def _participation(found: Findings) -> Block:
    people = found.participation
    if people is None:
        return found.gap("Participation in the tasks is not known.", "participation.tsv")
    there = [task.name for task in found.tasks.values() if task.name in people]
    states = {key: title for key, title in _STATES.items() if people[there].isin([key]).any(axis=None)}
    columns = ["Cohort", "Task", *states.values()]
    rows = [
        [cohort, found.tasks[name].title, *[int((group[name] == state).sum()) for state in states]]
        for name in there
        for cohort, group in people.groupby("cohort", sort=False)
    ]
    return table("participation", columns, rows, numbers=columns[2:], title="Patients by task",
                 note="A model uses patients that have what it reads: slides, expression or both. "
                    "A patient without the task's label is in neither training nor metrics of that task.",
                 source="participation.tsv")  # fmt: skip


# --- contents of the sheet


def data(found: Findings, drawer: Drawer) -> Section:
    """The sheet's columns that became labels and covariates, and their contents."""
    preset = found.config["preset"]
    words = (
        f"Tasks and titles come from the preset {preset} and from the configuration."
        if preset
        else "Tasks come from the configuration."
    )
    section = Section(
        "data",
        "Labels and covariates",
        f"What the sheet contains, and how tasks and covariates use it. {words}",
    )
    if found.patients is None or not found.labels:
        section.blocks.append(found.gap("Labels and covariates are not known.", found.sheet))
        return section
    external = found.patients["cohort"].isin(found.config["cohorts"]["external"])
    known = {name: known_labels(labels).assign(external=external) for name, labels in found.labels.items()}
    section.blocks.append(_tasks(found, known))
    if drawn := {name: (found.tasks[name], rows) for name, rows in known.items() if len(rows)}:
        parts = " Dark: internal cohorts; light: external ones." if external.any() else ""
        section.blocks.append(
            drawer.draw(
                "labels", label_figure.labels, {"known": drawn}, message="",
                caption=f"Labelled patients of each task: classes, Kaplan-Meier curve with censored patients as ticks, or values.{parts}",
                source=found.sheet,
            )
        )  # fmt: skip
    section.blocks += [block for block in (_covariates(found), _unread(found)) if block is not None]
    return section


def _tasks(found: Findings, known: dict[str, pd.DataFrame]) -> Block:
    rows = []
    for name, labelled in known.items():
        task, inside = found.tasks[name], labelled[~labelled["external"]]
        missing = found.labels[name]["reason"].replace("", pd.NA).dropna()
        why = "; ".join(f"{reason} ({n})" for reason, n in missing.value_counts().head(3).items())
        rows.append([task.title, kind_title(task), _columns(found, task), len(inside), len(labelled) - len(inside),
                     _said(task, inside), why])  # fmt: skip
    columns = [
        "Task",
        "Kind",
        "Columns",
        "Internal",
        "External",
        "Values (internal)",
        "Without a label",
    ]
    there = [
        i
        for i, column in enumerate(columns)
        if column not in ("External", "Without a label") or any(row[i] for row in rows)
    ]
    return table("tasks", [columns[i] for i in there], [[row[i] for i in there] for row in rows],
                 numbers=["Internal", "External"], title="Tasks", source=found.sheet,
                 note="Counts include all labelled patients, with or without slides or expression.")  # fmt: skip


def kind_title(task: Task) -> str:
    """Return the display name of a task's kind."""
    if task.kind != "classification":
        return task.kind
    return "binary" if task.is_binary else f"{'ordered, ' if task.ordered else ''}{len(task.classes)} classes"


def _columns(found: Findings, task: Task) -> str:
    """Return the columns that a task's labels come from, and how many labels are derived."""
    there: Any = found.patients
    own = [column for column in task.columns if column in there]
    if not task.derive:
        return ", ".join(own)
    sources = [column for column in label_columns(task) if column in there and column not in task.columns]
    labels = found.labels[task.name]
    given = there[own[0]].notna() if own else pd.Series(False, index=there.index)
    made = int(((labels["reason"] == "") & ~given).sum())
    derived = f"{task.derive['name']} of {', '.join(sources)}: {plural(made, 'patient')}"
    return "; ".join([*own, derived])


def _said(task: Task, rows: pd.DataFrame) -> str:
    """Return a short summary of some patients' labels."""
    if rows.empty:
        return ""
    if task.kind == "classification":
        counts = rows["label"].value_counts()
        return "; ".join(f"{task.class_title(name)}: {int(counts.get(name, 0))}" for name in task.classes)
    if task.kind == "survival":
        time = task.in_unit(rows["survival_days"].astype(float))
        return f"{plural(int(rows['event'].sum()), 'event')}; median time {time.median():.4g} {task.unit}, longest {time.max():.4g}"
    value = rows["value"].astype(float)
    return f"median {value.median():.4g}, from {value.min():.4g} to {value.max():.4g}"


def _covariates(found: Findings) -> Block | None:
    patients: Any = found.patients
    sets, rows = clinical_sets(found.config), []
    for column, entry in found.config["covariates"].items():
        if entry is None:
            continue
        kind = entry if isinstance(entry, str) else entry["kind"]
        cells = patients[column].dropna() if column in patients else pd.Series(dtype=object)
        numbers = pd.to_numeric(cells, errors="coerce").dropna()
        if not len(cells):
            said = "not in the sheet" if column not in patients else "empty"
        elif kind == "numeric" and len(numbers):
            said = f"median {numbers.median():.4g}, from {numbers.min():.4g} to {numbers.max():.4g}"
        else:
            counts = cells.value_counts()
            said = "; ".join(f"{value}: {n}" for value, n in counts.head(8).items()) + (
                " …" if len(counts) > 8 else ""
            )
        used = ", ".join(name for name, columns in sets.items() if column in columns) or "none"
        rows.append([column, kind, len(cells), said, used])
    if not rows:
        return None
    columns = ["Column", "Kind", "Patients", "What they say", "Sets of clinical baselines"]
    return table("covariates", columns, rows, numbers=["Patients"], title="Covariates", source=found.sheet)


def _unread(found: Findings) -> Block | None:
    """Return the columns that are not used."""
    read = {column for task in found.tasks.values() for column in label_columns(task)}
    read |= {column for column, entry in found.config["covariates"].items() if entry is not None}
    left = (
        [str(column) for column in found.patients if column not in {*read, "cohort", "site"}]
        if found.patients is not None
        else []
    )
    return note(f"Columns of the sheet that are not used: {', '.join(left)}.") if left else None
