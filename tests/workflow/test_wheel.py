"""The wheel holds the whole workflow: in a fresh environment and an empty folder, without a checkout, the commands work."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow
WORKFLOW = ("Snakefile", "config.yaml", "rules", "workflow_scripts", "profiles", "presets", "schemas", "envs")


def run(*command: object, folder: Path) -> str:
    """Run a command that has to succeed, without this checkout on its path; return what it printed."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, command)), cwd=folder, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The wheel, built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=repository)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def pathduet(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a fresh environment: the wheel, and the packages of this environment (editable installs stay out)."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    packages = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "dependencies.pth").write_text(f"{Path(pd.__file__).parents[1]}\n")
    python = home / "bin/python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        wheel,
        folder=home,
    )
    assert run(python, "-c", "import pathduet; print(pathduet.__file__)", folder=home).startswith(
        str(packages)
    )
    return home / "bin/pathduet"


def test_every_tracked_file_of_package_and_workflow_is_in_it(wheel: Path, repository: Path) -> None:
    tracked = run("git", "ls-files", "src", *WORKFLOW, "examples/demo.yaml", folder=repository).split()
    wanted = {
        name.removeprefix("src/") if name.startswith("src/") else f"pathduet/_workflow/{name}"
        for name in tracked
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert wanted - held == set()
    assert {name for name in held - wanted if "/examples/" not in name} == set()


def test_a_table_of_labels_becomes_a_checked_run_in_any_folder(
    pathduet: Path, tmp_path: Path, repository: Path
) -> None:
    rng = np.random.default_rng(1)
    patients = [f"P{i:02d}" for i in range(24)]
    labels = {"patient": patients, "response": ["yes", "no"] * 12}
    pd.DataFrame(labels).to_csv(tmp_path / "labels.csv", index=False)
    lists = [repository / f"presets/genesets/{name}.txt" for name in ("tumor", "tme")]
    genes = [gene for file in lists for gene in file.read_text().split("\n")[20:50]]
    counts = pd.DataFrame(rng.integers(0, 900, (60, 24)), index=genes, columns=patients)
    counts.rename_axis("gene_symbol").to_csv(tmp_path / "genes.tsv", sep="\t")
    options = ("--expression", "genes.tsv", "--unit", "counts", "--out", "mine")
    said = run(pathduet, "init", "--labels", "labels.csv", *options, folder=tmp_path)
    assert "pathduet run -c mine/config.yaml" in said
    configs = ("-c", "mine/config.yaml")
    assert "Ready to run" in run(pathduet, "check", *configs, folder=tmp_path)
    planned = run(pathduet, "run", "-n", *configs, folder=tmp_path)
    assert "train" in planned and "report" in planned
    # a rule's script, Snakemake's own options after `--`
    run(pathduet, "run", *configs, "--cores", 1, "split", "--", "--keep-going", folder=tmp_path)
    folds = pd.read_csv(tmp_path / "mine/results/split/folds.tsv", sep="\t")
    assert set(folds["patient_id"]) == set(patients)
