"""The section with single slides' heatmaps, and the links to their viewer pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pathduet.report.blocks import Section, gap, text
from pathduet.report.figures import short_name
from pathduet.report.findings import Findings
from pathduet.report.pictures import data_uri

#: Heatmaps shown as pictures (each some 100 kB of the page), and their longest edge in pixels.
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
        "Where a model looked on single slides. A slide of the cross-validation is shown by the model of the fold that never saw "
        "its patient. Definitions and limits: docs/heatmaps.md.",
    )  # fmt: skip
    pictures = sorted(
        path
        for path in (found.results / "explanations").glob("*/*/fold-*/*/heatmap.png")
        if path.parts[-5] in found.tasks
    )
    if not pictures:
        section.blocks.append(
            text(
                "This run drew none. explanations.heatmaps names slides and models; or draw one now: "
                "pathduet heatmap SLIDE_ID --out heatmaps, then pathduet view heatmaps."
            )
        )
        return section
    maps = []
    for path in pictures[:PICTURES]:
        try:
            maps.append(_map(found.results, path))
        except (OSError, ValueError) as error:
            where = path.relative_to(found.results).as_posix()
            section.blocks.append(gap("A heatmap cannot be read.", f"{where}: {type(error).__name__}"))
    note = "" if len(pictures) <= PICTURES else (
        f"Shown: {PICTURES} of {len(pictures)}; the others are in explanations/<task>/<model>/fold-<k>/<slide_id>/."
    )  # fmt: skip
    section.blocks.append({"kind": "heatmaps", "maps": maps, "note": note})
    return section


def _map(results: Path, picture: Path) -> dict[str, Any]:
    folder = picture.parent
    task, model, fold, slide = folder.parts[-4:]
    return {
        "title": f"{slide}: {task}, {short_name(model)}, {re.sub('-', ' ', fold)}",
        "uri": data_uri(picture, EDGE_PX),
        "links": [
            (name, (folder / part).relative_to(results).as_posix())
            for part, name in _PARTS
            if (folder / part).is_file()
        ],
    }
