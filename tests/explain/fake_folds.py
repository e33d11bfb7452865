"""A results folder with predictions and representations that are known."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

GRADES = ("G2", "G3", "G4")


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
        table = pd.DataFrame(
            {
                "slide_id": [f"S-{p}" for p in chosen["patient_id"]], "patient_id": chosen["patient_id"], "cohort": "a",
                "part": "test", "fold": fold, "label": labels, "predicted": labels, "expert": "10x",
                "p_G2": (1 - p4) / 2, "p_G3": (1 - p4) / 2, "p_G4": p4,
            }
        )  # fmt: skip
        folder = results / "models/grading" / model / f"fold-{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / "predictions.tsv", sep="\t", index=False)
        centres = np.array([GRADES.index(label) for label in labels]) * 10.0
        with h5py.File(folder / "representations.h5", "w") as file:
            file.create_dataset("slide_id", data=list(table["slide_id"]), dtype=h5py.string_dtype())
            for m in ("10x", "20x"):
                file.create_dataset(
                    m, data=(centres[:, None] + rng.normal(size=(len(table), 3))).astype(np.float32)
                )
