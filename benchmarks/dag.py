"""How long Snakemake needs to plan a cohort, to detect that nothing is to do, and to start trivial jobs.

    python benchmarks/dag.py                          2,387 slides
    python benchmarks/dag.py 100 1000 2387 10000 30000 --out docs/results/dag.txt
    python benchmarks/dag.py --check 100              `pathduet check` of 100 slides

Slides are empty files and every script is replaced by one that only creates the declared outputs, so only the
workflow itself is measured: reading sheets, building the graph, checking files, starting jobs. CPU seconds (of
Snakemake and its children) are printed beside wall seconds, since they do not depend on other work of the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from pathduet.core.hardware import peak_memory_mib
from pathduet.expression.gene_sets import gene_lists

REPOSITORY = Path(__file__).resolve().parent.parent
STAND_IN = """from pathlib import Path
for output in map(Path, snakemake.output):
    if output.suffix:
        output.write_text("stand-in")
    else:  # the viewer's folder of pictures
        output.mkdir()
"""
# WHO classes, assigned to patients in turn, so that each fold has all classes.
CLASSES = (
    ("WT", "non-codel", "0", "G4"),
    ("Mutant", "codel", "0", "G2"),
    ("Mutant", "non-codel", "-2", "G4"),
    ("Mutant", "non-codel", "0", "G3"),
)


@dataclass(frozen=True)
class Cost:
    """Cost of one command."""

    wall: float
    cpu: float
    peak_mib: float
    output: str


def cost_of(command: list[str], folder: Path) -> Cost:
    """Run a command and return its cost; raise an error if it fails."""
    began = time.monotonic()
    log = folder / "output.txt"
    with log.open("wb") as handle:
        process = subprocess.Popen(command, cwd=folder, stdout=handle, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    text = log.read_text(errors="replace")
    if os.waitstatus_to_exitcode(status) != 0:
        logs = sorted((folder / ".snakemake/log").glob("*.log"))
        more = logs[-1].read_text(errors="replace")[-6000:] if logs else ""
        raise SystemExit(f"{' '.join(command)} failed:\n{text[-3000:]}\n{more}")
    return Cost(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, text)


def make_cohort(folder: Path, slides: int, per_job: int) -> None:
    """Write sheets of `slides` empty slide files, one per patient, and a configuration."""
    (folder / "slides").mkdir(parents=True)
    rows, people = [], []
    for i in range(slides):
        (folder / f"slides/{i}.svs").touch()
        rows.append(f"S{i:05d}\tP{i:05d}\tcohort\tslides/{i}.svs")
        idh, codel, cdkn2a, grade = CLASSES[i % 4]
        time_and_event = f"{100 + 7 * i % 2000}\t{int(i % 3 != 0)}"
        people.append(f"P{i:05d}\tcohort\t{idh}\t{codel}\t{cdkn2a}\t{grade}\t50\tfemale\t{time_and_event}")
    header = "slide_id\tpatient_id\tcohort\tpath"
    (folder / "slides.tsv").write_text("\n".join([header, *rows]) + "\n")
    header = "patient_id\tcohort\tidh\tcodel_1p19q\tcdkn2a\tgrade\tage_years\tsex\tsurvival_days\tevent"
    (folder / "patients.tsv").write_text("\n".join([header, *people]) + "\n")
    # a run checks its tables before it starts: a small one, of the first patients only
    columns = [f"P{i:05d}" for i in range(min(slides, 100))]
    genes = sorted(
        {gene for of in gene_lists({"tumor": "shipped", "tme": "shipped"}).values() for gene in of}
    )
    counts = (
        "\t".join([gene, *(str(((i + 1) * (j + 3) % 997) ** 2) for j in range(len(columns)))])
        for i, gene in enumerate(genes)
    )
    (folder / "expression.tsv").write_text("\n".join(["\t".join(["gene_symbol", *columns]), *counts]) + "\n")
    config = {
        "preset": "glioma",
        "sheets": {"slides": "slides.tsv", "patients": "patients.tsv"},
        "cohorts": {"internal": ["cohort"], "external": []},
        "expression": {
            "tables": [{"cohort": "cohort", "path": "expression.tsv", "unit": "counts", "samples": None}]
        },
        "split": {"folds": 5},
        "encoder": {"name": "random"},  # weights that exist
        "slides": {"lost_slides_exit_status": 0, "slides_per_job": per_job},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))


def make_stand_in_workflow(folder: Path) -> Path:
    """Copy the workflow with scripts that only create their outputs; return its Snakefile."""
    copy = folder / "workflow"
    copy.mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "Snakefile", copy / "Snakefile")
    for name in ("rules", "envs", "docs", "profiles"):
        shutil.copytree(REPOSITORY / name, copy / name)
    (copy / "workflow_scripts").mkdir()
    for script in (REPOSITORY / "workflow_scripts").glob("*.py"):
        (copy / "workflow_scripts" / script.name).write_text(STAND_IN)
    # the final messages read results that these scripts do not write
    common = (copy / "rules/common.smk").read_text()
    (copy / "rules/common.smk").write_text(common + "\n\ndef finish(*_):\n    pass\n")
    return copy / "Snakefile"


def write_slides(folder: Path, slides: int) -> None:
    """Replace the cohort's empty files by small slides that can be opened."""
    import numpy as np
    import tifffile

    first = folder / "slides/0.svs"
    pixels = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), dtype=np.uint8)
    description = "Aperio Image Library v12.0.0\n1024x1024|AppMag = 20|MPP = 0.5000"
    tifffile.imwrite(
        first, pixels, tile=(256, 256), photometric="rgb", description=description, metadata=None
    )
    for i in range(1, slides):
        shutil.copy(first, folder / f"slides/{i}.svs")


def measure_check(slides: int, per_job: int) -> list[str]:
    """Return the line of `pathduet check`."""
    with tempfile.TemporaryDirectory(prefix="pathduet-dag-") as name:
        folder = Path(name)
        make_cohort(folder, slides, per_job)
        write_slides(folder, slides)
        found = cost_of([sys.executable, "-m", "pathduet", "check", "--config", "mine.yaml"], folder)
        if f"{slides} of {slides} can be opened" not in found.output:
            raise SystemExit(f"slides were not opened:\n{found.output}")
        return [line_of(slides, "check", found)]


def line_of(slides: int, label: str, cost: Cost) -> str:
    """Return a row of the table."""
    return f"{slides:>7,}  {label:<20} {cost.wall:>8.1f} {cost.cpu:>8.1f} {cost.peak_mib:>8.0f}"


def measure(slides: int, per_job: int, run: bool, cores: int) -> list[str]:
    """Return one line per measurement."""
    with tempfile.TemporaryDirectory(prefix="pathduet-dag-") as name:
        folder = Path(name)
        make_cohort(folder, slides, per_job)
        snakefile = make_stand_in_workflow(folder)
        base = [
            sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--configfile", "mine.yaml",
            "--cores", str(cores),
        ]  # fmt: skip
        found = [("plan", cost_of([*base, "-n", "--quiet"], folder))]
        fold = "results/models/survival/teacher/fold-2/predictions.tsv"
        if run:
            found.append(("run, trivial jobs", cost_of([*base, "--quiet", "all"], folder)))
            found.append(("nothing to do", cost_of(base, folder)))
            if "Nothing to be done" not in found[-1][1].output:
                raise SystemExit(f"a second run found something to do:\n{found[-1][1].output[-2000:]}")
            found.append(
                ("plan one fold again", cost_of([*base, "-n", "--quiet", "-R", "train", "--", fold], folder))
            )
        return [line_of(slides, label, cost) for label, cost in found]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slides", type=int, nargs="*", default=[2387])
    parser.add_argument("--no-run", action="store_true", help="plan only")
    parser.add_argument("--check", action="store_true", help="`pathduet check` only, of slides that it opens")
    parser.add_argument("--per-job", type=int, default=64, help="slides.slides_per_job")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines = [f"{'slides':>7}  {'what':<20} {'wall s':>8} {'CPU s':>8} {'MiB':>8}"]
    print(lines[0], flush=True)
    for slides in arguments.slides:
        if arguments.check:
            more = measure_check(slides, arguments.per_job)
        else:
            more = measure(slides, arguments.per_job, not arguments.no_run, arguments.cores)
        lines += more
        print("\n".join(more), flush=True)
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    peak = f"this script itself {peak_memory_mib():.0f} MiB"
    lines.append(f"{arguments.per_job} slides a job, 5 folds, 3 tasks, {arguments.cores} cores")
    lines.append(f"({time.strftime('%Y-%m-%d')}; {load}; {peak})")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
