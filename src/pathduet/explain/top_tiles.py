"""A contact sheet: the tiles with the largest weight in each prototype, on slides with extreme predictions.

For each class the slides with its highest probability, for survival and regressions those with the highest and the lowest
prediction; test patients only, each by the model trained without them. Folds have different networks, so patients are ranked
within their fold, and the first of each fold are shown before the second.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from torch import nn

from pathduet.cohort.sheets import SlideRow, read_slides
from pathduet.cohort.tasks import Task
from pathduet.core.errors import InputError, SlideError
from pathduet.core.faults import raise_machine_fault
from pathduet.core.files import write_tsv
from pathduet.core.plural import plural
from pathduet.explain.files import TABLES
from pathduet.explain.fold_results import FoldResult, TaskRun
from pathduet.explain.region_agreement import WITH_PROTOTYPES
from pathduet.explain.tile_maps import loaded_slide_maps
from pathduet.slides.readers.reader import RegionError, SlideReader
from pathduet.training.model_folder import ModelDescription, load_model

#: Slides of each group, tiles of each slide and prototype, and edge of a picture in pixels.
SLIDES, TILES, EDGE_PX = 3, 2, 72
COLUMNS = (
    "model", "group", "subspace", "slide_id", "patient_id", "fold", "magnification", "tile", "x", "y", "weight", "picture",
)  # fmt: skip


@dataclass(frozen=True)
class _Chosen:
    """A patient who represents a group."""

    group: str
    found: FoldResult
    patient_id: str


def groups_of(task: Task, patients: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the ranking of patients for each group, highest first: its display name and one value per patient."""
    if task.kind == "classification":
        return {task.class_title(name): patients[f"p_{name}"] for name in task.classes}
    value = patients["risk" if task.kind == "survival" else "prediction"]
    word = "risk" if task.kind == "survival" else task.in_sentence
    return {f"highest {word}": value, f"lowest {word}": -value}


def chosen_patients(task: Task, folds: Sequence[FoldResult], having: set[str]) -> list[_Chosen]:
    """Return :data:`SLIDES` patients of each group: the first of each fold, then the second.

    Parameters
    ----------
    having : set of str
        Patients that may be chosen: those with a raw slide.
    """
    ranked: dict[str, list[tuple[int, int, _Chosen]]] = {}
    for found in folds:
        able = found.patients[found.patients["patient_id"].isin(having)]
        for group, value in groups_of(task, able).items():
            order = able["patient_id"].iloc[np.argsort(-value.to_numpy(dtype=float), kind="stable")]
            places = ranked.setdefault(group, [])
            places += [
                (i, found.fold, _Chosen(group, found, str(patient))) for i, patient in enumerate(order)
            ]
    first = (sorted(places, key=lambda place: place[:2])[:SLIDES] for places in ranked.values())
    return [one for places in first for _, _, one in places]


def explain_top_tiles(run: TaskRun) -> dict[str, Any]:
    """Find the tiles, read their pixels, write the table and return the summary's entry."""
    rows: list[list[Any]] = []
    reasons = run.no_network
    able = {run.role(model): model for model in reversed(run.networks)}
    model = next((able[role] for role in WITH_PROTOTYPES if role in able), "")
    if run.networks and not model:
        reasons = ["no explained model has prototypes"]
    if model:
        rows, reasons = _rows(run, model)
    write_tsv(run.out_dir / TABLES["top_tiles"][0], pd.DataFrame(rows, columns=list(COLUMNS)))
    slides = len({row[3] for row in rows})
    return {
        "message": f"Tiles of {plural(slides, 'slide')} of test patients." if rows else "",
        "reasons": reasons,
    }


def _rows(run: TaskRun, model: str) -> tuple[list[list[Any]], list[str]]:
    try:
        sheet = read_slides(run.slides_sheet, features_elsewhere=True)
    except InputError as error:  # raw slides may have been removed since
        return [], [str(problem) for problem in error.problems]
    raw = {row.slide_id: row for row in sheet if row.path.is_file()}
    usable = run.slides[run.slides["slide_id"].isin(raw)].drop_duplicates("patient_id")
    slides = {str(row["patient_id"]): row for row in usable.to_dict("records")}
    rows, reasons = [], [] if slides else ["no raw slide is there to read tiles from"]
    networks: dict[int, tuple[nn.Module, ModelDescription]] = {}
    for one in chosen_patients(run.task, run.networks[model], set(slides)):
        slide, fold = str(slides[one.patient_id]["slide_id"]), one.found.fold
        if fold not in networks:
            networks[fold] = load_model(run.results.model(run.task.name, model, fold))[:2]
        network, description = networks[fold]
        try:
            tiles = loaded_slide_maps(network, description, Path(slides[one.patient_id]["features"])).tiles
            for subspace, *found in _pictures(raw[slide], tiles, run.subspaces):
                rows.append([model, one.group, subspace, slide, one.patient_id, fold, *found])
        except (InputError, SlideError, RegionError) as error:
            raise_machine_fault(error, f"slide {slide}")
            reasons.append(f"{slide}: {error}")
    return rows, reasons


def _pictures(slide: SlideRow, tiles: pd.DataFrame, subspaces: Sequence[str]) -> Iterator[list[Any]]:
    """Yield subspace, magnification, tile, x, y, weight and picture of a slide's top tiles at its finest magnification."""
    finest = tiles[tiles["magnification"] == max(tiles["magnification"])]
    with SlideReader(slide.slide_id, slide.path, slide.scene) as reader:
        for subspace in subspaces:
            weight = f"merge_weight_{subspace}"
            for tile in finest.nlargest(TILES, weight).to_dict("records"):
                if not tile[weight] > 0:
                    continue  # the prototype has fewer tiles
                box = tile["x"], tile["y"], tile["size"], tile["size_y"]
                pixels = reader.read_region_at(*box, (EDGE_PX, EDGE_PX))
                place = tile["magnification"], tile["tile"], tile["x"], tile["y"], tile[weight]
                yield [subspace, *place, _encoded(pixels)]


def _encoded(pixels: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
