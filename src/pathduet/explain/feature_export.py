"""Features of a run's slides for other tools, slide by slide, with a model's maps if the format can hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.cohort.folds import read_folds
from pathduet.cohort.ledger import read_ledger
from pathduet.cohort.tasks import Task
from pathduet.core.checksums import checked
from pathduet.core.errors import InputError, PathDuetError, Problem
from pathduet.evaluation.predictions import read_predictions
from pathduet.explain.tile_export import (
    ModelView,
    slides_anndata,
    tile_anndata,
    write_anndata,
    write_objects,
    write_spatialdata,
)
from pathduet.explain.tile_maps import read_grids
from pathduet.explain.viewer.slide_heatmaps import explain_slide
from pathduet.features.export import WRITERS, slide_tiles
from pathduet.features.feature_file import features_of
from pathduet.results import PREDICTIONS, Results
from pathduet.slides.readers.frame import FrameName, frame_of

if TYPE_CHECKING:
    import pandas as pd

#: Formats that can hold a model's maps of the tiles, and a frame.
WITH_MODEL = ("anndata", "spatialdata", "geojson")
FORMATS = (*WRITERS, *WITH_MODEL)


@dataclass(frozen=True)
class ExportJob:
    """Settings of an export.

    Attributes
    ----------
    results : Results
    out : Path
        Folder that gets one folder per magnification.
    format : str
        One of :data:`FORMATS`.
    magnifications : tuple of str
        Empty: all magnifications of a slide.
    task : Task or None
    model : str
        The model whose maps are exported; none if empty. Patients in a test part get the model of that fold, which was trained
        without them, others the mean over all folds.
    folds : tuple of int
        Folds in which the model was trained.
    frame : {"level0", "qupath"} or None
        None: for GeoJSON QuPath's frame, if known; for the other formats level 0.
    """

    results: Results
    out: Path
    format: str
    magnifications: tuple[str, ...] = ()
    task: Task | None = None
    model: str = ""
    folds: tuple[int, ...] = ()
    frame: FrameName | None = None

    @cached_property
    def fold_of(self) -> dict[str, int]:
        """The fold whose test part contains each internal patient."""
        folds = read_folds(self.results.folds)
        return {str(patient): int(fold) for patient, fold in zip(folds["patient_id"], folds["fold"])}

    @cached_property
    def predictions(self) -> dict[Path, pd.DataFrame]:
        """Tables of predictions by file, each read once."""
        return {}


def slides_to_export(results: Results, wanted: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return each exported slide's patient, and each lost slide's reason; the run's slides if `wanted` is empty.

    Raises
    ------
    InputError
        If the run has no ledger, or lacks a wanted slide.
    """
    if not checked(results.ledger).is_file():
        raise InputError.of(str(results.root), "no ledger.tsv", "name the results folder of a run")
    ledger = read_ledger(results.ledger).set_index("slide_id")
    if unknown := [name for name in wanted if name not in ledger.index]:
        raise InputError(
            [
                Problem(f"slide {name!r}", "not in the run", "name a slide of its ledger.tsv")
                for name in unknown
            ]
        )
    chosen = ledger.loc[list(dict.fromkeys(wanted))] if wanted else ledger
    fine = chosen["status"] == "ok"
    lost = {str(name): f"{row['status']}: {row['reason']}" for name, row in chosen[~fine].iterrows()}
    return {str(name): str(patient) for name, patient in chosen.loc[fine, "patient_id"].items()}, lost


def export_slides(job: ExportJob, patients: dict[str, str]) -> Iterator[tuple[str, list[Path] | str]]:
    """Yield each slide with its written files, or with the reason why there are none."""
    for slide_id, patient_id in patients.items():
        try:
            yield slide_id, _export(job, slide_id, patient_id)
        except PathDuetError as error:
            yield slide_id, str(error)


def export_model(job: ExportJob) -> Path:
    """Write a model's slides with their predictions and representations, as ``<task>-<model>.h5ad``."""
    assert job.task is not None
    path = job.out / f"{job.task.name}-{job.model}.h5ad"
    write_anndata(path, slides_anndata(job.results, job.task, job.model, job.folds))
    return path


def _export(job: ExportJob, slide_id: str, patient_id: str) -> list[Path]:
    tiles = slide_tiles(job.results, slide_id, job.magnifications)
    if job.format in WRITERS:
        return [WRITERS[job.format](job.out, one) for one in tiles]
    bounds = read_grids(features_of(job.results, slide_id))[1]["bounds"]
    frame = frame_of(job.frame or (None if job.format == "geojson" else "level0"), slide_id, bounds)
    view = _view(job, slide_id, patient_id) if job.model else None
    written = []
    for one in tiles:
        path = job.out / one.magnification / slide_id
        if job.format == "geojson":
            written.append(path.with_name(f"{slide_id}.geojson"))
            write_objects(written[-1], one, frame, view)
            continue
        found = tile_anndata(one, frame, view, job.results.slide(slide_id) / "thumbnail.png")
        suffix, write = {"anndata": (".h5ad", write_anndata), "spatialdata": (".zarr", write_spatialdata)}[
            job.format
        ]
        written.append(path.with_name(f"{slide_id}{suffix}"))
        write(written[-1], found)
    return written


def _view(job: ExportJob, slide_id: str, patient_id: str) -> ModelView:
    assert job.task is not None
    unseen = [job.fold_of[patient_id]] if patient_id in job.fold_of else list(job.folds)
    maps = explain_slide(job.results, slide_id, patient_id, job.task.name, job.model, unseen)
    return ModelView(maps, _prediction(job, slide_id, unseen))


def _prediction(job: ExportJob, slide_id: str, folds: Sequence[int]) -> dict[str, Any]:
    """Return the model's prediction of a slide: the row of its fold, or the folds' ensemble for an external patient."""
    assert job.task is not None
    one = len(folds) == 1
    folder = (
        job.results.model(job.task.name, job.model, folds[0])
        if one
        else job.results.ensemble(job.task.name, job.model)
    )
    path = folder / PREDICTIONS
    if not checked(path).is_file():
        return {}
    if path not in job.predictions:
        job.predictions[path] = read_predictions(path)
    table = job.predictions[path]
    rows = table[table["slide_id"] == slide_id].drop(columns=["slide_id", "cohort"], errors="ignore")
    return {str(name): value for name, value in rows.iloc[0].dropna().items()} if len(rows) else {}
