"""Where no cohort is named a run is the demo; as soon as one is, nothing of the demo remains."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import tiny_cohort
from pathduet.cli import app
from pathduet.phantom.cohort import draw_slides, write_tables
from pathduet.phantom.design import Design
from pathduet.workflow import demo
from pathduet.workflow.plan import Plan

SMALL = {"patients": 12, "external": 4, "slide_px": 512}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_planning_writes_the_tables_once_and_waits_for_the_slides(here: Path) -> None:
    assert "this is the demo" in demo.prepare(**SMALL)
    first = {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()}
    plan = Plan.from_config({})
    assert plan.slides and not any(slide.path.exists() for slide in plan.slides)
    assert plan.drawn_files() == ["demo/truth/slides.tsv"] and plan.annotation_paths() == []
    demo.prepare(**SMALL)
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()} == first


def known_by(plan: Plan) -> list[Any]:
    """Return what the tiles of the first batch are decided by, slide by slide."""
    return list(plan.stages_job(["tile", "stain"], "0000").decided_by)[4:]


@pytest.mark.slow
def test_drawing_changes_no_job_and_a_cut_slide_its_own(here: Path) -> None:
    demo.prepare(**SMALL)
    before = known_by(Plan.from_config({}))
    draw_slides(demo.folder(), 1)
    plan = Plan.from_config({})
    assert known_by(plan) == before
    slide = plan.slides[1]
    slide.path.write_bytes(slide.path.read_bytes()[:1000])
    assert [a == b for a, b in zip(known_by(plan), before, strict=True)].index(False) == 1
    demo.prepare(**SMALL)
    assert demo.drawn_table().is_file()
    slide.path.unlink()
    demo.prepare(**SMALL)
    assert not demo.drawn_table().is_file()  # so that the job draws it again


def test_a_phantom_of_another_design_gives_way_and_files_of_others_do_not(here: Path) -> None:
    (here / "demo").mkdir()
    (here / "demo" / "slides.tsv").write_text("mine\n")
    with pytest.raises(Exception, match="already holds slides"):
        demo.prepare(**SMALL)
    (here / "demo" / "slides.tsv").unlink()
    write_tables(here / "demo", Design(**SMALL, seed=2))
    first = (here / "demo/patients.tsv").read_bytes()
    demo.prepare(**SMALL)
    assert (here / "demo/patients.tsv").read_bytes() != first


def test_check_agrees_with_the_run_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_tables(run / "cohort", Design(**SMALL, seed=3))
    for row in (run / "cohort/slides.tsv").read_text().splitlines()[1:]:
        file = run / "cohort" / row.split("\t")[3]
        file.parent.mkdir(exist_ok=True)
        file.touch()
    config = tiny_cohort.write_config(run, Path("cohort"))  # paths relative to the run's folder
    monkeypatch.chdir(run)
    wanted = Plan.from_config(yaml.safe_load(config.read_text()))
    seen = set()
    for folder in (run, repository, tmp_path):
        (tmp_path / "config.yaml").write_text("model: {tokens: 16}\n")  # of no run
        monkeypatch.chdir(folder)
        words = ["check", "--no-slides", "--configfile", str(config), "--directory", str(run)]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        seen.add(result.output)
    (output,) = seen
    slides = sum(slide.cohort == "phantom" for slide in wanted.slides)
    assert f"phantom (internal): 12 patients, {slides} slides" in output
    assert wanted.config["encoder"]["name"] in output


@pytest.mark.slow
def test_a_plain_snakemake_plans_the_demo_and_says_so_first(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(tiny_cohort.REPOSITORY / "Snakefile"), "--directory",
        str(tmp_path), "--cores", "2", "--dry-run",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output[-3000:]
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Using ")]
    assert lines[0].startswith("No sheets are named, so this is the demo")
    assert "phantom_slides" in output
    assert (tmp_path / "demo/expression_external.tsv.gz").is_file()
