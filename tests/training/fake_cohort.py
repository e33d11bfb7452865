"""A small cohort of feature files and expression with a planted signal, as the earlier steps would leave it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd

from pathduet.cohort.who_labels import DIAGNOSES
from pathduet.expression import fold_matrix
from pathduet.models import ModelConfig
from pathduet.training.config import TrainingConfig
from pathduet.training.fold_data import FoldData
from pathduet.training.networks import ModelSettings, NetworkChoice, choose
from pathduet.training.train import ModelToTrain

TUMOR_GENES, TME_GENES, FEATURES, TILES = 5, 7, 6, {"10x": 7, "20x": 30}
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
    expression: Path

    def labels(self, task: str) -> pd.DataFrame:
        return self.survival if task == "survival" else self.diagnosis

    def data(self, task: str, slides: pd.DataFrame | None = None, bins: int = 3) -> FoldData:
        given = self.slides if slides is None else slides
        return FoldData(given, self.labels(task), self.folds, self.expression, survival_bins=bins)


def write_features(path: Path, rng: np.random.Generator, kind: int, **attributes: object) -> None:
    """Write a features.h5 of one of four kinds of patient: the kind's own feature is raised in every tile."""
    with h5py.File(path, "w") as file:
        file.attrs.update(ENCODER | {"key": path.stem} | attributes)
        for m, n in TILES.items():
            values = rng.normal(size=(n, FEATURES))
            values[:, kind] += 3.0
            values[::2, 4] += 4.0  # every other tile is of another kind of tissue
            group = file.create_group(m)
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
    return ModelToTrain(task, model, 0, ModelSettings(network or choose(model), config, training), **sources)


def make(
    folder: Path, patients: int = 12, external: int = 2, unpaired: tuple[str, ...] = (), seed: int = 0
) -> FakeCohort:
    """Make a cohort: fold 0 of 3 has a third of the patients in its test part; every third patient has two slides.

    `unpaired` names patients without expression.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    ids = [f"p{i:02d}" for i in range(patients)] + [f"x{i}" for i in range(external)]
    kind = np.arange(len(ids)) % 4
    cohort = ["internal"] * patients + ["external"] * external
    rows = []
    for i, patient in enumerate(ids):
        for s in range(2 if i % 3 == 0 else 1):
            slide = f"{patient}-s{s}"
            path = folder / f"{slide}.h5"
            write_features(path, rng, int(kind[i]))
            rows.append((slide, patient, cohort[i], path))
    paired = [i for i, patient in enumerate(ids) if patient not in unpaired]
    genes = TUMOR_GENES + TME_GENES
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
        var=pd.DataFrame(
            {
                "token_order_tumor": [*range(TUMOR_GENES), *[-1] * TME_GENES],
                "token_order_tme": [*[-1] * TUMOR_GENES, *range(TME_GENES)],
            },
            index=[f"G{i}" for i in range(genes)],
        ),
        uns={"pathduet": json.dumps({"subspaces": {"tumor": {}, "tme": {}}})},
    )
    expression = folder / "fold-0.h5ad"
    fold_matrix.write(expression, adata)
    index = pd.Index(ids, name="patient_id")
    days = 2000.0 - 450 * kind + rng.uniform(0, 100, len(ids))
    return FakeCohort(
        folder,
        pd.DataFrame(rows, columns=["slide_id", "patient_id", "cohort", "features"]),
        pd.DataFrame({"patient_id": ids[:patients], "cohort": "internal", "fold": np.arange(patients) % 3}),
        pd.DataFrame({"label": [DIAGNOSES[k] for k in kind], "reason": ""}, index=index),
        pd.DataFrame(
            {"survival_days": days, "event": (np.arange(len(ids)) % 5 != 4) * 1.0, "reason": ""}, index=index
        ),
        expression,
    )
