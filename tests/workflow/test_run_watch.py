"""The progress lines of a running workflow."""

import io
import json
import time
from pathlib import Path

from pathduet.workflow.run_watch import RunWatch
from pathduet.workflow.status import plan_path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def planned(results: Path) -> Path:
    files = {"genes": ["genes/fold-0.h5ad", "genes/fold-1.h5ad"], "report": ["report/report.html"]}
    plan_path(results).write_text(
        json.dumps({"started": time.time() - 100, "slides": ["a", "b"], "files": files})
    )
    return results


def make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("done")


def test_what_was_finished_is_one_plain_line_a_stage(tmp_path: Path):
    results, log = planned(tmp_path), io.StringIO()
    watch = RunWatch(results, log).start()
    make(results / "genes/fold-0.h5ad")
    make(results / "slides/a/tile.status.json")
    make(results / "slides/b/tile.status.json")
    watch.stop()
    lines = log.getvalue().splitlines()
    assert len(lines) == 2
    assert "2/2" in lines[0] and "slides" in lines[0] and "left" not in lines[0]
    assert "1/2" in lines[1] and "genes" in lines[1] and "left" in lines[1]


def test_what_stood_there_before_is_not_told_again(tmp_path: Path):
    results, log = planned(tmp_path), io.StringIO()
    make(results / "genes/fold-0.h5ad")
    make(results / "genes/fold-1.h5ad")
    RunWatch(results, log).start().stop()
    assert log.getvalue() == ""


def test_it_looks_again_and_again_until_it_is_stopped(tmp_path: Path):
    results, log = planned(tmp_path), io.StringIO()
    watch = RunWatch(results, log, every=0.02).start()
    make(results / "genes/fold-0.h5ad")
    deadline = time.monotonic() + 10
    while log.getvalue().count("genes") < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    watch.stop()
    said = log.getvalue()
    assert said.count("genes") >= 2
    time.sleep(0.1)
    assert log.getvalue() == said


def test_a_terminal_gets_bars(tmp_path: Path):
    results, screen = planned(tmp_path), Terminal()
    watch = RunWatch(results, screen).start()
    make(results / "genes/fold-0.h5ad")
    watch.stop()
    assert "━" in screen.getvalue() and "1/2" in screen.getvalue()


def test_a_plan_that_vanishes_ends_nothing(tmp_path: Path):
    results, log = planned(tmp_path), io.StringIO()
    watch = RunWatch(results, log).start()
    plan_path(results).unlink()
    watch.stop()
    assert log.getvalue() == ""
