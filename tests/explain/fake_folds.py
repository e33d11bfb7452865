"""A results folder with predictions and representations that are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from pathduet.cohort.tasks import Task

GRADES = ("G2", "G3", "G4")
GRADING = Task.of(
    "grading", {"kind": "classification", "column": "grade", "classes": GRADES, "ordered": True}
)
RECEPTOR = Task.of(
    "receptor", {"kind": "classification", "column": "her2", "classes": ["negative", "positive"]}
)
KI67 = Task.of("ki67", {"kind": "regression", "column": "ki67_percent"})
SURVIVAL = Task.of("os", {"kind": "survival", "time": "months", "event": "event", "unit": "months"})


def folds_table(patients: int = 24, folds: int = 2) -> pd.DataFrame:
    ids = [f"P{i:02d}" for i in range(patients)]
    return pd.DataFrame(
        {"patient_id": ids, "cohort": "a", "stratum": "x", "fold": [i % folds for i in range(patients)]}
    )


def write_grading(
    results: Path, model: str, folds: pd.DataFrame, *, leak: bool = False, seed: int = 0
) -> None:
    """Write a grading model whose probability of grade 4 and representation follow the patient's number."""
    (results / "split").mkdir(parents=True, exist_ok=True)
    folds.to_csv(results / "split/folds.tsv", sep="\t", index=False)
    rng = np.random.default_rng(seed)
    for fold in sorted(set(folds["fold"])):
        chosen = folds if leak else folds[folds["fold"] == fold]
        number = chosen["patient_id"].str[1:].astype(int).to_numpy()
        p4 = number / len(folds)
        labels = [GRADES[i * 3 // len(folds)] for i in number]
        truth = {"label": labels, "predicted": labels, "expert": "10x",
                 "p_G2": (1 - p4) / 2, "p_G3": (1 - p4) / 2, "p_G4": p4}  # fmt: skip
        centres = np.array([GRADES.index(label) for label in labels]) * 10.0
        values = {
            m: (centres[:, None] + rng.normal(size=(len(chosen), 3))).astype(np.float32)
            for m in ("10x", "20x")
        }
        _write(results, "grading", model, chosen, fold, truth, values)


def write_ki67(results: Path, model: str, folds: pd.DataFrame, *, slides: bool = True) -> None:
    """Write a regression model whose representation follows the value, of patients with or without a slide."""
    (results / "split").mkdir(parents=True, exist_ok=True)
    folds.to_csv(results / "split/folds.tsv", sep="\t", index=False)
    rng = np.random.default_rng(0)
    for fold in sorted(set(folds["fold"])):
        chosen = folds[folds["fold"] == fold]
        number = chosen["patient_id"].str[1:].astype(float).to_numpy()
        value = np.where(number == 3, np.nan, number)  # one patient's value is not known
        columns = {"value": value, "prediction": number + rng.normal(size=len(chosen))}
        values = {
            "representation": (number[:, None] + rng.normal(scale=0.1, size=(len(chosen), 3))).astype(
                np.float32
            )
        }
        _write(results, "ki67", model, chosen, fold, columns, values, slides)


def _write(
    results: Path,
    task: str,
    model: str,
    chosen: pd.DataFrame,
    fold: int,
    columns: Mapping[str, object],
    values: Mapping[str, np.ndarray],
    slides: bool = True,
) -> None:
    table = pd.DataFrame(
        {
            "slide_id": [f"S-{p}" if slides else "" for p in chosen["patient_id"]], "patient_id": chosen["patient_id"],
            "cohort": "a", "part": "test", "fold": fold, **columns,
        }
    )  # fmt: skip
    folder = results / "models" / task / model / f"fold-{fold}"
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "predictions.tsv", sep="\t", index=False)
    with h5py.File(folder / "representations.h5", "w") as file:
        file.create_dataset("slide_id", data=list(table["slide_id"]), dtype=h5py.string_dtype())
        for name, one in values.items():
            file.create_dataset(name, data=one)
