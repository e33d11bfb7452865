"""What can happen to disks, files and processes under the slide engine, and what it costs."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pathduet.core import checksums, parent_process, run_lock
from pathduet.core.errors import PathDuetError
from pathduet.results import STAGE_ARTIFACTS
from pathduet.slides.batch import run_batch
from pathduet.slides.stages import run_stage
from pathduet.slides.status import STAGES, read_status
from pathduet.slides.tile_stage import tile_slide
from slides.synthetic_slides import slide_row, small_settings, stained_image, write_svs


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """A small slide."""
    return write_svs(tmp_path / "S1.svs", stained_image(384, 384, 3))


def run(slide: Path, results: Path, stages: tuple[str, ...] = STAGES) -> list[str]:
    return [run_stage(slide_row(slide), stage, results, small_settings()).status for stage in stages]


def contents(results: Path) -> dict[str, bytes]:
    return {str(p.relative_to(results)): p.read_bytes() for p in sorted(results.rglob("*")) if p.is_file()}


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("artifact", ["stain.json", "stain.png"])
def test_a_flipped_bit_is_named_and_mended_by_the_stage_that_wrote_it(
    slide: Path, tmp_path: Path, artifact: str, capfd: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "r"
    run(slide, results, ("tile", "stain"))
    whole = contents(results)
    flip_bit(results / "slides/S1" / artifact)
    run(slide, results, ("stain",))
    assert contents(results) == whole
    assert f"slide S1: {artifact} is not what was written" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("artifact", "spoil"),
    [
        ("tiles.h5", flip_bit),
        ("tiles.h5", Path.unlink),
        ("mask.png", flip_bit),
        ("tile.status.json", Path.unlink),
    ],
)
def test_what_an_earlier_stage_wrote_is_named_with_the_command_that_makes_it_again(
    slide: Path, tmp_path: Path, artifact: str, spoil: Callable[[Path], None]
) -> None:
    results = tmp_path / "r"
    run(slide, results, ("tile", "stain"))
    whole = contents(results)
    spoil(results / "slides/S1" / artifact)
    command = f"snakemake --cores 1 {results}/slides/S1/tiles.h5 --forcerun one_slide"
    with pytest.raises(checksums.CorruptArtifact, match=f"slide S1: {artifact} is .*{re.escape(command)}"):
        run(slide, results, ("stain",))
    with pytest.raises(PathDuetError, match=re.escape(command)):
        run_batch([slide_row(slide)], ["stain"], results, small_settings(), tmp_path / "m.tsv")
    assert not (tmp_path / "m.tsv").exists()
    # no slide is marked as lost, and all the stages in turn mend it
    assert contents(results)["slides/S1/stain.status.json"] == whole["slides/S1/stain.status.json"]
    assert run(slide, results, ("tile", "stain")) == ["ok", "ok"] and contents(results) == whole


def test_a_slide_changed_between_stages_ends_the_job(slide: Path, tmp_path: Path) -> None:
    results = tmp_path / "r"
    run(slide, results, ("tile",))
    write_svs(slide, stained_image(384, 384, 9))
    with pytest.raises(checksums.CorruptArtifact, match="is from another state of the slide"):
        run(slide, results, ("stain",))
    fresh = tmp_path / "fresh"
    for folder in (results, fresh):
        run(slide, folder, ("tile", "stain"))
    assert contents(results) == contents(fresh)


def test_a_slide_changed_while_it_is_read_is_not_used(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tile_and_change(*arguments: object) -> object:
        result = tile_slide(*arguments)  # type: ignore[arg-type]
        with slide.open("ab") as handle:
            handle.write(b"more")
        return result

    monkeypatch.setattr("pathduet.slides.tile_stage.tile_slide", tile_and_change)
    status = run_stage(slide_row(slide), "tile", tmp_path / "r", small_settings())
    assert (status.status, status.reason) == ("failed", "unreadable") and "changed" in status.message
    assert not any((tmp_path / "r/slides/S1" / name).exists() for name in STAGE_ARTIFACTS["tile"])


def test_a_slide_deleted_between_stages_is_lost_with_a_reason(slide: Path, tmp_path: Path) -> None:
    results = tmp_path / "r"
    run(slide, results, ("tile",))
    slide.unlink()
    statuses = run_batch([slide_row(slide)], ["stain"], results, small_settings(), tmp_path / "m.tsv")
    assert [(s.slide_id, s.status, s.reason) for s in statuses] == [("S1", "failed", "unreadable")]
    assert "S1" in (tmp_path / "m.tsv").read_text()


@pytest.mark.slow
def test_a_full_disk_marks_no_slide_and_half_writes_none(
    slide: Path, tmp_path: Path, small_disk: Path
) -> None:
    results = small_disk / "r"
    rows = [slide_row(slide)]
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 60 * 1024)
    with pytest.raises(PathDuetError, match="No space left on device"):
        run_batch(rows, ["tile"], results, small_settings(), small_disk / "m.tsv")
    assert not (small_disk / "m.tsv").exists() and read_status(results, "S1", "tile") is None
    assert not list(results.rglob(".*.tmp*"))
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    assert [s.status for s in run_batch(rows, ["tile"], results, small_settings(), small_disk / "m.tsv")] == [
        "ok"
    ]
    run(slide, tmp_path / "fresh", ("tile",))
    assert contents(results) == contents(tmp_path / "fresh")


def test_a_read_only_disk_is_said_before_anything_starts(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(PathDuetError, match=r"results folder .* cannot be written \(Read-only file system\)"):
        run_lock.hold_run(small_disk / "results")


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)


HOLD = """
import sys, time
from pathduet.core import run_lock
run_lock.hold_run(sys.argv[1]) if len(sys.argv) == 2 else run_lock.hold_job(sys.argv[1], sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


def test_one_run_at_a_time_and_none_after_a_killed_one(tmp_path: Path) -> None:
    first = start(HOLD, str(tmp_path / "r"))
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    with pytest.raises(run_lock.FolderInUse, match=f"process {first.pid} on "):
        run_lock.hold_run(tmp_path / "r")
    assert run_lock.run_owner(tmp_path / "r") is not None
    other = start(HOLD, str(tmp_path / "other"))
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    for process in (first, other):
        process.kill()
        process.wait()
    assert run_lock.run_owner(tmp_path / "r") is None
    second = start(HOLD, str(tmp_path / "r"))
    assert second.stdout is not None and second.stdout.readline() == "held\n"
    second.kill()
    second.wait()


@pytest.mark.parametrize("what", ["link", "dangling link", "other file", "JSON of something else", "pipe"])
def test_a_lock_is_never_written_into_what_is_not_one(tmp_path: Path, what: str) -> None:
    victim, lock = tmp_path / "victim.txt", tmp_path / "r/.lock"
    lock.parent.mkdir()
    victim.write_text("precious")
    if what.endswith("link"):
        lock.symlink_to(victim if what == "link" else tmp_path / "nothing.txt")
    elif what == "pipe":
        os.mkfifo(lock)
    else:
        lock.write_text("precious" if what == "other file" else '{"pid": 1, "keys": "precious"}')
    before = None if what == "pipe" or what == "dangling link" else lock.read_bytes()
    for hold in (run_lock.hold_run, lambda folder: run_lock.hold_job(folder, "a.log")):
        with pytest.raises(PathDuetError, match=r"\.lock is (a symbolic link|not a lock file)"):
            hold(tmp_path / "r")
    assert run_lock.run_owner(tmp_path / "r") is None
    assert victim.read_text() == "precious" and not (tmp_path / "nothing.txt").exists()
    assert before is None or lock.read_bytes() == before


def test_a_job_waits_for_the_one_of_its_name_and_for_no_other(tmp_path: Path) -> None:
    jobs = [start(HOLD, str(tmp_path / "r"), name) for name in ("tile/0000.log", "tile/0001.log")]
    for job in jobs:
        assert job.stdout is not None and job.stdout.readline() == "held\n"
    waiting = start(HOLD, str(tmp_path / "r"), "tile/0000.log")
    time.sleep(1)
    assert waiting.poll() is None and waiting.stdout is not None
    assert not select.select([waiting.stdout], [], [], 0)[0]
    jobs[0].kill()
    assert waiting.stdout.readline() == "held\n"
    for job in (*jobs, waiting):
        job.kill()
        job.wait()


def test_a_job_ends_with_its_killed_workflow(tmp_path: Path) -> None:
    job = """
import os, sys, time
from pathduet.core import parent_process
open(sys.argv[1], "w").write(str(os.getpid()) + " " + str(parent_process.end_with_workflow()))
time.sleep(60)
"""
    workflow = f"""
import os, subprocess, sys
os.environ["{parent_process.VARIABLE}"] = str(os.getpid())
subprocess.run(["bash", "-c", '"$0" -c "$1" "$2"; true', sys.executable, sys.argv[2], sys.argv[1]])
"""
    told = tmp_path / "told"
    process = subprocess.Popen([sys.executable, "-c", workflow, str(told), job])
    deadline = time.monotonic() + 30
    while not (told.exists() and " " in told.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    pid, watched = told.read_text().split()
    assert watched == "True"
    process.kill()
    process.wait()
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_no_process_ends_with_a_stranger() -> None:
    assert not parent_process.end_with(2**22 + 1) and os.getppid() in parent_process.ancestors()


def test_a_changed_output_is_named_and_removed_and_an_unknown_one_left_alone(tmp_path: Path) -> None:
    made, own = tmp_path / "folds.tsv", tmp_path / "own.tsv"
    made.write_text("a\n")
    own.write_text("b\n")
    checksums.record([made])
    checksums.verify([made, own])
    made.write_text("c\n")
    with pytest.raises(checksums.CorruptArtifact, match=r"folds\.tsv is not what was written.*removed"):
        checksums.verify([made, own])
    assert not made.exists() and not checksums.checksum_path(made).exists() and own.exists()


def test_what_killed_writers_left_is_cleared_away(slide: Path, tmp_path: Path) -> None:
    results = tmp_path / "r"
    run(slide, results, ("tile",))
    whole = contents(results)
    for name in (
        ".tiles.0123abcd.tmp.h5", ".tile.status.0123abcd.tmp.json", ".mask.0123abcd.tmp.png",
        ".source.0123abcd.tmp.json", ".refused.0123abcd.tmp.png",
    ):  # fmt: skip
        (results / "slides/S1" / name).write_text("half")
    run(slide, results, ("tile",))
    assert contents(results) == whole
    output = tmp_path / "folds.tsv"
    for name in (".folds.0123abcd.tmp.tsv", "..folds.tsv.0123abcd.tmp.sha256"):
        (tmp_path / name).write_text("half")
    checksums.forget([output])
    assert not list(tmp_path.glob(".*.tmp*"))
