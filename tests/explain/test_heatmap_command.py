"""Heatmaps of a run's slides, from files to files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from explain.test_tile_maps import write_model, write_slide
from pathduet.cli import app
from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import InputError
from pathduet.explain.targets import heatmap_problems, heatmap_targets
from pathduet.explain.viewer.slide_heatmaps import explain_slide, lost_reason, write_absence
from pathduet.results import Results


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one used slide (6000 x 5000 pixels), one lost, a model of two folds, and the sheet."""
    tmp_path = tmp_path_factory.mktemp("run")
    results = tmp_path / "results"
    write_slide(results / "slides" / "S1", {"10x": 16, "20x": 30})
    ground = np.full((50, 60, 3), 230, np.uint8)
    Image.fromarray(ground).save(results / "slides" / "S1" / "thumbnail.png")
    (tmp_path / "raw").mkdir()
    Image.fromarray(np.full((5000, 6000, 3), 230, np.uint8)).save(
        tmp_path / "raw" / "S1.png", compress_level=1
    )
    for fold in (0, 1):
        write_model(
            results / "models" / "diagnosis" / "distilled" / f"fold-{fold}", "distilled", swap=fold == 1
        )
    rows = [f"{s}\tP1\tc\traw/S1.png" for s in ("S1", "S2")]
    (tmp_path / "slides.tsv").write_text("\n".join(["slide_id\tpatient_id\tcohort\tpath", *rows]) + "\n")
    ledger = pd.DataFrame(
        {
            "slide_id": ["S1", "S2"], "patient_id": "P1", "cohort": "c", "status": ["ok", "failed"],
            "stage": ["features", "tile"], "reason": ["", "no_tissue"], "message": "", "mpp": 0.25,
            "mpp_source": "sheet", "n_10x": 16, "n_20x": 30, "notes": "",
        }
    )  # fmt: skip
    ledger.to_csv(results / "ledger.tsv", sep="\t", index=False)
    tasks = {"diagnosis": {"kind": "classification", "column": "diagnosis", "classes": ["a", "b"]},
             "ki67": {"kind": "regression", "column": "ki67"}}  # fmt: skip
    config = {"sheets": {"slides": "slides.tsv"}, "tasks": tasks, "labels": {"survival_bins": 4}}
    (results / "provenance.json").write_text(json.dumps({"config": config}))
    return results


def call(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["heatmap", *arguments])
    return done.exit_code, done.output + (str(done.exception) if done.exception else "")


@pytest.mark.slow
def test_a_run_s_slide_gets_its_three_files_and_a_lost_one_a_reason(run: Path, tmp_path: Path):
    out = tmp_path / "out"
    options = ["--results", str(run), "--task", "diagnosis", "--out", str(out), "--viewer-mpp", "4"]
    status, text = call("S2", "S1", *options)
    assert status == 3, text
    assert "S2: 1 problem in the input" in text and "failed at tile: no_tissue" in text
    assert sorted(p.name for p in out.iterdir()) == ["S1"]
    assert (out / "S1" / "viewer" / "slide.dzi").is_file()
    assert "mean of the folds" in (out / "S1" / "viewer" / "index.html").read_text()
    collection = json.loads((out / "S1" / "tiles.geojson").read_text())
    tile = collection["features"][0]["properties"]
    # the folds' orders are opposite, so half of them call every tile tumor
    assert tile["measurements"]["Tumor prototype (share)"] == 0.5
    assert Image.open(out / "S1" / "heatmap.png").width > 500
    # without a survival task the first task is taken, and the distilled student
    status, text = call(
        "S1", "--results", str(run), "--fold", "0", "--no-viewer", "--no-png", "--out", str(tmp_path / "two")
    )
    assert status == 0 and [p.name for p in (tmp_path / "two" / "S1").iterdir()] == ["tiles.geojson"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["S9"], "slide 'S9': not in the sheet"),
        (["S1", "--model", "nothing"], "not trained"),
        (["S1", "--task", "receptor"], "'receptor' is not a task of the run; one of diagnosis, ki67"),
        (["S1", "--fold", "7"], r"'7'; one of \[0, 1\], or ensemble"),
        (["../S1"], "not in the sheet"),
    ],
)
def test_what_is_not_there_is_named(run: Path, tmp_path: Path, arguments: list[str], message: str):
    options = ["--results", str(run), "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(app, ["heatmap", *arguments, *options])
    assert isinstance(done.exception, InputError) and re.search(message, str(done.exception))
    assert not (tmp_path / "o").exists()


def test_nothing_is_written_beside_the_raw_slides(run: Path):
    raw = run.parent / "raw"
    before = sorted(raw.rglob("*"))
    status, text = call("S1", "--results", str(run), "--task", "diagnosis", "--out", str(raw))
    assert status == 3 and "choose another folder" in text and sorted(raw.rglob("*")) == before


def test_a_lost_slides_files_say_so_and_are_escaped(run: Path, tmp_path: Path):
    assert lost_reason(Results(run), "S1") is None
    reason = lost_reason(Results(run), "S2")
    assert reason == "failed at tile: no_tissue"
    write_absence(tmp_path / "S2", "S2", reason + " <script>")
    page = (tmp_path / "S2" / "viewer" / "index.html").read_text()
    assert "no_tissue &lt;script&gt;" in page and "default-src 'none'" in page
    assert json.loads((tmp_path / "S2" / "tiles.geojson").read_text())["features"] == []
    assert Image.open(tmp_path / "S2" / "heatmap.png").width > 100
    assert (tmp_path / "S2" / "viewer" / "slide_files").is_dir()


def test_another_slide_under_the_maps_is_refused(run: Path, tmp_path: Path):
    from pathduet.explain.viewer.viewer_page import write_viewer

    maps = explain_slide(Results(run), "S1", "P1", "diagnosis", "distilled", [0])
    Image.fromarray(np.zeros((100, 120, 3), np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match=r"small\.png has \(120, 100\) pixels"):
        write_viewer(tmp_path / "v", {"index.html": maps}, tmp_path / "small.png")
    assert not (tmp_path / "v" / "index.html").exists()


def test_a_runs_heatmaps_are_by_models_that_have_not_seen_the_patient():
    slides = [
        SlideRow("S1", "P1", "c", Path("a"), exclude="pen"),
        SlideRow("S2", "P2", "c", Path("a")),
        SlideRow("S3", "X1", "external", Path("a")),
    ]
    wanted = {"slides": 2, "models": ["distilled", "teacher"], "viewer_mpp": 2.0}
    tasks = {
        "grading": {"kind": "classification", "column": "grade", "classes": ["G2", "G3"]},
        "pfi": {"kind": "survival", "time": "pfi", "event": "event"},
    }
    config = {
        "explanations": {"heatmaps": wanted},
        "tasks": tasks,
        "labels": {"survival_bins": 4},
        "sheets": {"slides": "slides.tsv"},
    }
    networks = ["teacher", "student", "distilled"]
    assert heatmap_targets(config, slides, {"P1": 1, "P2": 2}, networks) == [
        ("pfi", "distilled", 2, "S2"), ("pfi", "teacher", 2, "S2"),
        ("pfi", "distilled", 0, "S3"), ("pfi", "teacher", 0, "S3"),
    ]  # fmt: skip
    # without expression, the student once in place of both
    classes = config | {"tasks": {"grading": tasks["grading"], "pfi": None}}
    assert heatmap_targets(classes, slides, {"P2": 2}, ["student"]) == [
        ("grading", "student", 2, "S2"), ("grading", "student", 0, "S3"),
    ]  # fmt: skip
    named = config | {"explanations": {"heatmaps": wanted | {"slides": ["S9"], "models": ["abmil"]}}}
    found = [str(problem) for problem in heatmap_problems(named, slides, {})]
    assert len(found) == 2 and "'S9' is not in slides.tsv" in found[0] and "'abmil'" in found[1]
    assert heatmap_targets(named, [], {}, networks) == [] and heatmap_problems(named, [], {}) == []
