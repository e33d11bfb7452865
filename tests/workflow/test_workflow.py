"""The whole workflow on a tiny cohort: what reruns, what does not, and what bad input does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pandas as pd
import pytest

import tiny_cohort
from core.test_docs_commands import every_command, targets
from pathduet.core.files import sha256_file
from pathduet.evaluation.collect import read_metrics
from pathduet.results import Results

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of 12 + 4 patients on small slides; tests copy what they change."""
    return tiny_cohort.make_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def finished(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of every task and model, with a truncated slide and a patient without expression."""
    folder = tmp_path_factory.mktemp("run")
    mine = folder / "cohort"
    shutil.copytree(cohort, mine)
    slides = pd.read_csv(mine / "slides.tsv", sep="\t")
    # a second slide of a patient, cut off in the middle, among good ones
    raw = (mine / slides.loc[0, "path"]).read_bytes()
    (mine / "slides" / "cut.svs").write_bytes(raw[: len(raw) // 2])
    row = slides.iloc[[0]].assign(slide_id="CUT", path="slides/cut.svs")
    pd.concat([slides, row]).to_csv(mine / "slides.tsv", sep="\t", index=False)
    counts = pd.read_csv(mine / "expression_phantom.tsv.gz", sep="\t")
    counts.drop(columns=slides.loc[1, "patient_id"]).to_csv(
        mine / "expression_phantom.tsv.gz", sep="\t", index=False
    )
    config = tiny_cohort.write_config(folder, mine, training=tiny_cohort.TOGETHER)
    result = tiny_cohort.snakemake(folder, config)
    assert result.returncode == 3, result.stdout[-5000:]
    (folder / "output.txt").write_text(result.stdout)
    return folder


def config_of(folder: Path) -> Path:
    return folder / "config.yaml"


def planned(output: str) -> dict[str, int]:
    """Return the job counts of a dry run."""
    counts = {}
    for line in output.partition("Job stats:")[2].splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit():
            if words[0] == "total":
                break
            counts[words[0]] = int(words[1])
    return counts


def dry_run(folder: Path, *arguments: str) -> dict[str, int]:
    result = tiny_cohort.snakemake(folder, config_of(folder), "-n", *arguments)
    assert result.returncode == 0, result.stdout[-3000:]
    return planned(result.stdout)


def test_a_truncated_slide_costs_itself_only_and_everybody_says_so(finished: Path) -> None:
    ledger = pd.read_csv(finished / "results/ledger.tsv", sep="\t", keep_default_na=False).set_index(
        "slide_id"
    )
    lost = ledger[ledger["status"] != "ok"]
    assert list(lost.index) == ["CUT"]
    assert lost.loc["CUT", "reason"] in ("unreadable", "no_mpp")
    assert str(finished) not in lost.loc["CUT", "message"]
    assert (
        "1 slide failed" in (finished / "output.txt").read_text()
        or "CUT" in (finished / "output.txt").read_text()
    )
    status = subprocess.run(
        [sys.executable, "-c", "from pathduet.cli import main; main()", "status", "--results", finished / "results"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert status.returncode == 3


def test_every_table_and_the_report_are_there(finished: Path) -> None:
    results = finished / "results"
    tasks = ("diagnosis", "grading", "survival")
    for name in (*tasks, *(f"external_{task}" for task in tasks)):
        table = pd.read_csv(results / f"tables/{name}.tsv", sep="\t")
        assert {"teacher", "student", "distilled"} <= set(table["model"])
    page = (results / "report/report.html").read_text()
    assert "CUT" in page


def test_a_patient_without_expression_is_used_slide_only(finished: Path) -> None:
    results = finished / "results"
    table = pd.read_csv(results / "participation.tsv", sep="\t").set_index("patient_id")
    (patient,) = table.index[(table["expression"] == "no") & (table["n_slides"] > 0)]
    assert table.loc[patient, "survival"] == "slides"
    seen = {
        model: {
            p
            for fold in range(3)
            for p in pd.read_csv(results / f"models/survival/{model}/fold-{fold}/predictions.tsv", sep="\t")[
                "patient_id"
            ]
        }
        for model in ("teacher", "student")
    }
    assert patient in seen["student"]
    assert patient not in seen["teacher"]


def test_no_patient_is_on_both_sides_of_a_split(finished: Path) -> None:
    folds = pd.read_csv(finished / "results/split/folds.tsv", sep="\t").set_index("patient_id")["fold"]
    for fold in range(3):
        path = finished / f"results/models/diagnosis/student/fold-{fold}/predictions.tsv"
        predictions = pd.read_csv(path, sep="\t")
        assert set(folds[predictions["patient_id"]]) == {fold}
    external = pd.read_csv(finished / "results/external/survival/student/fold-0/predictions.tsv", sep="\t")
    assert not set(external["patient_id"]) & set(folds.index)


def test_a_second_run_does_nothing_and_says_so(finished: Path) -> None:
    result = tiny_cohort.snakemake(finished, config_of(finished))
    assert "Nothing to be done" in result.stdout


def test_a_new_slide_row_computes_that_slide_alone(finished: Path) -> None:
    sheet = finished / "cohort/slides.tsv"
    before = sheet.read_text()
    folders = finished / "results/slides"
    stamps = {p: p.stat().st_mtime_ns for p in folders.glob("*/features.h5")}
    assert stamps
    try:
        slides = pd.read_csv(sheet, sep="\t")
        row = slides.iloc[[2]].assign(slide_id="NEW")
        pd.concat([slides, row]).to_csv(sheet, sep="\t", index=False)
        targets = ["results/ledger.tsv"]
        result = tiny_cohort.snakemake(finished, config_of(finished), *targets)
        assert result.returncode in (0, 3), result.stdout[-3000:]
    finally:
        sheet.write_text(before)
    assert (folders / "NEW/features.h5").is_file()
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps


def test_a_slides_artifact_is_a_target(finished: Path) -> None:
    slide = pd.read_csv(finished / "cohort/slides.tsv", sep="\t").loc[3, "slide_id"]
    artifact = finished / "results/slides" / slide / "features.h5"
    content = artifact.read_bytes()
    artifact.unlink()
    result = tiny_cohort.snakemake(finished, config_of(finished), f"results/slides/{slide}/features.h5")
    assert result.returncode in (0, 3), result.stdout[-3000:]
    assert artifact.read_bytes() == content


def test_documented_targets_can_be_planned(finished: Path) -> None:
    slide = pd.read_csv(finished / "cohort/slides.tsv", sep="\t").loc[3, "slide_id"]
    documented = {target for _, words in every_command("snakemake") for target in targets(words)}
    needs_more = {
        "results/models/survival/mean_max/fold-0/predictions.tsv",
        "results/new_slides/predictions.tsv",
    }
    assert needs_more < documented
    wanted = {re.sub(r"SLIDE(_ID)?", slide, target) for target in documented - needs_more}
    dry_run(finished, *sorted(wanted))


def test_metrics_say_where_they_come_from(finished: Path) -> None:
    metrics = read_metrics(Results(finished / "results"), "survival")[("survival", "teacher", 0)]
    assert (metrics["protocol"], metrics["variant"], metrics["unit"]) == ("strict", "paper", "patient")
    provenance = json.loads((finished / "results/provenance.json").read_text())
    assert provenance["seed"] == 42
    assert any(path.endswith("slides.tsv") for path in provenance["inputs"])


def test_every_result_says_what_it_was_made_of(finished: Path) -> None:
    results = finished / "results"
    run = json.loads((results / "provenance.json").read_text())
    model = results / "models/survival/teacher/fold-0"
    records = [json.loads(path.read_text()) for path in sorted((results / "provenance").rglob("*.json"))]
    # what leaves the results carries it
    records.append(json.loads((model / "model.json").read_text())["provenance"])
    with h5py.File(next(results.glob("slides/*/features.h5"))) as file:
        records.append(json.loads(file.attrs["provenance"]))
    for record in records:
        assert record["git_commit"] and len(record["source_sha256"]) == 12
        assert record["versions"]["numpy"] == run["versions"]["numpy"] and record["seed"] == 42
        # the ledger only puts the slides' own records together
        assert record["settings"] or record["rule"] == "ledger"
    # a chain: what evaluation read is what training wrote
    trained = json.loads((results / "provenance/train/survival/fold-0.json").read_text())["outputs"]
    read = json.loads((results / "provenance/evaluate/survival.json").read_text())["inputs"]
    predictions = "results/models/survival/teacher/fold-0/predictions.tsv"
    assert read[predictions] == trained[predictions] == sha256_file(finished / predictions)
    # every file that a job declares stands in a record
    made = {
        name
        for path in (results / "provenance").rglob("*.json")
        for name in json.loads(path.read_text())["outputs"]
    }
    assert {
        f"results/{name}"
        for name in ("ledger.tsv", "split/folds.tsv", "tables/survival.tsv", "report/report.html")
    } <= made


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"slidez": 1}, "slidez: unknown key"),
        ({"split": {"folds": 5}}, "diagnosis, "),
        ({"sheets": {"slides": "nowhere.tsv"}}, "sheets.slides: no file 'nowhere.tsv'"),
    ],
)
def test_bad_input_stops_before_any_job(
    cohort: Path, tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    result = tiny_cohort.snakemake(tmp_path, tiny_cohort.write_config(tmp_path, cohort, **change))
    assert result.returncode == 1
    assert expected in result.stdout
    assert "Traceback" not in result.stdout
    assert not (tmp_path / "results").exists()


def test_resnet50_without_weights_says_the_ways_out(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    config = tiny_cohort.write_config(tmp_path, cohort, encoder={"name": "resnet50"})
    result = tiny_cohort.snakemake(tmp_path, config, "results/ledger.tsv")
    assert result.returncode == 1
    assert "encoder.weights" in result.stdout
    assert not (tmp_path / "results/ledger.tsv").exists()
