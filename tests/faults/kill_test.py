"""Kill a run again and again, at random times, then let it finish and compare it with an undisturbed one.

    python tests/faults/kill_test.py --kills 200 --seed 1 --folder /tmp/kills

Half of the kills hit Snakemake itself, half one process of a job (its script or a slide worker), all with SIGKILL, at
random times. Long rules would get them all and the last ones none: so a rule takes part until it was hit `--most` times
(alone, or along with Snakemake), and a rule that was not hit yet is, at a random moment of its first two seconds. A run
that ends before all kills are spent starts again from nothing. After a kill of Snakemake the run is simply started
again: no `--unlock`, no clearing up by hand. Exit status 0 if every artifact is byte for byte what the undisturbed run
wrote, no temporary or half-written file and no process is left and the ledger has every slide.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tiny_cohort

#: What no two runs can have alike: times, logs, and pages that show times.
UNLIKE = re.compile(
    r"(^|/)(logs|benchmarks|report)/|(^|/)(\.lock|\.plan\.json|\.failures\.txt)$"
    # cost.json holds seconds; pages and figures of tables show them, records of jobs have the checksums of these
    r"|(^|/)\.?cost\.json(\.sha256)?$|(^|/)tables/(\..*|.*\.(md|html|svg))$|^provenance/(train|evaluate)/|^provenance/report\.json$"
)
#: Columns of tables that hold what a training took.
COSTS = ("train_s", "train_mib")
CHANGES = {"tasks": tiny_cohort.ONLY_SURVIVAL, "split": {"folds": 2}, "slides": {"slides_per_job": 6}}


def children(pid: int) -> dict[int, str]:
    """Return every process below `pid` with its command line."""
    table: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (OSError, IndexError):
                continue
            table[int(folder.name)] = (parent, command)
    found: dict[int, str] = {}
    front = [pid]
    while front:
        now = front.pop()
        for child, (parent, command) in table.items():
            if parent == now:
                found[child] = command
                front.append(child)
    return found


def digests(results: Path) -> dict[str, str]:
    """Return the SHA-256 of every comparable file of a results folder."""
    found = {}
    for path in sorted(results.rglob("*")):
        name = path.relative_to(results).as_posix()
        if path.is_file() and not UNLIKE.search(name):
            content = path.read_bytes()
            if name.startswith("tables/"):
                table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
                content = table.drop(columns=[c for c in COSTS if c in table]).to_csv().encode()
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def start(folder: Path, log: Path, *targets: str) -> subprocess.Popen[bytes]:
    """Start the run in the background."""
    with log.open("ab") as handle:
        return subprocess.Popen(
            tiny_cohort.command(folder, folder / "config.yaml", *targets), stdout=handle, stderr=subprocess.STDOUT,
            cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def rule_of(pid: int, command: str, results: Path) -> str:
    """Return which rule's process this is, told by the log it writes to; empty if it is no job's."""
    if not re.search(r"scripts?/tmp\w*\.\w+\.py|workflow_scripts/\w+\.py|slides\.worker", command):
        return ""
    try:
        log = Path(f"/proc/{pid}/fd/2").readlink().relative_to(results / "logs")
    except (OSError, ValueError):
        return "a job that has just begun"
    rule = log.stem if len(log.parts) == 1 or log.stem == "subspaces" else log.parts[0]
    return f"{rule} (slide worker)" if "slides.worker" in command else rule


def jobs_of(run: subprocess.Popen[bytes], results: Path) -> dict[int, str]:
    """Return the processes of a run's jobs and their rules."""
    found = {pid: rule_of(pid, command, results) for pid, command in children(run.pid).items()}
    return {pid: rule for pid, rule in found.items() if rule}


def next_moment(
    run: subprocess.Popen[bytes],
    results: Path,
    rng: random.Random,
    had: Counter[str],
    most: int,
    longest: float,
) -> dict[int, str]:
    """Wait for a random time, less if a rule shows up that had no kill yet; return the jobs whose turn it is."""
    deadline = time.monotonic() + rng.uniform(0.2, longest)
    while time.monotonic() < deadline and run.poll() is None:
        if any(had[rule] == 0 for rule in jobs_of(run, results).values()):
            time.sleep(rng.uniform(0, 2))
            break
        time.sleep(0.1)
    return {pid: rule for pid, rule in jobs_of(run, results).items() if had[rule] < most}


@dataclass
class Kills:
    """What was killed, and what that left.

    Attributes
    ----------
    hit : Counter
        ``snakemake``, or the rule of a process that was killed alone.
    along : Counter
        Rules whose jobs were at work when Snakemake was killed.
    starts, passes : int
        How often the run was started, and how often from nothing.
    left : int
        Processes of killed runs that were still there at the end.
    """

    hit: Counter[str] = field(default_factory=Counter)
    along: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    passes: int = 1
    left: int = 0


def run_with_kills(
    folder: Path, kills: int, seed: int, longest: float, *targets: str, most: int = 10**6
) -> Kills:
    """Run in `folder` under `kills` SIGKILLs until it has finished."""
    rng = random.Random(seed)
    log, results = folder / "output.txt", folder / "results"
    done = Kills()
    had: Counter[str] = Counter()
    after_last = 0
    left: set[tuple[int, int]] = set()
    while True:
        run = start(folder, log, *targets)
        done.starts += 1
        after_last += done.hit.total() >= kills
        while run.poll() is None and done.hit.total() < kills:
            jobs = next_moment(run, results, rng, had, most, longest)
            if run.poll() is not None:
                break
            if not jobs:
                # seldom: also between jobs, while it plans or ends
                if rng.random() < 0.9:
                    continue
                with_it: list[str] = []
            else:
                with_it = [*jobs_of(run, results).values()]
            if not jobs or rng.random() < 0.5:
                left |= {(pid, born(pid)) for pid in children(run.pid)}
                done.along.update(with_it)
                had.update(with_it)
                run.kill()
                run.wait()
                done.hit["snakemake"] += 1
            else:
                pid = rng.choice(sorted(jobs))
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                done.hit[jobs[pid]] += 1
                had[jobs[pid]] += 1
        code = run.wait()
        if done.hit.total() >= kills and code == 0:
            done.left = sum(born(pid) == time_of_birth != 0 for pid, time_of_birth in left)
            return done
        if code == 0:  # finished before all kills were spent: once more from nothing
            shutil.rmtree(results)
            shutil.rmtree(folder / ".snakemake")
            had.clear()
            done.passes += 1
        elif after_last > 3:
            raise SystemExit(f"the run does not finish after the last kill, see {log}")


def born(pid: int) -> int:
    """Return when a process started, in ticks since boot (ids given again); 0 if there is none, or a zombie."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, IndexError):
        return 0
    return 0 if facts[0] in ("Z", "X") else int(facts[19])


def compare(undisturbed: Path, killed: Path) -> list[str]:
    """Return every difference between two results folders, and every file that should not be there."""
    wanted, found = digests(undisturbed), digests(killed)
    problems = [f"missing: {n}" for n in sorted(wanted.keys() - found.keys())]
    problems += [f"left over: {n}" for n in sorted(found.keys() - wanted.keys())]
    problems += [f"differs: {n}" for n in sorted(wanted.keys() & found.keys()) if wanted[n] != found[n]]
    return problems


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--longest", type=float, default=6.0, help="most seconds between kills")
    parser.add_argument(
        "--most", type=int, default=6, help="most kills of a rule before it starts from nothing"
    )
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.resolve()
    cohort = tiny_cohort.make_cohort(arguments.folder / "cohort", slide_px=512)
    runs = {name: arguments.folder / name for name in ("undisturbed", "killed")}
    for folder in runs.values():
        folder.mkdir(parents=True, exist_ok=True)
        tiny_cohort.write_config(folder, cohort, **CHANGES)
    if start(runs["undisturbed"], runs["undisturbed"] / "output.txt").wait() != 0:
        raise SystemExit("the undisturbed run failed")
    began = time.monotonic()
    done = run_with_kills(
        runs["killed"], arguments.kills, arguments.seed, arguments.longest, most=arguments.most
    )
    problems = compare(runs["undisturbed"] / "results", runs["killed"] / "results")
    summary = {
        "kills": done.hit.total(), "hit": dict(done.hit.most_common()),
        "at_work_when_snakemake_was_killed": dict(done.along.most_common()), "starts": done.starts, "passes": done.passes,
        "seed": arguments.seed, "seconds": round(time.monotonic() - began),
        "files_compared": len(digests(runs["killed"] / "results")), "processes_left": done.left, "problems": problems,
    }  # fmt: skip
    print(json.dumps(summary, indent=2))
    raise SystemExit(1 if problems or done.left else 0)


if __name__ == "__main__":
    main()
