"""The slides of a run that get heatmaps, and the models they show."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pathduet.catalogue import names
from pathduet.cohort.sheets import SlideRow
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core.errors import Problem, Problems

if TYPE_CHECKING:
    from pathduet.variations import PlannedModel


def heatmap_task(config: Mapping[str, Any]) -> Task:
    """Return the task whose models are drawn: the first survival task, or else the first task."""
    tasks = list(tasks_of(config).values())
    return next((task for task in tasks if task.kind == "survival"), tasks[0])


def heatmap_models(wanted: Sequence[str], networks: Collection[str]) -> list[str]:
    """Return the models to draw: the wanted ones, with the student once in place of those the run left out.

    Parameters
    ----------
    wanted : sequence of str
        As configured.
    networks : collection of str
        Networks that every task of the run has.
    """
    lost = {name for name in names("method") if name not in networks}
    return list(dict.fromkeys("student" if name in lost else name for name in wanted))


def heatmap_targets(
    config: Mapping[str, Any],
    slides: Sequence[SlideRow],
    fold_of: Mapping[str, int],
    networks: Collection[str],
) -> list[tuple[str, str, int, str]]:
    """Return (task, model, fold, slide) of a run's heatmaps; none without slides.

    Parameters
    ----------
    config : mapping
        The configuration; only `explanations.heatmaps` and `tasks` are read.
    slides : sequence of SlideRow
        The sheet.
    fold_of : mapping
        The fold whose test part contains each internal patient: its model was trained without the patient.
        Other patients: fold 0.
    networks : collection of str
        See :func:`heatmap_models`.
    """
    if not slides:
        return []
    wanted, task = config["explanations"]["heatmaps"], heatmap_task(config).name
    patients = {slide.slide_id: slide.patient_id for slide in slides}
    if isinstance(wanted["slides"], int):
        ids = [slide.slide_id for slide in slides if not slide.exclude][: wanted["slides"]]
    else:
        ids = wanted["slides"]
    models = heatmap_models(wanted["models"], networks)
    return [(task, model, fold_of.get(patients[s], 0), s) for s in ids for model in models]


def heatmap_problems(
    config: Mapping[str, Any], slides: Sequence[SlideRow], planned: Mapping[str, PlannedModel]
) -> list[Problem]:
    """Return the problems of the configured slides and models; none in a run without slides."""
    if not slides:
        return []
    wanted, known = config["explanations"]["heatmaps"], {slide.slide_id for slide in slides}
    problems, sheet = Problems(), config["sheets"]["slides"]
    for name in wanted["slides"] if isinstance(wanted["slides"], list) else []:
        if name not in known:
            found = f"{name!r} is not in {sheet}"
            problems.add("explanations.heatmaps.slides", found, "name a slide of the sheet")
    for name in wanted["models"]:
        if name not in planned or planned[name].base not in names("method", "released"):
            advice = f"one of {', '.join(names('method'))}, or a variation of them"
            problems.add("explanations.heatmaps.models", repr(name), advice)
    return problems
