"""How far a run is, and what failed, told from files."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

from typer.testing import CliRunner

from pathduet.cli import app
from pathduet.results import Results
from pathduet.workflow.failures import failed_jobs, failure_lines, same_run_words
from pathduet.workflow.status import failures_path, read_progress, status_lines, write_plan

LOG = """\
[Mon Nov 23 17:33:27 2026]
Error in rule train:
    message: None
    jobid: 5
    input: results/ledger.tsv
    output: {output}, {folder}/model.json
    log: {log} (check log file(s) for error details)
Logfile {log}:
    Error in rule inside a job's own log:
Error in rule train:
    output: {output}, {folder}/model.json
    log: {log} (check log file(s) for error details)
Error in rule report:
    output: report.html
"""


def plan(slides: int) -> SimpleNamespace:
    layout = Results(Path("results"))
    return SimpleNamespace(
        results=layout, tasks=["survival"], folds=range(2), tables=["survival"], trained=[("survival", "teacher")],
        of_folds=lambda models, file: [layout.model(*model, fold) / file for model in models for fold in range(2)],
        genes_of=lambda model, fold: layout.genes(fold), record={"slides": [f"S{i}" for i in range(slides)]},
        heatmaps=[("survival", "distilled", 1, "S0")], drawn_from="", slides=[],
    )  # fmt: skip


def test_progress_counts_what_is_there_and_estimates_from_this_start(tmp_path: Path) -> None:
    write_plan(plan(10), tmp_path)  # type: ignore[arg-type]
    started = plan_started(tmp_path)
    for i in range(4):
        path = tmp_path / f"slides/S{i}/tile.status.json"
        path.parent.mkdir(parents=True)
        path.touch()
        # one from a day ago, three at a pace of 20 s after other stages had their time
        os.utime(path, (started - 86400,) * 2 if i == 0 else (started + 1000 + 20 * i,) * 2)
    steps = {step.name: step for step in read_progress(tmp_path)}
    assert (steps["tile"].done, steps["tile"].total, steps["tile"].recent) == (4, 10, 3)
    assert "4/10" in steps["tile"].line() and "3.00/min, 2 min left" in steps["tile"].line()
    assert (steps["train"].total, steps["tables"].total, steps["genes"].done) == (2, 1, 0)
    assert "left" not in steps["genes"].line()
    # a run at work that made nothing new for 100 s is slower than its last file says
    slower = {step.name: step for step in read_progress(tmp_path, until=started + 1120)}
    assert "1.20/min, 5 min left" in slower["tile"].line()
    assert [*steps][3:] == ["genes", "train", "tables", "explain", "heatmaps", "report"]
    folder = tmp_path / "explanations/survival/distilled/fold-1/S0/viewer"
    folder.mkdir(parents=True)
    (folder / "index.html").touch()
    assert {s.name: s.done for s in read_progress(tmp_path)}["heatmaps"] == 1
    assert status_lines(tmp_path)[-1].startswith("No run is active")


def plan_started(folder: Path) -> float:
    import json

    return float(json.loads((folder / ".plan.json").read_text())["started"])


def test_a_folder_without_a_run_has_no_progress(tmp_path: Path) -> None:
    assert read_progress(tmp_path) == [] and status_lines(tmp_path) == []


def test_status_tells_what_failed_until_the_next_start(tmp_path: Path) -> None:
    write_plan(plan(1), tmp_path)  # type: ignore[arg-type]
    failures_path(tmp_path).write_text("FAILED: train\n")
    assert status_lines(tmp_path)[-2:-1] == ["FAILED: train"]
    write_plan(plan(1), tmp_path)  # type: ignore[arg-type]
    assert "FAILED: train" not in status_lines(tmp_path)


def test_status_says_that_a_folder_holds_no_run(tmp_path: Path) -> None:
    for folder, said in ((tmp_path, "holds no run"), (tmp_path / "none", "is not there")):
        found = CliRunner().invoke(app, ["status", "--results", str(folder)])
        assert found.exit_code == 4 and f"{folder} {said}" in found.output
        assert not (tmp_path / "none").exists() and not list(tmp_path.iterdir())


def test_a_failure_is_told_once_with_its_reason_its_log_and_its_command(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("ERROR: of an earlier attempt\nepoch 1\nTraceback ...\nERROR: S1: no tiles\nadd tissue\n")
    run = tmp_path / "run.log"
    run.write_text(LOG.format(output=tmp_path / "weights", folder=tmp_path, log=log))
    jobs = failed_jobs(run)
    assert [job.rule for job in jobs] == ["train", "report"]
    assert failure_lines(jobs) == [
        f"FAILED: train ({tmp_path / 'weights'})",
        "  S1: no tiles",
        "  add tissue",
        f"  log: {log}",
        f"  run it alone again: snakemake --cores 1 {tmp_path / 'weights'}",
        "FAILED: report (report.html)",
        "  run it alone again: snakemake --cores 1 report.html",
    ]
    # a run that was given a configuration needs it again; the target stands before an option that takes many words
    lines = failure_lines(jobs, ["--configfile", "my own.yaml"])
    assert "  run it alone again: snakemake --cores 1 report.html --configfile 'my own.yaml'" in lines
    assert failed_jobs(tmp_path / "none") == []
    log.write_text("epoch 1\n\n")
    assert failure_lines(jobs)[1] == "  killed; its log ends with: epoch 1"
    log.unlink()
    assert failure_lines(jobs)[1] == "  it wrote no log: it was killed before it started"


def test_a_command_of_the_same_run_names_what_the_run_was_given() -> None:
    here, other = Path("/run"), Path("/code/Snakefile")
    files = [here / "mine.yaml", Path("/shared/site.yaml")]
    assert same_run_words(here, here / "Snakefile") == []
    assert same_run_words(here, here / "Snakefile", files, ["a=1"], ["conda"]) == [
        "--configfile", "mine.yaml", "/shared/site.yaml", "--sdm", "conda", "--config", "a=1",
    ]  # fmt: skip
    assert same_run_words(here, other, files[:1]) == [
        "--snakefile", "/code/Snakefile", "--directory", "/run", "--configfile", "/run/mine.yaml",
    ]  # fmt: skip
