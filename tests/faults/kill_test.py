"""Kill a run again and again, at random times, then let it finish and compare it with an undisturbed one.

    python tests/faults/kill_test.py --kills 200 --seed 1 --folder /tmp/kills

Half of the kills hit Snakemake itself, half one process of a job (its script or a slide worker), all with SIGKILL.
After each kill of Snakemake the run is simply started again: no `--unlock`, no clearing up by hand. Exit status 0
if every artifact is byte for byte what the undisturbed run wrote, no temporary or half-written file is left and the
ledger has every slide.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tiny_cohort

#: What no two runs can have alike: times, logs, and pages that show times.
UNLIKE = re.compile(
    r"(^|/)(logs|benchmarks|report)/|(^|/)(\.lock|\.plan\.json|provenance\.json)$|/\.report\.html\.sha256$|\.provenance\.json\.sha256$"
    # cost.json holds seconds; tables, their pages and the search show them
    r"|(^|/)\.?cost\.json(\.sha256)?$|(^|/)tables/"
)
CHANGES = {"tasks": ["survival"], "split": {"folds": 2}, "slides": {"slides_per_job": 6}}


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
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def start(folder: Path, log: Path, *targets: str) -> subprocess.Popen[bytes]:
    """Start the run in the background."""
    with log.open("ab") as handle:
        return subprocess.Popen(
            tiny_cohort.command(folder, folder / "config.yaml", *targets), stdout=handle, stderr=subprocess.STDOUT,
            cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def rule_of(command: str) -> str:
    """Return which rule's process a command line is, as far as it tells."""
    if "slides.worker" in command:
        return "slide worker"
    found = re.search(r"scripts?/tmp\w*\.(\w+)\.py|workflow_scripts/(\w+)\.py", command)
    return (found[1] or found[2]) if found else "other"


def run_with_kills(
    folder: Path, kills: int, seed: int, longest: float, *targets: str
) -> tuple[Counter[str], int, int]:
    """Run in `folder` under `kills` SIGKILLs; return what was hit, how often it was started, processes left."""
    rng = random.Random(seed)
    log = folder / "output.txt"
    hit: Counter[str] = Counter()
    starts = done = after_last = 0
    left: set[int] = set()
    while True:
        run = start(folder, log, *targets)
        starts += 1
        after_last += done >= kills
        while run.poll() is None and done < kills:
            time.sleep(rng.uniform(0.2, longest))
            if run.poll() is not None:
                break
            if rng.random() < 0.5:
                left |= children(run.pid).keys()
                run.kill()
                run.wait()
                hit["snakemake"] += 1
                done += 1
            else:
                candidates = {p: c for p, c in children(run.pid).items() if rule_of(c) != "other"}
                if candidates:
                    pid = rng.choice(sorted(candidates))
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    hit[rule_of(candidates[pid])] += 1
                    done += 1
        code = run.wait()
        if done >= kills and code == 0:
            return hit, starts, sum(map(alive, left))
        if code == 0:  # finished before all kills were spent: once more from nothing
            shutil.rmtree(folder / "results")
            shutil.rmtree(folder / ".snakemake")
        elif after_last > 3:
            raise SystemExit(f"the run does not finish after the last kill, see {log}")


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie that nobody has fetched does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):
        return False


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
    arguments = parser.parse_args()
    cohort = tiny_cohort.make_cohort(arguments.folder / "cohort", slide_px=512)
    runs = {name: arguments.folder / name for name in ("undisturbed", "killed")}
    for folder in runs.values():
        folder.mkdir(parents=True, exist_ok=True)
        tiny_cohort.write_config(folder, cohort, **CHANGES)
    if start(runs["undisturbed"], runs["undisturbed"] / "output.txt").wait() != 0:
        raise SystemExit("the undisturbed run failed")
    began = time.monotonic()
    hit, starts, left = run_with_kills(runs["killed"], arguments.kills, arguments.seed, arguments.longest)
    problems = compare(runs["undisturbed"] / "results", runs["killed"] / "results")
    summary = {
        "kills": sum(hit.values()), "hit": dict(hit.most_common()), "starts": starts, "seed": arguments.seed,
        "seconds": round(time.monotonic() - began), "files_compared": len(digests(runs["killed"] / "results")),
        "processes_left": left, "problems": problems,
    }  # fmt: skip
    print(json.dumps(summary, indent=2))
    raise SystemExit(1 if problems or left else 0)


if __name__ == "__main__":
    main()
