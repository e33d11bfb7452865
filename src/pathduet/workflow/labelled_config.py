"""A configuration completed from the sheets: its cohorts, the classes of its tasks, and which columns are missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pathduet.catalogue import clinical_sets
from pathduet.cohort.labels import column_problems, known_labels, missing_column, task_labels, with_classes
from pathduet.cohort.tasks import tasks_of
from pathduet.core.config import preset
from pathduet.core.errors import Problems

if TYPE_CHECKING:
    import pandas as pd


def with_labels(config: Mapping[str, Any], patients: pd.DataFrame) -> dict[str, Any]:
    """Return a configuration with every cohort named and every class listed.

    Parameters
    ----------
    config : mapping
        Complete and checked.
    patients : DataFrame
        From :func:`pathduet.cohort.sheets.read_sheets`.

    Raises
    ------
    InputError
        Listing the columns of tasks and covariates that the sheet lacks, and the cells that cannot be labels.
    """
    from pathduet.evaluation.covariates import covariate_values

    problems = Problems()
    cohorts = _cohorts(config, patients, problems)
    sheet = "the sheet of patients" if config["sheets"]["patients"] else "the sheet of slides"
    tasks = tasks_of(config)
    for task in tasks.values():
        problems += column_problems(patients, task, sheet)
    # a preset's covariates are optional: a regression notes which ones were missing
    from_preset = preset(config["preset"]).get("covariates", {}) if config["preset"] else {}
    for name, columns in clinical_sets(config).items():
        for column in columns:
            if config["covariates"].get(column) is None:
                key = f"evaluation.clinical_baselines.{name}"
                known = ", ".join(config["covariates"]) or "none"
                problems.add(key, f"{column!r} is not a covariate", f"add it to `covariates`; known: {known}")
            elif column not in patients.columns and column not in from_preset:
                problems.append(missing_column(column, patients.columns, f"covariates.{column}", sheet))
    problems.check()
    internal = patients[patients["cohort"].isin(cohorts["internal"])]
    external = patients[patients["cohort"].isin(cohorts["external"])]
    # a task that was left out stays out, even if the preset has it
    entries: dict[str, Any] = {name: None for name, entry in config["tasks"].items() if entry is None}
    for name, task in tasks.items():
        with problems.collected():
            complete = with_classes(task, internal)
            task_labels(internal, complete)
            labelled = known_labels(task_labels(external, complete))
            entries[name] = dict(config["tasks"][name])
            if task.kind == "classification" and not task.classes:
                entries[name]["classes"] = list(complete.classes)
            if len(external) and labelled.empty:
                entries[name]["external"] = False
            tasks[name] = complete
    problems.ask(covariate_values, patients, config["covariates"], tasks.values())
    problems.check()
    return {**config, "cohorts": cohorts, "tasks": entries}


def _cohorts(config: Mapping[str, Any], patients: pd.DataFrame, problems: Problems) -> dict[str, list[str]]:
    """Return both lists of cohorts; an empty internal list means every cohort that is not external."""
    internal, external = (list(config["cohorts"][key]) for key in ("internal", "external"))
    found = list(dict.fromkeys(patients["cohort"]))
    for cohort in external:
        if cohort not in found:
            known = ", ".join(map(str, found))
            problems.add("cohorts.external", f"no patient of cohort {cohort!r}", f"cohorts there: {known}")
    return {"internal": internal or [c for c in found if c not in external], "external": external}
