"""What a run prints: a page in a terminal, a line a stage in a file, nothing of each job but its failure."""

import contextlib
import io
import json
import logging
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from pathduet.workflow.console import RunConsole
from pathduet.workflow.run_watch import RunWatch
from pathduet.workflow.status import plan_path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def console(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> RunConsole:
    monkeypatch.setattr(RunConsole, "active", None)
    settings = SimpleNamespace(
        **{"verbose": False, "dryrun": False, "stdout": False, "nocolor": True} | changes
    )
    made = RunConsole(settings, None)
    made.screen.file = stream
    return made


def planned(results: Path) -> Path:
    files = {"genes": ["genes/fold-0.h5ad", "genes/fold-1.h5ad"], "report": ["report/report.html"]}
    plan_path(results).write_text(
        json.dumps({"started": time.time() - 100, "slides": ["a", "b"], "files": files})
    )
    return results


def make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("done")


def record(text: str, level: int = logging.INFO, **more: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text, "levelno": level, **more})


def test_what_was_finished_is_one_plain_line_a_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    results = planned(tmp_path)
    watch = RunWatch(results).start()
    make(results / "genes/fold-0.h5ad")
    make(results / "slides/a/tile.status.json")
    make(results / "slides/b/tile.status.json")
    watch.stop()
    assert capsys.readouterr().err.splitlines() == [
        "progress: tile            2/2      slides",
        "progress: genes           1/2      folds",
    ]


def test_what_stood_there_before_is_not_told_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    results = planned(tmp_path)
    make(results / "genes/fold-0.h5ad")
    make(results / "genes/fold-1.h5ad")
    RunWatch(results).start().stop()
    assert capsys.readouterr().err == ""


def test_it_looks_again_and_again_until_it_is_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    results = planned(tmp_path)
    watch = RunWatch(results, every=0.02).start()
    make(results / "genes/fold-0.h5ad")
    said, deadline = "", time.monotonic() + 10
    while said.count("genes") < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
        said += capsys.readouterr().err
    watch.stop()
    assert said.count("genes") >= 2
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_plan_that_vanishes_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    watch = RunWatch(planned(tmp_path)).start()
    plan_path(tmp_path).unlink()
    watch.stop()
    assert capsys.readouterr().err == ""


def test_job_blocks_stay_in_snakemakes_log(monkeypatch: pytest.MonkeyPatch):
    shown = io.StringIO()
    logger = console(shown, monkeypatch)
    for event in LogEvent:
        if event not in (LogEvent.ERROR, LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR):
            logger.handle(record("a block", event=event))
    logger.handle(record("None"))
    logger.handle(record("a command", logging.ERROR, event=LogEvent.ERROR, exception="RuleException"))
    assert shown.getvalue() == ""
    logger.handle(record("Nothing to be done"))
    logger.handle(record("no such file [x]", logging.ERROR, event=LogEvent.ERROR))
    assert shown.getvalue() == "Nothing to be done\nno such file [x]\n"


@pytest.mark.parametrize("option", ["verbose", "dryrun"])
def test_verbose_and_dry_runs_print_job_blocks(option: str, monkeypatch: pytest.MonkeyPatch):
    shown = io.StringIO()
    console(shown, monkeypatch, **{option: True}).handle(record("a block", event=LogEvent.JOB_FINISHED))
    assert shown.getvalue() == "a block\n"


def test_a_failed_job_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shown, log = io.StringIO(), tmp_path / "train.log"
    log.write_text("epoch 1\nERROR: S1: no tiles\nmore\n")
    failed = {"rule_name": "train", "output": ["weights", "model.json"], "log": [str(log)]}
    logger = console(shown, monkeypatch)
    logger.handle(record("as Snakemake tells it", logging.ERROR, event=LogEvent.JOB_ERROR, **failed))
    assert shown.getvalue() == "as Snakemake tells it\n"  # of a workflow that is not a run
    shown.seek(shown.truncate(0))
    logger._jobs_run = True
    logger.handle(record("x", logging.ERROR, event=LogEvent.JOB_ERROR, **failed))
    logger.handle(record("x", logging.ERROR, event=LogEvent.GROUP_ERROR, job_error_info=[failed]))
    assert shown.getvalue().splitlines() == [f"failed: train (weights); S1: no tiles; log: {log}"] * 2


def test_while_jobs_run_their_output_goes_to_the_log_and_a_page_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In a real terminal: a pseudo-terminal in the place of stderr."""
    pty = pytest.importorskip("pty")
    mine, theirs = pty.openpty()
    saved = os.dup(2)
    os.dup2(theirs, 2)
    try:
        with os.fdopen(os.dup(2), "w") as stream:
            logger = console(stream, monkeypatch)  # type: ignore[arg-type]
            watch = RunWatch(planned(tmp_path), logger).start()
            os.write(2, b"noise of a job\n")
            logger.handle(record("Select jobs to execute..."))
            logger.handle(record("disk almost full", logging.WARNING))
            make(tmp_path / "genes/fold-0.h5ad")
            watch.stop()
            os.write(2, b"the end\n")
            stream.flush()
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how a pseudo-terminal ends
        while part := os.read(mine, 1 << 16):
            shown += part
    os.close(mine)
    text = shown.decode()
    assert "━" in text and "1/2" in text and "0/1" in text
    assert "disk almost full" in text and "the end" in text and "Select" not in text
    assert (tmp_path / "logs/run.log").read_text() == "noise of a job\n"


def test_snakemake_finds_the_logger_that_the_profiles_name(repository: Path):
    import yaml
    from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

    registry = LoggerPluginRegistry()
    for profile in ("default", "slurm"):
        (name,) = yaml.safe_load((repository / f"profiles/{profile}/config.yaml").read_text())["logger"]
        assert registry.get_plugin(name).log_handler is RunConsole
