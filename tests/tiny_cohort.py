"""A cohort small enough to run the whole workflow in a test, and how to run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent

#: Leaves one of the preset's tasks, where a test needs no more.
ONLY_SURVIVAL: dict[str, None] = {"diagnosis": None, "grading": None}
#: A process for all networks of a task and fold, where a test asks for no model alone: half of a small training is starting.
TOGETHER: dict[str, Any] = {"models_per_job": "all"}
#: Small settings: every step is the real one.
SMALL: dict[str, Any] = {
    "preset": "glioma",
    "cohorts": {"internal": ["phantom"], "external": ["phantom_external"]},
    "slides": {"slides_per_job": 8},
    "encoder": {"name": "efficientnet_lite0", "batch_size": 32},
    "model": {
        "tokens": 16, "width": 16, "heads": 2, "head_dim": 8, "offset_groups": 2, "offset_kernel": 3, "stride": 1,
        "offset_range_points": 2.0,
    },
    "comparison": {"models": ["abmil"]},
    "training": {name: {"epochs": 1} for name in ("teacher", "student")} | {"distilled": {"epochs": 1, "min_steps": 0}},
    "evaluation": {"bootstrap": 20},
}  # fmt: skip


def make_cohort(folder: Path, patients: int = 12, external: int = 4, slide_px: int = 1024) -> Path:
    """Write a phantom cohort (12 patients: each WHO class three times) and return its folder."""
    from pathduet.phantom import simulate

    simulate(folder, patients=patients, external=external, seed=3, workers=1, slide_px=slide_px)
    return folder


def write_config(folder: Path, cohort: Path, **changes: Any) -> Path:
    """Write the configuration of a tiny run into `folder`, with `changes` laid over it, and return its path."""
    from pathduet.core.config import merge

    base = {
        "results": "results",  # relative to the working directory
        "sheets": {"slides": str(cohort / "slides.tsv"), "patients": str(cohort / "patients.tsv")},
        "expression": {
            "tables": [
                {"cohort": "phantom", "path": str(cohort / "expression_phantom.tsv.gz"), "unit": "counts"},
                {
                    "cohort": "phantom_external",
                    "path": str(cohort / "expression_external.tsv.gz"),
                    "unit": "counts",
                },
            ]
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(merge(merge(base, SMALL), changes)))
    return path


def command(folder: Path, config: Path, *arguments: str, cores: int = 2) -> list[str]:
    """Return the command line that runs the workflow with `folder` as its working directory."""
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder),
        "--configfile", str(config), "--cores", str(cores), *arguments,
    ]  # fmt: skip


def snakemake(
    folder: Path, config: Path, *arguments: str, timeout: float = 1800
) -> subprocess.CompletedProcess[str]:
    """Run the workflow with `folder` as its working directory; output and errors come back together."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(folder, config, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        env=environment,
        cwd=folder,
    )
