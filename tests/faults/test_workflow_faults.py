"""What happens to whole runs: killed, on a damaged disk, beside another run, with a clock that is ahead."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import tiny_cohort
from faults import kill_test

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
TARGET = "results/models/survival/student/fold-0/predictions.tsv"
MODEL = "results/models/survival/student/fold-0"


def make_run(folder: Path, cohort: Path) -> Path:
    folder.mkdir()
    tiny_cohort.write_config(
        folder, cohort, tasks=tiny_cohort.ONLY_SURVIVAL, split={"folds": 2}, cohorts={"external": []},
        slides={"slides_per_job": 8, "max_tiles": 16}, stain={"backend": "none"},
        expression={"tables": [{"cohort": "phantom", "path": str(cohort / "expression_phantom.tsv.gz"),
                                "unit": "counts", "samples": None}]},
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of 12 patients, one of whose slides comes from a scanner a year ahead."""
    folder = tiny_cohort.make_cohort(tmp_path_factory.mktemp("cohort"), external=0, slide_px=512)
    ahead = time.time() + 365 * 86400
    os.utime(min((folder / "slides").iterdir()), (ahead, ahead))
    return folder


@pytest.fixture(scope="module")
def finished(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run up to one model's predictions; tests copy it."""
    folder = make_run(tmp_path_factory.mktemp("undisturbed") / "run", cohort)
    result = tiny_cohort.snakemake(folder, folder / "config.yaml", TARGET)
    assert result.returncode == 0, result.stdout[-4000:]
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run (dates included)."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def again(run: Path) -> subprocess.CompletedProcess[str]:
    return tiny_cohort.snakemake(run, run / "config.yaml", TARGET)


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_slide_from_the_future_is_not_made_again(run: Path) -> None:
    assert "Nothing to be done" in again(run).stdout


def test_a_sheet_from_the_future_is_content_like_any_other(run: Path, cohort: Path) -> None:
    sheet = cohort / "patients.tsv"
    before = sheet.stat()
    try:
        os.utime(sheet, (time.time() + 3600, time.time() + 3600))
        assert "Nothing to be done" in again(run).stdout
        (run / MODEL / "predictions.tsv").unlink()
        assert again(run).returncode == 0 and (run / MODEL / "predictions.tsv").exists()
    finally:
        os.utime(sheet, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_damaged_features_are_named_with_the_command_that_makes_them_again(run: Path, finished: Path) -> None:
    slide = sorted((run / "results/slides").iterdir())[0].name
    flip_bit(run / f"results/slides/{slide}/features.h5")
    (run / MODEL / "predictions.tsv").unlink()
    refused = again(run)
    assert (
        refused.returncode != 0 and f"slide {slide}, features.h5: is not what was written" in refused.stdout
    )
    command = re.search(r"make it again with `(snakemake [^`]*)`", refused.stdout)
    assert command, refused.stdout[-3000:]
    words = shlex.split(command[1])[3:]
    mended = tiny_cohort.snakemake(run, run / "config.yaml", *words)
    assert mended.returncode == 0, mended.stdout[-3000:]
    assert again(run).returncode == 0
    # besides the slide's own record and checksum nothing is new, and its features are the same bytes
    differences = kill_test.compare(finished / "results", run / "results")
    assert [line for line in differences if not line.startswith("left over: ") or slide not in line] == []


def test_a_damaged_output_is_named_removed_and_made_again(run: Path, finished: Path) -> None:
    flip_bit(run / "results/split/folds.tsv")
    (run / MODEL / "predictions.tsv").unlink()
    first = again(run)
    assert first.returncode != 0 and "results/split/folds.tsv" in first.stdout
    assert "not what was written" in first.stdout
    # the command that it gives works as it stands, from anywhere
    command = re.search(
        r"run it alone again: (snakemake --cores 1 results/genes/fold-0\.h5ad .*)", first.stdout
    )
    assert command
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    alone = subprocess.run(shlex.split(command[1]), cwd="/", env=environment, capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr[-3000:]
    assert (run / "results/genes/fold-0.h5ad").is_file()
    assert again(run).returncode == 0
    assert kill_test.compare(finished / "results", run / "results") == []


def test_a_second_run_in_the_same_folder_refuses_and_harms_nothing(run: Path) -> None:
    hold = "import sys, time; from pathduet.core import run_lock; run_lock.hold_run('results'); print(1, flush=True); time.sleep(300)"
    other = subprocess.Popen([sys.executable, "-c", hold], cwd=run, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "1\n"
        (run / MODEL / "predictions.tsv").unlink()
        refused = again(run)
        assert refused.returncode != 0 and f"process {other.pid} on " in refused.stdout
        assert not (run / MODEL / "predictions.tsv").exists()
    finally:
        other.kill()
        other.wait()
    # nothing to unlock: the lock went with its process
    assert again(run).returncode == 0 and (run / MODEL / "predictions.tsv").exists()


def test_killed_at_random_it_ends_as_if_undisturbed(finished: Path, cohort: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "killed", cohort)
    done = kill_test.run_with_kills(folder, 4, 5, 12.0, TARGET)
    assert done.hit.total() == 4 and done.starts >= 2 and done.left == 0
    assert kill_test.compare(finished / "results", folder / "results") == []
    ledger = pd.read_csv(folder / "results/ledger.tsv", sep="\t")
    assert list(ledger["slide_id"]) == list(pd.read_csv(cohort / "slides.tsv", sep="\t")["slide_id"])
