"""Which slides of a run get heatmaps, by which models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pathduet.catalogue import names
from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import Problem, Problems

if TYPE_CHECKING:
    from pathduet.variations import PlannedModel


def heatmap_targets(
    config: Mapping[str, Any], slides: Sequence[SlideRow], fold_of: Mapping[str, int]
) -> list[tuple[str, str, int, str]]:
    """Return (task, model, fold, slide) of a run's heatmaps.

    Parameters
    ----------
    config : mapping
        The configuration; `explanations.heatmaps` and `tasks` are read. The task is survival, or else the first.
    slides : sequence of SlideRow
        The sheet.
    fold_of : mapping
        The fold in whose test part each internal patient is: its model never saw them. For other patients fold 0.
    """
    wanted = config["explanations"]["heatmaps"]
    task = "survival" if "survival" in config["tasks"] else config["tasks"][0]
    patients = {slide.slide_id: slide.patient_id for slide in slides}
    if isinstance(wanted["slides"], int):
        ids = [slide.slide_id for slide in slides if not slide.exclude][: wanted["slides"]]
    else:
        ids = wanted["slides"]
    return [(task, model, fold_of.get(patients[s], 0), s) for s in ids for model in wanted["models"]]


def heatmap_problems(
    config: Mapping[str, Any], slides: Sequence[SlideRow], planned: Mapping[str, PlannedModel]
) -> list[Problem]:
    """Return what is wrong with the configured slides and models."""
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
