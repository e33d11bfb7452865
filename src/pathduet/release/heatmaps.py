"""Where the models of a release looked on a new slide: the mean of the folds' maps, a picture, GeoJSON and a page a task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pathduet.core.errors import InputError
from pathduet.core.files import atomic_path
from pathduet.explain.mean_of_folds import mean_of_folds
from pathduet.explain.tile_maps import Expression, SlideMaps, slide_maps
from pathduet.explain.viewer.geojson import write_geojson
from pathduet.explain.viewer.heatmap import heatmap_png
from pathduet.explain.viewer.viewer_page import write_viewers
from pathduet.release.load import Release

#: Folder beside prediction.json, and micrometres per pixel of the finest picture that can be zoomed to.
FOLDER, VIEWER_MPP = "heatmaps", 2.0


def fold_maps(
    features: Path, release: Release, task: str, model: str, expression: Mapping[int, Expression | None]
) -> list[SlideMaps]:
    """Return each fold's maps; [] for a model without prototypes and deformable attention, which has nothing to show.

    Parameters
    ----------
    features : Path
        The slide's features.h5.
    expression : mapping
        Fold to the slide's z-scores in the model's token order, None without expression.
    """
    found = []
    for fold in release.folds:
        part = release.folder / "models" / task / model / f"fold-{fold}"
        try:
            found.append(slide_maps(part, features, expression.get(fold), "cpu"))
        except InputError:
            return []
    return found


def write_heatmaps(folder: Path, maps: Mapping[str, list[SlideMaps]], slide: Path) -> dict[str, Any]:
    """Write ``heatmaps/`` into a slide's folder and return its files by task, relative to that folder.

    The pages of all tasks share one pyramid of the slide; ``viewer/index.html`` is the first task's.

    Parameters
    ----------
    folder : Path
        The slide's artifacts; its thumbnail is the pictures' ground.
    maps : mapping
        Task to the folds' maps.
    slide : Path
        The raw slide; only read.
    """
    from PIL import Image

    means = {task: mean_of_folds(found) for task, found in maps.items() if found}
    if not means:
        return {}
    out = folder / FOLDER
    written: dict[str, Any] = {}
    pages: dict[str, SlideMaps] = {}
    with Image.open(folder / "thumbnail.png") as picture:
        ground = np.asarray(picture.convert("RGB"))
    for task, mean in means.items():
        page = f"{task}.html" if pages else "index.html"
        pages[page] = mean
        with atomic_path(out / f"{task}.png") as temporary:
            temporary.write_bytes(heatmap_png(mean, ground))
        write_geojson(out / f"{task}.geojson", mean)
        written[task] = {
            "picture": f"{FOLDER}/{task}.png",
            "geojson": f"{FOLDER}/{task}.geojson",
            "viewer": f"{FOLDER}/viewer/{page}",
        }
    write_viewers(out / "viewer", pages, slide, finest_mpp=VIEWER_MPP)
    return written
