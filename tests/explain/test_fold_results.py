"""What a task's explanations read of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from explain.fake_folds import GRADING
from pathduet.explain.fold_results import TaskRun, training_cuts
from pathduet.results import Results


def test_a_variation_has_the_role_of_the_model_it_varies(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for name, base in (("student-no-hints", "student"), ("distilled-mine", "mine")):
        folder = results.model("grading", name, 1)
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(json.dumps({"base": base}))
    run = TaskRun(GRADING, results, {"folds": 2, "models": [], "explanations": {}}, "", tmp_path)
    names = ("teacher", "distilled", "released_student", "student-no-hints", "distilled-mine", "unknown")
    assert [run.role(name) for name in names] == [
        "teacher", "distilled", "student", "student", "baseline", "baseline",
    ]  # fmt: skip


def test_risks_are_cut_by_the_training_part_a_patient_counting_once(tmp_path: Path) -> None:
    assert training_cuts(tmp_path) == {}
    table = pd.DataFrame(
        {
            "slide_id": list("abcd"), "patient_id": ["P", "P", "Q", "R"], "cohort": "c", "part": "train", "fold": 0,
            "survival_days": [9.0, 9.0, 5.0, 7.0], "event": 1.0, "risk": [1.0, 3.0, 5.0, 9.0],
        }
    )  # fmt: skip
    table.to_csv(tmp_path / "training_predictions.tsv", sep="\t", index=False)
    assert training_cuts(tmp_path)["median"] == pytest.approx(5.0)  # of 2, 5 and 9
