"""Thirteen TCGA cohorts and the gliomas from expression and clinical data alone, each a run of the main workflow.

    PATHDUET_TEST_DATA=/path/to/tables python examples/pan_cancer/run.py --cores 2              (`make pan-cancer`)
    PATHDUET_TEST_DATA=/path/to/tables python examples/pan_cancer/run.py --cores 2 kirc brca

Writes results/pan_cancer/table.tsv, table.md and figure.svg. What is there and current is not computed again.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from pan_cancer.cohorts import COHORTS, write_cohort
from pan_cancer.gliomas import write_gliomas
from pan_cancer.summary import write_summary

from pathduet.core.files import write_text
from pathduet.expression.gene_sets import gene_lists

HERE = Path(__file__).resolve().parent
#: Each of the same genes, in so many groups; immune, stroma and vasculature are together the TME's.
SUBSPACES = {
    "four": dict.fromkeys(("tumor", "immune", "stroma", "vasculature"), "shipped"),
    "two": {"tumor": "shipped", "tme": "shipped"},
    "one": {"genes": "../genes.txt"},
}
GLIOMAS = "gbmlgg"


def prepared(data: Path, name: str, folder: Path) -> dict[str, list[str]]:
    """Prepare a cohort in its folder; a file that would be the same again stays, so that nothing is computed anew for its date."""
    with TemporaryDirectory(dir=folder.parent) as new:
        wanted = prepare(data, name, Path(new))
        folder.mkdir(exist_ok=True)
        for file in Path(new).iterdir():
            old = folder / file.name
            if not (old.is_file() and filecmp.cmp(old, file, shallow=False)):
                file.replace(old)
    return wanted


def prepare(data: Path, name: str, folder: Path) -> dict[str, list[str]]:
    """Write a cohort's sheets and configurations; return the tables to make by the number of subspaces."""
    if name == GLIOMAS:
        write_gliomas(data, folder)
        tasks, overall, external = ["diagnosis", "grading", "survival"], "survival", ["external_survival"]
    else:
        write_cohort(data, COHORTS[name], folder)
        tasks = list(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["tasks"])
        overall, external = "os", []
    wanted = {}
    for variant, subspaces in SUBSPACES.items():
        overlay: dict[str, Any] = {"results": variant, "subspaces": subspaces}
        tables = [*tasks, *external]
        if variant != "four":
            # the number of subspaces is compared on overall survival, where there is expression
            if name != GLIOMAS and not COHORTS[name].expression:
                continue
            overlay |= {
                "comparison": {"models": ["snn"]},
                "tasks": {task: None for task in tasks if task != overall},
            }
            tables = [overall]
        write_text(folder / f"{variant}.yaml", yaml.safe_dump(overlay, sort_keys=False))
        wanted[variant] = tables
    return wanted


def run(folder: Path, wanted: dict[str, list[str]]) -> list[str]:
    """Run the main workflow in a cohort's folder for every number of subspaces; return what failed."""
    failed = []
    for variant, tables in wanted.items():
        command = [
            sys.executable, "-m", "snakemake", "--snakefile", str(HERE.parents[1] / "Snakefile"), "--cores", "1",
            "--directory", str(folder), "--configfile", str(HERE / "config.yaml"), "config.yaml", f"{variant}.yaml",
            "--", *(f"{variant}/tables/{table}.tsv" for table in tables),
        ]  # fmt: skip
        with (folder / f"{variant}.log").open("w") as log:
            done = subprocess.run(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=False)
        print(
            f"{folder.name}, {variant}: {'done' if done.returncode == 0 else f'failed, see {log.name}'}",
            flush=True,
        )
        failed += [log.name] if done.returncode else []
    return failed


def main() -> int:
    """Run the cohorts side by side, then write the table of all that is there."""
    known = [*COHORTS, GLIOMAS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cohorts", nargs="*", default=known, metavar="cohort", help=f"of {', '.join(known)}; all by default"
    )
    parser.add_argument("--cores", type=int, default=2, help="cohorts side by side, one core each")
    parser.add_argument("--out", type=Path, default=Path("results/pan_cancer"))
    arguments = parser.parse_args()
    if unknown := set(arguments.cohorts) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    if not os.environ.get("PATHDUET_TEST_DATA"):
        parser.error("set PATHDUET_TEST_DATA to the folder of public tables (README.md)")
    data, out = Path(os.environ["PATHDUET_TEST_DATA"]), arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    genes = {gene for genes in gene_lists(SUBSPACES["four"]).values() for gene in genes}
    # small enough for Snakemake to go by its content
    write_text(out / "genes.txt", "\n".join(sorted(genes)) + "\n")
    wanted = {name: prepared(data, name, out / name) for name in arguments.cohorts}
    with ThreadPoolExecutor(arguments.cores) as pool:
        failed = [
            log for logs in pool.map(lambda name: run(out / name, wanted[name]), wanted) for log in logs
        ]
    write_summary(
        out, [name for name in known if (out / name / "four" / "tables").is_dir()], HERE / "published.tsv"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
