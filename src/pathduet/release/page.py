"""One slide's prediction as one self-contained page: no script, no request, all text escaped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.cohort.tasks import Task
from pathduet.core.html_page import fill, page_style, shipped
from pathduet.core.source_code import code_version
from pathduet.release.heatmaps import heatmap_bytes
from pathduet.release.load import Release
from pathduet.release.pictures import Picture, heatmap_picture, slide_pictures, survival_svg
from pathduet.release.reference import plain_verdict

if TYPE_CHECKING:
    from pathduet.explain.tile_maps import SlideMaps

_HINTS = {
    "feature_distance": "Feature distance to training slides",
    "stain_angle_degrees": "Stain angle to training slides (degrees)",
    "stain_strength": "Stain strength (maximum concentration)",
    "tiles": "Tissue tiles",
}


@lru_cache
def source_hash() -> str:
    """Return a hash of the sources that determine the page's appearance."""
    text = (
        shipped("pathduet.release", "prediction.html")
        + page_style("pathduet.release", "prediction.css")
        + code_version("pathduet.release.page")
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def pictures(
    folder: Path, release: Release, answer: Mapping[str, Any], maps: Mapping[str, Sequence[SlideMaps]]
) -> list[dict[str, Any]]:
    """Return the page's pictures: the slide, its tiles, the first task's heatmap, the survival curve.

    Parameters
    ----------
    maps : mapping
        Task to the folds' maps, from :func:`pathduet.release.heatmaps.fold_maps`.
    """
    found: list[dict[str, Any]] = list(slide_pictures(folder))
    if maps and ((folder / "thumbnail.png").is_file() or answer["heatmaps"]):
        first, looked = next(iter(maps.items()))
        drawn = heatmap_bytes(folder, looked, (answer["heatmaps"] or {}).get(first))
        found[2:2] = [
            heatmap_picture(drawn, release.tasks[first], answer["tasks"][first]["model"], len(looked))
        ]
    for name, said in answer["tasks"].items():
        if said["kind"] != "survival":
            continue
        from markupsafe import Markup

        task, observed = release.tasks[name], release.risks[name, said["model"]]["observed_groups"]
        # Safe as markup: matplotlib escapes all text that it draws.
        svg = Markup(survival_svg(said, observed, task))
        found.append({"svg": svg, "title": task.title, "observed": bool(observed)})
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _task_view(task: Task, found: Mapping[str, Any]) -> dict[str, Any]:
    agreement = found["agreement"]
    view: dict[str, Any] = {"title": task.title, "model": found["model"], "kind": found["kind"]}
    if found["kind"] == "regression":
        low, high = agreement["range"]
        return view | {"value": f"{found['value']:.4g}", "range": f"{low:.4g} to {high:.4g}"}
    view |= {
        "folds": f"{agreement['folds']} of {agreement['of_folds']}",
        "magnifications": ""
        if agreement["magnifications"] is None
        else f"; 10x and 20x agree in {agreement['magnifications']} of {agreement['of_folds']}",
        "divided": agreement["folds"] < agreement["of_folds"],
    }
    if found["kind"] == "classification":
        ranked = sorted(found["probabilities"].items(), key=lambda item: -item[1])
        view["value"] = task.class_title(found["predicted"])
        view["share"] = _percent(found["probabilities"][found["predicted"]])
        view["bars"] = [
            {
                "name": task.class_title(name),
                "percent": f"{100 * share:.1f}",
                "dots": [f"{100 * member['probabilities'][name]:.1f}" for member in found["members"]],
            }
            for name, share in ranked
        ]
    else:
        low, high = agreement["percentile_range"]
        median = found["median_survival_days"]
        last = found["curve"]["days"][-1]
        view["value"] = "middle risk" if found["group"] == "middle" else found["group"]
        view["percentile"] = f"{found['percentile']:.0f}"
        view["range"] = f"{low:.0f} to {high:.0f}"
        days = last if median is None else median
        view["median"] = f"{'beyond ' if median is None else ''}{task.in_unit(days):.1f} {task.unit}"
    return view


def _hint_rows(hints: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = []
    for key, title in _HINTS.items():
        for name, one in hints[key].items():
            known = one["training"] is not None
            rows.append(
                {
                    "title": f"{title}, {name}",
                    "value": "" if one["value"] is None else f"{one['value']:.4g}",
                    "training": f"{one['training']['min']:.3g} / {one['training']['median']:.3g} / {one['training']['max']:.3g}" if known else "",
                    "percentile": f"{one['percentile']:.0f}" if known else "",
                    "verdict": one["verdict"] or "not compared",
                }
            )  # fmt: skip
    return rows


def render(
    answer: Mapping[str, Any], found: Sequence[Mapping[str, Any] | Picture], every_task: Mapping[str, Task]
) -> str:
    """Return the page's HTML.

    Parameters
    ----------
    answer : mapping
        Content of prediction.json.
    found : sequence of mapping
        From :func:`pictures`.
    every_task : mapping of str to Task
        The release's tasks.
    """
    from markupsafe import Markup

    hints = answer["hints"]
    return fill(
        "pathduet.release",
        "prediction.html",
        answer=answer,
        slide=answer["slide"],
        ledger=answer["ledger"],
        tasks=[_task_view(every_task[task], one) for task, one in answer["tasks"].items()],
        hints=hints,
        hint_rows=_hint_rows(hints) if hints else [],
        verdict=plain_verdict(hints) if hints else "",
        pictures=[one for one in found if "uri" in one],
        heatmaps=[
            {"title": every_task[task].title, **files}
            for task, files in (answer.get("heatmaps") or {}).items()
        ],
        curves=[one for one in found if "svg" in one],
        css=Markup(page_style("pathduet.release", "prediction.css")),
    )
