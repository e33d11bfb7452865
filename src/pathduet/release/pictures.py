"""Pictures of one slide's prediction: the slide, the heatmap, and the survival curve."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from pathduet.catalogue import named
from pathduet.cohort.tasks import DAYS_IN, Task
from pathduet.core.plural import plural
from pathduet.report.pictures import data_uri

_EDGE = 512

Picture = dict[str, str]


def slide_pictures(folder: Path) -> list[Picture]:
    """Return the thumbnail and the tile map, if they exist."""
    named = {
        "thumbnail.png": ("The slide", "As scanned."),
        "mask.png": ("Tissue and tiles", "Green: tissue. Blue: 20x tiles. Orange frames: 10x tiles, where they are large enough."),
        "stain.png": ("Stain", "Tiles as scanned, and as the model sees them after normalisation."),
    }  # fmt: skip
    return [
        {
            "title": title,
            "caption": caption,
            "uri": data_uri(folder / name, _EDGE),
            "kind": name.removesuffix(".png"),
        }
        for name, (title, caption) in named.items()
        if (folder / name).is_file()
    ]


def heatmap_picture(drawn: bytes, task: Task, model: str, folds: int) -> Picture:
    """Return a picture of the folds' mean maps, given as PNG."""
    looked = named(model).in_sentence
    return {
        "title": "Where the model looked",
        "caption": f"The {looked} of {task.in_sentence}, mean of {plural(folds, 'fold')}.",
        "uri": "data:image/png;base64," + base64.b64encode(drawn).decode("ascii"),
        "kind": "heatmap",
    }


def survival_svg(found: dict[str, Any], observed: list[dict[str, Any]], task: Task) -> str:
    """Return the predicted survival curve with the cross-validation's observed risk groups, as SVG for the page."""
    from pathduet.report import drawing

    line: dict[str, Any]
    unit = DAYS_IN[task.unit]
    colours = {"low risk": drawing.GREEN, "middle": drawing.ORANGE, "high risk": drawing.RED}
    with drawing.style():
        figure = drawing.new_figure(6.4, 3.3)
        axes = figure.add_subplot()
        for curve in observed:
            label = f"{curve['group']}: {plural(curve['n'], 'patient')}, {plural(curve['deaths'], 'event')}"
            line = {"color": colours.get(curve["group"], drawing.MUTED), "linewidth": 1.1, "linestyle": "--"}
            axes.step(np.array(curve["days"]) / unit, curve["survival"], where="post", label=label, **line)
        for member in found["members"]:
            times = np.array([0.0, *member["edges_days"]]) / unit
            axes.plot(
                times, [1.0, *member["survival_at_edges"]], color=drawing.BLUE, linewidth=0.8, alpha=0.45
            )
        times = np.array(found["curve"]["days"]) / unit
        line = {"linewidth": 2.4, "marker": "o", "markersize": 3.5}
        axes.plot(times, found["curve"]["survival"], color=drawing.BLUE, label="this slide", **line)
        axes.set(xlabel=task.unit.capitalize(), ylabel="Share without the event", ylim=(0, 1.02))
        axes.set_xlim(left=0, right=max(3.0 * float(times[-1]), 365.25 / unit) if observed else None)
        axes.legend(loc="upper right", labelcolor=drawing.INK)
        svg = drawing.standalone_svg(figure, task.name)
    alternative = f"{task.title}: predicted for this slide, and observed in the risk groups"
    return drawing.inline_svg(svg, task.name, alternative)
