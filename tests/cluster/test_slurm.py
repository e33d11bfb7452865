"""The workflow through profiles/slurm on a real SLURM: partitions, GPUs, and everything that can happen to a job."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

import tiny_cohort
from cluster.one_node_slurm import OneNodeSlurm, why_not

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "SLURM is there"),
]
PROFILE = tiny_cohort.REPOSITORY / "profiles/slurm"
TARGET = "results/models/survival/student/fold-0/predictions.tsv"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneNodeSlurm]:
    """A running one-node cluster."""
    with OneNodeSlurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def owners_profile(folder: Path) -> Path:
    """Copy the shipped profile as the owner of a small cluster would edit it; what is asked for stays."""
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    assert profile["default-resources"]["slurm_partition"] == "'cpu'"
    assert {profile["set-resources"][rule]["gres"] for rule in ("features", "train")} == {"'gpu:1'"}
    profile["set-threads"] = dict.fromkeys(profile["set-threads"], 1)  # this node only claims 16 cores
    profile["slurm-init-seconds-before-status-checks"] = 2
    profile["seconds-between-status-checks"] = 3
    profile["latency-wait"] = 10
    # so that the first try can run out of time
    profile["set-resources"]["train"]["runtime"] = "1 if attempt == 1 else 30"
    path = folder / "profile"
    path.mkdir()
    (path / "config.yaml").write_text(yaml.safe_dump(profile))
    return path


class Run:
    """A workflow run from the login node, and what the controller said of its jobs."""

    def __init__(self, folder: Path, profile: Path, slurm: OneNodeSlurm) -> None:
        self.folder, self.profile, self.slurm = folder, profile, slurm
        self.seen: dict[str, dict[str, str]] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it in the background."""
        command = [
            sys.executable, "-m", "snakemake", "--snakefile", str(tiny_cohort.REPOSITORY / "Snakefile"),
            "--directory", str(self.folder), "--configfile", str(self.folder / "config.yaml"),
            "--profile", str(self.profile), TARGET,
        ]  # fmt: skip
        with (self.folder / "output.txt").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder,
                env={**self.slurm.environment, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def look(self) -> dict[str, dict[str, str]]:
        """Ask the controller, keep what it says, and return all jobs seen so far."""
        for job in self.slurm.jobs():
            self.seen[job["id"]] = job
        return self.seen

    def wait_for(self, rule: str, states: tuple[str, ...], seconds: float = 480) -> dict[str, str]:
        """Return the first job of a rule in one of some states."""
        return self.until(
            lambda: next((j for j in self.look().values() if of(j, rule) and j["state"] in states), None),
            seconds,
        )

    def until(self, found: Callable[[], dict[str, str] | None], seconds: float) -> dict[str, str]:
        """Poll until something is found."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = found()
            if job:
                return job
            assert self.process is not None
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(
            f"{[(j['rule'], j['state']) for j in self.seen.values()]}\n{self.output()[-4000:]}"
        )

    def output(self) -> str:
        """Return everything it printed."""
        return (self.folder / "output.txt").read_text()

    def finish(self, seconds: float) -> int:
        """Wait for its end and return the exit status."""
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self.look()
            time.sleep(0.5)
        return self.process.wait(timeout=10)


def of(job: dict[str, str], rule: str) -> bool:
    """Whether a job is of a rule (the executor puts it in the comment)."""
    return re.match(rf"(rule_)?{rule}(_|$)", job["rule"]) is not None


def processes_of(rule: str, folder: Path) -> list[int]:
    """Return the processes that run a rule's script for a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(folder) in command and re.search(rf"scripts/tmp\w*\.{rule}\.py", command):
                found.append(int(entry.name))
    return found


def stopped_halfway(job: dict[str, str], folder: Path) -> dict[str, str] | None:
    """Once a slide of a tiling job is done, stop the job where it is; return its finished slides with their dates."""
    batch = re.search(r"\d{4}$", job["rule"])
    assert batch, job
    slides = pd.read_csv(folder / "cohort/slides.tsv", sep="\t")["slide_id"]  # in the sheet's order, 8 a job
    mine = list(slides[8 * int(batch[0]) : 8 * int(batch[0]) + 8])
    if not any((folder / f"results/slides/{slide}/tile.status.json").exists() for slide in mine):
        return None
    for pid in processes_of("slides", folder):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/fd/2").readlink() == folder / f"results/logs/tile_and_stain/{batch[0]}.log":
                os.kill(pid, signal.SIGSTOP)
    done = [slide for slide in mine if (folder / f"results/slides/{slide}/tile.status.json").exists()]
    assert len(done) < len(mine), "the batch was over before it could be stopped"
    return {s: str((folder / f"results/slides/{s}/tiles.h5").stat().st_mtime_ns) for s in done}


def visible_devices(script: str, folder: Path) -> dict[str, str] | None:
    """Return which GPUs SLURM gave to the processes that run a script, by process; None if none runs or has any."""
    found = {}
    for pid in processes_of(script, folder):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        found |= {str(pid): v.partition("=")[2] for v in environment if v.startswith("CUDA_VISIBLE_DEVICES=")}
    return found or None


def test_jobs_survive_cancelling_a_time_limit_the_controller_and_a_killed_workflow(
    slurm: OneNodeSlurm, tmp_path: Path
) -> None:
    cohort = tiny_cohort.make_cohort(tmp_path / "cohort", external=0, slide_px=512)
    tiny_cohort.write_config(
        tmp_path, cohort, tasks=tiny_cohort.ONLY_SURVIVAL, split={"folds": 2}, cohorts={"external": []},
        slides={"slides_per_job": 8, "max_tiles": 16}, stain={"backend": "none"},
        expression={"tables": [{"cohort": "phantom", "path": str(cohort / "expression_phantom.tsv.gz"),
                                "unit": "counts", "samples": None}]},
    )  # fmt: skip
    run = Run(tmp_path, owners_profile(tmp_path), slurm)
    try:
        run.start()
        cancelled = run.wait_for("tile_and_stain", ("RUNNING",))
        # in the middle of its batch: some slides are done, others not
        finished = run.until(lambda: stopped_halfway(cancelled, tmp_path), 240)
        slurm.cancel(cancelled["id"])
        # its retry is another job, and asks for more memory
        again = run.until(
            lambda: next(
                (j for j in run.look().values() if of(j, "tile_and_stain") and int(j["id"]) > int(cancelled["id"])
                 and j["memory"] == "16000M"), None), 120,
        )  # fmt: skip
        assert again["limit"] == "8:00:00" and cancelled["limit"] == "4:00:00"

        # not while a job starts: SLURM keeps its step waiting for minutes then
        run.until(lambda: again if run.look()[again["id"]]["state"] == "COMPLETED" else None, 240)
        slurm.restart_controller(pause=2)

        run.wait_for("features", ("RUNNING",))
        devices = run.until(lambda: visible_devices("slides", tmp_path), 120)
        assert set(devices.values()) <= {"0", "1"}, devices
        assert run.process is not None
        run.process.kill()
        run.process.wait()
        left = [j for j in run.look().values() if j["state"] in ("PENDING", "RUNNING")]
        assert left, "the killed workflow left no job, so its start again proves nothing"
        run.start()

        # a training that hangs runs out of its minute, and is sent again with more
        trained_on: dict[str, str] = {}

        def hung() -> dict[str, str] | None:
            for pid in processes_of("train", tmp_path):
                os.kill(pid, signal.SIGSTOP)
            trained_on.update(visible_devices("train", tmp_path) or {})
            return next((j for j in run.look().values() if of(j, "train") and j["state"] == "TIMEOUT"), None)

        late = run.until(hung, 480)
        assert run.finish(480) == 0, run.output()[-4000:]
        assert trained_on and set(trained_on.values()) <= {"0", "1"}, trained_on
        assert not set(devices) & set(trained_on)
    finally:
        if run.process is not None and run.process.poll() is None:
            run.process.kill()
            run.process.wait()
        slurm.cancel_all()

    jobs = list(run.look().values())
    trained = [j for j in jobs if of(j, "train") and j["state"] == "COMPLETED"]
    assert late["limit"] == "1:00" and trained and trained[-1]["limit"] == "30:00"
    for job in jobs:
        wants_gpu = any(of(job, rule) for rule in ("features", "train"))
        assert job["partition"] == ("gpu" if wants_gpu else "cpu"), job
        assert ("gpu:1" in job["gres"]) == wants_gpu, job
    # what went wrong was told, with the place of the log
    output = run.output()
    assert re.search(r"logs/slurm/\S+\.log", output) and "results/logs/tile_and_stain/" in output
    # what the cancelled batch had finished was not made again
    for slide, date in finished.items():
        assert str((tmp_path / f"results/slides/{slide}/tiles.h5").stat().st_mtime_ns) == date, slide
    # no slide was lost, nothing half-written is left
    ledger = pd.read_csv(tmp_path / "results/ledger.tsv", sep="\t")
    sheet = pd.read_csv(cohort / "slides.tsv", sep="\t")
    assert sorted(ledger["slide_id"]) == sorted(sheet["slide_id"]) and set(ledger["status"]) == {"ok"}
    assert not list((tmp_path / "results").rglob(".*.tmp*"))
    shutil.rmtree(tmp_path / "results/slides")


def test_every_named_rule_exists_and_jobs_are_sent_again_by_the_profile_alone() -> None:
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    text = "".join(path.read_text() for path in sorted(tiny_cohort.REPOSITORY.glob("rules/*.smk")))
    rules = {name for one in re.findall(r"^(?:rule (\w+)|use rule \w+ as (\w+))", text, re.M) for name in one}
    assert set(profile["set-resources"]) | set(profile["set-threads"]) <= rules
    assert profile["retries"] >= 1 and "retries:" not in text
