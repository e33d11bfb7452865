"""The comparison through the workflow, reduced: an own model, a broken one, a variation, a search of settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

import tiny_cohort
from pathduet.core import config as configuration
from pathduet.evaluation.evaluate_table import evaluate_table
from pathduet.results import Results
from pathduet.workflow.plan import Plan
from workflow.test_workflow import config_of, dry_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

BROKEN = """
from torch import nn


class Broken(nn.Module):
    def __init__(self, sizes):
        raise RuntimeError("cannot be built | on purpose")
"""
VARIATION = "results/models/survival/teacher-hvg10/fold-0/predictions.tsv"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished `snakemake tables` on 12 patients in two folds, and one variation's first fold."""
    folder = tmp_path_factory.mktemp("compared")
    cohort = tiny_cohort.make_cohort(folder / "cohort", external=0, slide_px=512)
    shutil.copy(tiny_cohort.REPOSITORY / "examples/own_model/mean_max_pool.py", folder / "mine.py")
    (folder / "broken.py").write_text(BROKEN)
    table = {
        "cohort": "phantom",
        "path": str(cohort / "expression_phantom.tsv.gz"),
        "unit": "counts",
        "samples": None,
    }
    config = tiny_cohort.write_config(
        folder, cohort, tasks=tiny_cohort.ONLY_SURVIVAL, split={"folds": 2}, cohorts={"external": []}, stain={"backend": "none"},
        slides={"slides_per_job": 32, "max_tiles": 16, "min_sharpness": 0}, expression={"tables": [table]},
        training={"baseline": {"epochs": 1}},
        comparison={
            "models": [],
            "own_models": {
                "mine": {"file": "mine.py", "network": "MeanMaxPool", "settings": {"width": 8}},
                "broken": {"file": "broken.py", "network": "Broken"},
            },
            "search": {"trials": 2},
        },
    )  # fmt: skip
    result = tiny_cohort.snakemake(folder, config, "tables", VARIATION)
    assert result.returncode == 0, result.stdout[-5000:]
    return folder


def test_every_model_is_in_the_table_and_the_broken_one_is_a_hole_with_its_reason(compared: Path) -> None:
    table = pd.read_csv(compared / "results/tables/survival.tsv", sep="\t").set_index("model")
    assert {"teacher", "student", "distilled", "mine", "broken", "cox_age_sex"} <= set(table.index)
    assert table.loc[["mine"], "mean"].notna().all()
    hole = table.loc[["broken"]]
    assert hole["mean"].isna().all() and hole["holes"].str.contains("cannot be built").all()


def test_every_model_was_searched_as_often_on_as_many_patients(compared: Path) -> None:
    searched = {
        model: json.loads((compared / f"results/models/survival/{model}/fold-0/model.json").read_text())[
            "search"
        ]
        for model in ("teacher", "student", "distilled", "mine", "teacher-hvg10")
    }
    assert {record["trials"] for record in searched.values()} == {2}
    assert {record["failed_trials"] for record in searched.values()} == {0}
    assert len({json.dumps(record["inner_patients"]) for record in searched.values()}) == 1


def test_a_variation_read_its_own_genes(compared: Path) -> None:
    models = compared / "results/models/survival"
    few, usual = (
        json.loads((models / name / "fold-0/model.json").read_text()) for name in ("teacher-hvg10", "teacher")
    )
    assert 0 < len(few["genes"]["tumor"]) < len(usual["genes"]["tumor"])


def test_a_table_of_variations_shows_what_is_there_and_what_is_not(
    compared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(compared)
    rows = [
        {"task": "survival", "model": model, "group": "genes", "title": model, "base": "teacher"}
        for model in ("teacher", "teacher-hvg10", "teacher-hvg80")
    ]
    plan = Plan.from_config(configuration.read(config_of(compared)))
    settings = plan.evaluation_settings("hvg") | {"bootstrap": 0}
    results = Results(compared / "results")
    table = evaluate_table(results, plan.every_table["hvg"], rows, 2, settings)
    by_model = table[table["metric"] == "c_index"].set_index("title")
    assert by_model.loc["teacher", "n_folds"] == 2 and by_model.loc["teacher-hvg10", "n_folds"] == 1
    assert "not run" in by_model.loc["teacher-hvg80", "holes"]
    assert "| teacher-hvg80 | C-index | fold 0: not run" in results.table("hvg", ".md").read_text()


def test_an_edited_own_model_is_trained_again_and_nothing_else(compared: Path) -> None:
    assert dry_run(compared, "tables") == {}
    file = compared / "mine.py"
    before = file.read_text()
    try:
        file.write_text(before + "\n# edited\n")
        jobs = dry_run(compared, "tables")
    finally:
        file.write_text(before)
    assert jobs == {"train": 2, "evaluate": 1, "tables": 1}


def test_settings_of_the_comparison_leave_slides_and_the_method_alone(compared: Path) -> None:
    path = config_of(compared)
    before = path.read_text()
    try:
        config = yaml.safe_load(before)
        config["comparison"]["own_models"]["mine"]["settings"] = {"width": 16}
        path.write_text(yaml.safe_dump(config))
        jobs = dry_run(compared, "tables")
    finally:
        path.write_text(before)
    assert jobs == {"train": 2, "evaluate": 1, "tables": 1}


def test_one_fold_reruns_alone(compared: Path) -> None:
    target = "results/models/survival/teacher/fold-1/predictions.tsv"
    assert dry_run(compared, "--force", target) == {"train": 1}


def test_a_learning_rate_retrains_and_leaves_slides_alone(compared: Path) -> None:
    path = config_of(compared)
    before = path.read_text()
    try:
        config = yaml.safe_load(before)
        config["training"]["distilled"]["learning_rate"] = 3.0e-4
        path.write_text(yaml.safe_dump(config))
        jobs = dry_run(compared, "tables")
    finally:
        path.write_text(before)
    # the distilled student and the one that trains as long
    assert jobs == {"train": 4, "evaluate": 1, "tables": 1}
