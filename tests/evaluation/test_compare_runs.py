"""Two runs against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pathduet.core import config as configuration
from pathduet.core.errors import InputError
from pathduet.evaluation.compare_runs import compare_runs

TASK = {
    "title": "Grade",
    "kind": "classification",
    "column": "grade",
    "classes": ["low", "high"],
    "positive": "high",
}


def run(folder: Path, noise: float, models: tuple[str, ...], **changes: Any) -> Path:
    """Write what a comparison reads of a run: configuration, metrics, predictions of two folds of 20 patients."""
    given = {
        "sheets": {"patients": "patients.tsv"}, "cohorts": {"internal": ["a"], "external": []}, "split": {"folds": 2},
        "tasks": {"grade": TASK}, "evaluation": {"bootstrap": 100}, "results": str(folder),
    }  # fmt: skip
    config = configuration.resolve(configuration.merge(given, changes))
    folder.mkdir()
    (folder / "provenance.json").write_text(json.dumps({"config": config}))
    metrics = {}
    for model in models:
        for fold in range(2):
            rng = np.random.default_rng(fold)
            high = np.arange(20) % 2
            score = 1 / (1 + np.exp(-(high - 0.5 + noise * rng.normal(size=20))))
            patients = [f"P{fold}-{i:02d}" for i in range(20)]
            table = pd.DataFrame(
                {
                    "slide_id": patients, "patient_id": patients, "cohort": "a", "part": "test", "fold": fold,
                    "label": np.where(high, "high", "low"), "p_low": 1 - score, "p_high": score,
                }
            )  # fmt: skip
            place = folder / f"models/grade/{model}/fold-{fold}"
            place.mkdir(parents=True)
            table.to_csv(place / "predictions.tsv", sep="\t", index=False)
            metrics[f"grade/{model}/{fold}"] = {"task": "grade", "model": model, "fold": fold}
    (folder / "metrics").mkdir()
    (folder / "metrics/grade.json").write_text(json.dumps(metrics))
    return folder


def test_settings_and_paired_differences_are_told(tmp_path: Path) -> None:
    first = run(tmp_path / "one", 2.0, ("abmil", "snn"))
    second = run(tmp_path / "two", 0.0, ("abmil", "teacher"), training={"clip_norm": 0.5})
    lines = compare_runs(first, second)
    settings = lines[1 : lines.index("Grade, AUC")]
    assert len(settings) == 1
    assert settings[0].startswith("  training.clip_norm: ") and settings[0].endswith(" -> 0.5")
    (abmil,) = (line for line in lines if line.startswith("  ABMIL"))
    both = []
    for fold in range(2):
        table = pd.read_csv(first / f"models/grade/abmil/fold-{fold}/predictions.tsv", sep="\t")
        high, low = (table.loc[table["label"] == label, "p_high"].to_numpy() for label in ("high", "low"))
        both.append(float(np.mean(high[:, None] > low[None, :])))
    assert f" {1 - np.mean(both):+.3f} [+0." in abmil and "(40 patients in the same fold of both)" in abmil
    assert any(line.startswith("  SNN") and line.endswith(f"only in {first}") for line in lines)
    assert any(line.startswith("  Teacher") and line.endswith(f"only in {second}") for line in lines)


def test_a_run_against_itself_differs_in_nothing(tmp_path: Path) -> None:
    one = run(tmp_path / "one", 1.0, ("abmil",))
    lines = compare_runs(one, one)
    assert lines[1] == "  none" and "+0.000 [+0.000, +0.000]" in lines[3]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="finished run"):
        compare_runs(tmp_path, tmp_path)
