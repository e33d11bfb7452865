"""Heatmaps of a release's models on a new slide: the mean of the folds' maps, a picture, GeoJSON and a page per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import InputError
from pathduet.core.faults import raise_machine_fault
from pathduet.explain.mean_of_folds import mean_of_folds
from pathduet.explain.tile_maps import Expression, SlideMaps, loaded_slide_maps
from pathduet.explain.viewer.geojson import maps_frame, write_geojson
from pathduet.explain.viewer.heatmap import heatmap_png
from pathduet.explain.viewer.slide_heatmaps import read_picture, write_picture
from pathduet.explain.viewer.viewer_page import write_viewer
from pathduet.release.load import Release
from pathduet.slides.readers.frame import FrameName

#: Folder beside prediction.json, and micrometres per pixel of the finest zoom level.
FOLDER, VIEWER_MPP = "heatmaps", 2.0


def fold_maps(
    features: Path, release: Release, task: str, model: str, expression: Mapping[int, Expression | None]
) -> list[SlideMaps]:
    """Return each fold's maps; [] for a model without prototypes and deformable attention, which has no maps.

    Parameters
    ----------
    features : Path
        The slide's features.h5.
    expression : mapping
        Fold to the slide's z-scores in the model's token order, None without expression.
    """
    found = []
    for network, description in release.networks(task, model):
        rows = expression.get(description.fold)
        try:
            found.append(loaded_slide_maps(network, description, features, rows, "cpu"))
        except InputError as error:
            raise_machine_fault(error, str(features))
            return []
    return found


def heatmap_bytes(folder: Path, maps: Sequence[SlideMaps], files: Mapping[str, str] | None) -> bytes:
    """Return the PNG of the folds' mean maps: the existing file, or drawn now."""
    if files:
        return (folder / files["picture"]).read_bytes()
    return heatmap_png(mean_of_folds(maps), read_picture(folder / "thumbnail.png"))


def write_heatmaps(
    folder: Path, maps: Mapping[str, list[SlideMaps]], slide: SlideRow, frame: FrameName | None
) -> dict[str, Any]:
    """Write ``heatmaps/`` into a slide's folder and return its files by task, relative to that folder.

    The pages of all tasks share one pyramid of the slide; ``viewer/index.html`` is the first task's. Without a raw slide, no
    pages are written.

    Parameters
    ----------
    folder : Path
        The slide's artifacts; its thumbnail is the pictures' background.
    maps : mapping
        Task to the folds' maps.
    slide : SlideRow
        Its raw slide is only read.
    frame : {"level0", "qupath"} or None
        Origin of the GeoJSON's coordinates, see :func:`pathduet.slides.readers.frame.frame_of`.
    """
    means = {task: mean_of_folds(found) for task, found in maps.items() if found}
    out, written = folder / FOLDER, {}
    pages: dict[str, SlideMaps] = {}
    for task, mean in means.items():
        page = f"{task}.html" if pages else "index.html"
        pages[page] = mean
        write_picture(out / f"{task}.png", mean, folder / "thumbnail.png")
        write_geojson(out / f"{task}.geojson", mean, frame=maps_frame(frame, mean))
        written[task] = {
            "picture": f"{FOLDER}/{task}.png",
            "geojson": f"{FOLDER}/{task}.geojson",
            **({"viewer": f"{FOLDER}/viewer/{page}"} if slide.path.is_file() else {}),
        }
    if pages and slide.path.is_file():
        write_viewer(out / "viewer", pages, slide.path, scene=slide.scene, finest_mpp=VIEWER_MPP)
    return written
