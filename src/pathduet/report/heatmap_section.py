"""The section with heatmaps of single slides, and links to their viewer pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pathduet.catalogue import named
from pathduet.core.faults import raise_machine_fault
from pathduet.explain.targets import heatmap_models
from pathduet.report.blocks import Block, Section, gap, text
from pathduet.report.figures import short_name
from pathduet.report.findings import Findings
from pathduet.report.pictures import data_uri

#: Heatmaps shown as pictures (each about 100 kB of the page), and their longest edge in pixels.
PICTURES, EDGE_PX = 12, 1100
_PARTS = (
    ("viewer/index.html", "Zoom into it"),
    ("tiles.geojson", "GeoJSON for QuPath"),
    ("heatmap.png", "Picture"),
)


def heatmaps(found: Findings) -> Section:
    """Return the section of every heatmap in ``explanations/<task>/<model>/fold-<k>/<slide>/``."""
    section = Section(
        "heatmaps", "Heatmaps",
        "Where a model looked on single slides. Slides of the cross-validation are shown by the model of the fold that never saw the patient. "
        "Definitions and limits: docs/explanations.md.",
    )  # fmt: skip
    section.blocks += _instead(found)
    pictures = sorted(
        path
        for path in (found.results / "explanations").glob("*/*/fold-*/*/heatmap.png")
        if path.parts[-5] in found.tasks
    )
    if not pictures:
        section.blocks.append(
            text(
                "This run drew none. Set slides and models in explanations.heatmaps, or draw one now: "
                "pathduet heatmap SLIDE_ID --out heatmaps, then pathduet view heatmaps."
            )
        )
        return section
    maps = []
    for path in pictures[:PICTURES]:
        try:
            maps.append(_map(found, path))
        except (OSError, ValueError) as error:
            raise_machine_fault(error, str(path))
            where = path.relative_to(found.results).as_posix()
            section.blocks.append(gap("A heatmap cannot be read.", f"{where}: {type(error).__name__}"))
    note = "" if len(pictures) <= PICTURES else (
        f"Shown: {PICTURES} of {len(pictures)}; the others are in explanations/<task>/<model>/fold-<k>/<slide_id>/."
    )  # fmt: skip
    section.blocks.append({"kind": "heatmaps", "maps": maps, "note": note})
    return section


def _instead(found: Findings) -> Iterator[Block]:
    """Yield a note where the student replaces models that the run leaves out."""
    wanted, reasons = found.config["explanations"]["heatmaps"]["models"], found.left_out
    reason_of = dict(zip(reasons["model"], reasons["reason"], strict=True))
    drawn = heatmap_models(wanted, [name for name in found.catalogue if name not in reason_of])
    for model in wanted:
        if model not in drawn:
            told = f"No heatmaps of the {named(model, found.catalogue).in_sentence}: {reason_of[model]}."
            yield text(f"{told} The student's are shown instead.")


def _map(found: Findings, picture: Path) -> dict[str, Any]:
    folder, results = picture.parent, found.results
    task, model, fold, slide = folder.parts[-4:]
    words = (found.tasks[task].in_sentence, short_name(model, found.catalogue), fold.replace("-", " "))
    return {
        "title": f"{slide}: {', '.join(words)}",
        "uri": data_uri(picture, EDGE_PX),
        "links": [
            (name, (folder / part).relative_to(results).as_posix())
            for part, name in _PARTS
            if (folder / part).is_file()
        ],
    }
