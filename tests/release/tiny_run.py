"""A finished run small enough for a test: real slides through the real engine, real models, no Snakemake."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pathduet.cohort.ledger import build_ledger
from pathduet.cohort.sheets import read_patients, read_slides
from pathduet.core import config as configuration
from pathduet.core.files import write_json, write_tsv
from pathduet.core.provenance import run_record
from pathduet.expression import fold_matrix
from pathduet.expression.prepare import MatrixSettings, build
from pathduet.expression.tables import read_expression
from pathduet.slides.batch import write_manifest
from pathduet.slides.settings import SlideSettings
from pathduet.slides.stages import run_stage
from pathduet.slides.status import STAGES
from pathduet.training.fold_jobs import FoldJob, run_fold
from pathduet.workflow.plan import Plan
from slides.synthetic_slides import stained_image, write_svs

TUMOR, TME = [f"TG{i}" for i in range(12)], [f"ME{i}" for i in range(14)]
TASKS = {
    "receptor": {"kind": "classification", "column": "er", "classes": ["no", "yes"]},
    "pfi": {"kind": "survival", "time": "pfi_months", "event": "pfi", "unit": "months", "bins": 2},
    "ki67": {"kind": "regression", "column": "ki67"},
}
FOLDS, MODELS = (0, 1), ("teacher", "student")
PATIENTS = [f"P{i}" for i in range(8)]


@dataclass
class TinyRun:
    """The run's folder and what it was made of."""

    folder: Path
    results: Path
    config: dict[str, Any]

    @property
    def expression(self) -> Path:
        return self.folder / "expression.tsv"

    def slide(self, patient: str) -> Path:
        return self.folder / "slides" / f"{patient}-s.svs"

    def fold_of(self, patient: str) -> int:
        return PATIENTS.index(patient) % len(FOLDS)


def tiny_config(folder: Path) -> dict[str, Any]:
    epochs = {"epochs": 1, "batch_size": 4}
    return configuration.resolve(
        {
            "results": str(folder / "results"),
            "sheets": {"slides": str(folder / "slides.tsv"), "patients": str(folder / "patients.tsv")},
            "cohorts": {"internal": ["tiny"]},
            "expression": {"tables": [{"cohort": "tiny", "path": str(folder / "expression.tsv"), "unit": "counts"}]},
            "tasks": TASKS,
            "evaluation": {"bootstrap": 0},
            "split": {"folds": len(FOLDS)},
            "slides": {"tile_px": 64, "min_tiles": 2, "thumbnail_mpp": 4.0},
            "encoder": {"name": "random", "batch_size": 16, "device": "cpu"},
            "model": {
                "tokens": 16, "width": 16, "heads": 2, "head_dim": 8, "offset_groups": 2, "offset_kernel": 3, "stride": 2,
            },
            "training": {name: dict(epochs) for name in MODELS},
        }
    )  # fmt: skip


def make(folder: Path) -> TinyRun:
    """Make the run: eight patients with a slide each, two folds, teacher and student of two tasks."""
    run = TinyRun(folder, folder / "results", tiny_config(folder))
    rng = np.random.default_rng(5)
    (folder / "slides").mkdir(parents=True)
    for i, patient in enumerate(PATIENTS):
        write_svs(run.slide(patient), stained_image(256, 320, seed=i, tissue=(0.5, 0.5, 0.35 + 0.01 * i)))
    write_tsv(
        folder / "slides.tsv",
        pd.DataFrame(
            {
                "slide_id": [f"{p}-s" for p in PATIENTS], "patient_id": PATIENTS, "cohort": "tiny",
                "path": [f"slides/{p}-s.svs" for p in PATIENTS],
            }
        ),
    )  # fmt: skip
    write_tsv(
        folder / "patients.tsv",
        pd.DataFrame(
            {
                "patient_id": PATIENTS, "cohort": "tiny",
                "er": ["yes", "yes", "no", "no"] * 2, "ki67": [10, 12, 30, 33, 11, 9, 28, 31],
                "pfi_months": [10, 12, 30, 31, 10.5, 12, 30, 31.5], "pfi": [1, 1, 0, 1, 1, 1, 1, 0],
            }
        ),
    )  # fmt: skip
    counts = pd.DataFrame(
        rng.poisson(60, (40, len(PATIENTS))) + rng.integers(1, 400, (40, 1)), columns=PATIENTS
    )
    counts.insert(0, "gene_symbol", [*TUMOR, *TME, *(f"X{i}" for i in range(14))])
    write_tsv(run.expression, counts)
    _slide_stages(run)
    _genes_and_folds(run)
    _models(run)
    write_json(run.results / "provenance.json", run_record(run.config, []))
    return run


def _slide_stages(run: TinyRun) -> None:
    slides = read_slides(run.folder / "slides.tsv")
    settings = SlideSettings.from_mapping(run.config)
    statuses = [[run_stage(slide, stage, run.results, settings) for stage in STAGES][-1] for slide in slides]
    manifest = run.results / "batches" / "features" / "0000.tsv"
    write_manifest(manifest, statuses)
    write_tsv(run.results / "ledger.tsv", build_ledger(slides, [manifest]))


def _genes_and_folds(run: TinyRun) -> None:
    folds = pd.DataFrame(
        {
            "patient_id": PATIENTS,
            "cohort": "tiny",
            "fold": [run.fold_of(p) for p in PATIENTS],
            "stratum": "all",
        }
    )
    write_tsv(run.results / "split" / "folds.tsv", folds)
    table = read_expression(run.expression, "counts", "tiny")
    patients = read_patients(run.folder / "patients.tsv")
    for fold in FOLDS:
        matrix = build(
            [table], patients, folds, fold, {"tumor": TUMOR, "tme": TME}, MatrixSettings(fraction=0.6)
        )
        fold_matrix.write(run.results / "genes" / f"fold-{fold}.h5ad", matrix)


def _models(run: TinyRun) -> None:
    plan = Plan.from_config(run.config)
    for task in TASKS:
        for model in MODELS:
            for fold in FOLDS:
                genes = run.results / "genes" / f"fold-{fold}.h5ad"
                job = FoldJob(plan.tasks[task], model, fold, run.results, run.folder / "patients.tsv", genes)
                run_fold(job, plan.training_settings(task, model))
