"""A small cohort of feature files and expression with a planted signal, as the earlier steps would leave it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd

from pathduet.cohort.tasks import Task
from pathduet.expression import fold_matrix
from pathduet.models import ModelConfig
from pathduet.training.config import TrainingConfig
from pathduet.training.fold_data import FoldData
from pathduet.training.networks import ModelSettings, NetworkChoice, choose
from pathduet.training.train import ModelToTrain

GENES = {"tumor": 5, "tme": 7}  # by subspace
FEATURES, TILES = 6, {"10x": 7, "20x": 30}
KINDS = ("glioblastoma", "oligodendroglioma", "astrocytoma_grade4", "astrocytoma_low_grade")
TASKS = {
    task.name: task
    for task in (
        Task.of("diagnosis", {"kind": "classification", "column": "diagnosis", "classes": KINDS}),
        Task.of(
            "survival", {"kind": "survival", "time": "months", "event": "event", "unit": "months"}, bins=3
        ),
        Task.of("size", {"kind": "regression", "column": "size_mm"}),
    )
}
SMALL = ModelConfig(
    tokens=16, width=16, heads=2, head_dim=8, offset_groups=2, offset_kernel=3, stride=2, dropout=0.0
)
ENCODER = {
    "encoder": "random", "encoder_stage": 3, "weights_sha256": "a" * 64, "feature_dim": FEATURES,
    "tile_px": 224, "stain_backend": "none",
}  # fmt: skip


@dataclass
class FakeCohort:
    """Tables and paths of a cohort: `folder` holds one features file a slide and the fold's matrix."""

    folder: Path
    slides: pd.DataFrame
    folds: pd.DataFrame
    diagnosis: pd.DataFrame
    survival: pd.DataFrame
    size: pd.DataFrame
    expression: Path | None

    def labels(self, task: str) -> pd.DataFrame:
        return {"diagnosis": self.diagnosis, "survival": self.survival, "size": self.size}[task]

    def data(self, task: str, slides: pd.DataFrame | None = None, bins: int = 3) -> FoldData:
        given = self.slides if slides is None else slides
        known = replace(TASKS[task], bins=bins)
        return FoldData(known, given, self.labels(task), self.folds, self.expression)


def without_label(labels: pd.DataFrame, patients: Sequence[str]) -> pd.DataFrame:
    """Return a copy of a table of labels in which some patients have none."""
    hidden = labels.copy()
    hidden.loc[list(patients), [name for name in labels if name != "reason"]] = None
    hidden.loc[list(patients), "reason"] = "missing"
    return hidden


def write_features(path: Path, rng: np.random.Generator, kind: int, **attributes: object) -> None:
    """Write a features.h5 of one of four kinds of patient: the kind's own feature is raised in every tile."""
    with h5py.File(path, "w") as file:
        file.attrs.update(ENCODER | {"key": path.stem} | attributes)
        for m, n in TILES.items():
            values = rng.normal(size=(n, FEATURES))
            values[:, kind] += 3.0
            values[::2, 4] += 4.0  # every other tile is of another kind of tissue
            group = file.create_group(m)
            size = {"10x": 448.0, "20x": 224.0}[m]
            group.attrs.update({"tile_level0_px_x": size, "tile_level0_px_y": size})
            group["features"] = values.astype(np.float16)
            group["grid"] = np.stack(np.divmod(np.arange(n), 6)[::-1], axis=1).astype(np.int32)


def to_train(
    task: str,
    model: str,
    training: TrainingConfig,
    config: ModelConfig = SMALL,
    network: NetworkChoice | None = None,
    **sources: Path | None,
) -> ModelToTrain:
    """Return a model of fold 0; `sources` are teacher_dir and student_dir."""
    settings = ModelSettings(network or choose(model), config, training)
    return ModelToTrain(TASKS[task], model, 0, settings, **sources)


def make(
    folder: Path,
    patients: int = 12,
    external: int = 2,
    unpaired: tuple[str, ...] = (),
    seed: int = 0,
    genes_of: Mapping[str, int] = GENES,
    without_slides: Sequence[str] = (),
) -> FakeCohort:
    """Make a cohort: fold 0 of 3 has a third of the patients in its test part; every third patient has two slides.

    `unpaired` names patients without expression, `without_slides` those without slides; `genes_of` counts the genes of each
    subspace.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    ids = [f"p{i:02d}" for i in range(patients)] + [f"x{i}" for i in range(external)]
    kind = np.arange(len(ids)) % 4
    cohort = ["internal"] * patients + ["external"] * external
    rows = []
    for i, patient in enumerate(ids):
        for s in range(0 if patient in without_slides else 2 if i % 3 == 0 else 1):
            slide = f"{patient}-s{s}"
            path = folder / f"{slide}.h5"
            write_features(path, rng, int(kind[i]))
            rows.append((slide, patient, cohort[i], path))
    paired = [i for i, patient in enumerate(ids) if patient not in unpaired]
    genes = sum(genes_of.values())
    ends = np.cumsum(list(genes_of.values()))
    place = np.arange(genes)
    orders = {
        f"token_order_{name}": np.where((place >= end - count) & (place < end), place - end + count, -1)
        for (name, count), end in zip(genes_of.items(), ends, strict=True)
    }
    values = rng.normal(size=(len(paired), genes)) + kind[paired, None] - 1.5
    adata = anndata.AnnData(
        values.astype(np.float32),
        obs=pd.DataFrame(
            {
                "patient_id": [ids[i] for i in paired],
                "slide_id": "",
                "cohort": [cohort[i] for i in paired],
                "part": ["external" if i >= patients else "test" if i % 3 == 0 else "train" for i in paired],
            },
            index=[ids[i] for i in paired],
        ),
        var=pd.DataFrame(orders, index=[f"GENE{i}" for i in range(genes)]),
        uns={"pathduet": json.dumps({"subspaces": {name: {} for name in genes_of}})},
    )
    expression = folder / "fold-0.h5ad"
    fold_matrix.write(expression, adata)
    index = pd.Index(ids, name="patient_id")
    days = 2000.0 - 450 * kind + rng.uniform(0, 100, len(ids))
    return FakeCohort(
        folder,
        pd.DataFrame(rows, columns=["slide_id", "patient_id", "cohort", "features"]),
        pd.DataFrame({"patient_id": ids[:patients], "cohort": "internal", "fold": np.arange(patients) % 3}),
        pd.DataFrame({"label": [KINDS[k] for k in kind], "reason": ""}, index=index),
        pd.DataFrame(
            {"survival_days": days, "event": (np.arange(len(ids)) % 5 != 4) * 1.0, "reason": ""}, index=index
        ),
        pd.DataFrame({"value": 20.0 + 15 * kind + np.arange(len(ids)) % 3, "reason": ""}, index=index),
        expression,
    )
