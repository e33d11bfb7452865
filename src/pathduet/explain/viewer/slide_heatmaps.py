"""Heatmaps of a slide of a results folder: PNG, GeoJSON and viewer page from one pass of the model."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pathduet.core.checksums import checked
from pathduet.core.errors import InputError
from pathduet.core.files import atomic_path, write_text
from pathduet.explain.mean_of_folds import mean_of_folds
from pathduet.explain.tile_maps import NO_PLACES, Expression, SlideMaps, loaded_slide_maps
from pathduet.explain.viewer.geojson import maps_frame, write_geojson
from pathduet.explain.viewer.heatmap import heatmap_png
from pathduet.explain.viewer.viewer_page import PYRAMID, write_viewer
from pathduet.features.feature_file import features_of, open_features
from pathduet.results import Results
from pathduet.slides.readers.frame import FrameName
from pathduet.training.model_folder import ModelDescription, load_model

Product = Literal["png", "geojson", "viewer"]
PRODUCTS: tuple[Product, ...] = ("png", "geojson", "viewer")


def explain_slide(
    results: Results, slide_id: str, patient_id: str, task: str, model: str, folds: Sequence[int]
) -> SlideMaps:
    """Return a trained model's maps of a slide; for several folds, their mean.

    Raises
    ------
    InputError
        If the model does not exist, the slide has no features, or a teacher's patient has no expression.
    """
    found = []
    for fold in folds:
        network, description, _ = load_model(results.model(task, model, fold))
        expression = _expression(results, description, slide_id, patient_id)
        found.append(loaded_slide_maps(network, description, features_of(results, slide_id), expression))
    return mean_of_folds(found)


def _expression(
    results: Results, description: ModelDescription, slide_id: str, patient_id: str
) -> Expression | None:
    """Return the input of a model that reads expression: the row of the fold's matrix for the model's own genes."""
    from pathduet.expression.fold_matrix import load

    genes = {name: list(symbols) for name, symbols in description.genes.items()}
    if not any(genes.values()):
        return None
    of_fold = results.genes(description.fold)
    for path in sorted(of_fold.parent.rglob(of_fold.name)):
        matrix = load(path)
        if matrix.genes == genes:
            return matrix.row_for(patient_id, slide_id)
    where = f"model {description.model} of {description.task.name}, fold {description.fold}"
    raise InputError.of(where, "no matrix in genes/ has its genes", "train it again")


def write_heatmaps(
    out: Path,
    maps: SlideMaps,
    thumbnail: Path,
    slide: Path,
    *,
    products: Iterable[Product] = PRODUCTS,
    scene: str = "",
    viewer_mpp: float = 2.0,
    frame: FrameName | None = None,
) -> list[Path]:
    """Write ``heatmap.png``, ``tiles.geojson`` and ``viewer/index.html`` into `out`; return what was written.

    Parameters
    ----------
    out : Path
        Created if missing.
    maps : SlideMaps
    thumbnail : Path
        A picture of the whole slide, drawn under the maps; if it is missing, the background is blank.
    slide : Path
        The raw slide, for the viewer; only read. If it is missing, the page states that.
    products : iterable of str
        Which of ``png``, ``geojson`` and ``viewer``.
    scene : str
        Which of the raw slide's pictures, if it contains several.
    viewer_mpp : float
        Micrometres per pixel of the viewer's finest level.
    frame : {"level0", "qupath"} or None
        Origin of the GeoJSON's coordinates, see :func:`pathduet.slides.readers.frame.frame_of`.
    """
    wanted, written = set(products), []
    if "png" in wanted:
        write_picture(out / "heatmap.png", maps, thumbnail)
        written.append(out / "heatmap.png")
    if "geojson" in wanted:
        write_geojson(out / "tiles.geojson", maps, frame=maps_frame(frame, maps))
        written.append(out / "tiles.geojson")
    if "viewer" in wanted:
        if slide.is_file() and np.isfinite(maps.tiles.attrs["mpp"][0]):
            write_viewer(out / "viewer", {"index.html": maps}, slide, scene=scene, finest_mpp=viewer_mpp)
        else:
            name = maps.tiles.attrs["slide_id"]
            _write_page(
                out / "viewer", f"No viewer of slide {name}: there is no raw slide with a known pixel size."
            )
        written.append(out / "viewer" / "index.html")
    return written


def write_picture(path: Path, maps: SlideMaps, thumbnail: Path) -> None:
    """Draw maps over a picture of the whole slide."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(heatmap_png(maps, read_picture(thumbnail)))


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture, (h, w, 3); one light grey pixel if it is missing."""
    if not checked(path).is_file():
        return np.full((1, 1, 3), 240, np.uint8)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def lost_reason(results: Results, slide_id: str) -> str | None:
    """Return why a slide has no features, from the ledger; None if it has them."""
    from pathduet.cohort.ledger import read_ledger

    ledger = read_ledger(results.ledger).set_index("slide_id")
    if slide_id not in ledger.index:
        advice = "name a slide of this run's ledger.tsv"
        raise InputError.of(f"slide {slide_id}", "not in the run", advice)
    row = ledger.loc[slide_id]
    return None if row["status"] == "ok" else f"{row['status']} at {row['stage']}: {row['reason']}"


def without_map(results: Results, slide_id: str) -> str | None:
    """Return why a slide can have no map: it was lost, or its tiles' positions are unknown; None if it can have one."""
    if reason := lost_reason(results, slide_id):
        return f"it was lost ({reason})"
    with open_features(features_of(results, slide_id)) as file:
        return NO_PLACES if any(file.coords(m) is None for m in file.magnifications) else None


def write_absence(out: Path, slide_id: str, why: str) -> None:
    """Write the three files for a slide without a map; they state why, and the run continues."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    text = f"No heatmap of slide {slide_id}: {why}."
    figure = Figure(figsize=(6, 1.2), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.03, 0.5, text, va="center", wrap=True, fontsize=9, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    with atomic_path(out / "heatmap.png") as temporary:
        temporary.write_bytes(buffer.getvalue())
    write_text(out / "tiles.geojson", '{"type":"FeatureCollection","features":[]}\n')
    _write_page(out / "viewer", text)


def _write_page(folder: Path, text: str) -> None:
    """Write a page with one sentence in place of a viewer."""
    import html

    (folder / f"{PYRAMID}_files").mkdir(parents=True, exist_ok=True)
    policy = "default-src 'none'"
    write_text(
        folder / "index.html",
        '<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>No heatmap</title>'
        f"<p>{html.escape(text)}</p></html>\n",
    )
