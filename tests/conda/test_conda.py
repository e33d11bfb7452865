"""--use-conda for real: an environment file becomes an environment, and a rule runs in it; from bounds, and as locked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tiny_cohort
from conda import local_channel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
STAND_IN = Path(__file__).parent / "stand_in/bin"
TARGET = "results/genes/fold-0.h5ad"


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of channels."""
    folder = tmp_path_factory.mktemp("channels")
    local_channel.build(folder / "conda-forge")
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A run whose genes are next: folds come from another environment (one with torch), here only the genes' one is made."""
    from pathduet.cohort.folds import write_folds
    from pathduet.cohort.make_folds import folds_of
    from pathduet.cohort.sheets import read_patients
    from pathduet.core import config as configuration
    from pathduet.workflow.plan import Plan

    cohort = tiny_cohort.make_cohort(tmp_path / "cohort", external=0, slide_px=512)
    config = tiny_cohort.write_config(
        tmp_path, cohort, tasks=tiny_cohort.ONLY_SURVIVAL, split={"folds": 2}, cohorts={"external": []},
        expression={"tables": [{"cohort": "phantom", "path": str(cohort / "expression_phantom.tsv.gz"),
                                "unit": "counts", "samples": None}]},
    )  # fmt: skip
    settings = Plan.from_config(configuration.read(config)).split_settings()
    write_folds(
        tmp_path / "results/split/folds.tsv", folds_of(read_patients(cohort / "patients.tsv"), settings)
    )
    return config


def genes_with_conda(config: Path, channels: Path, repository: Path, **variables: str) -> tuple[str, Path]:
    """Run the genes of a fold with --use-conda; return what was printed and the environment that was made."""
    folder = config.parent
    command = tiny_cohort.command(folder, config, "--use-conda", "--allowed-rules", "genes", "--", TARGET)
    command[command.index("--snakefile") + 1] = str(repository / "Snakefile")
    environment = {
        **os.environ,
        **variables,
        "PATH": f"{STAND_IN}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CONDA_CHANNEL_ALIAS": channels.as_uri(),
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=environment
    )
    assert result.returncode == 0, result.stdout[-4000:]
    assert "Creating conda environment" in result.stdout
    [log] = (folder / ".snakemake/log").glob("*.snakemake.log")  # jobs' messages are there
    assert "Activating conda environment" in log.read_text()
    assert (folder / TARGET).is_file()
    (made,) = [path for path in (folder / ".snakemake/conda").iterdir() if (path / "bin/python").exists()]
    return result.stdout, made


def ask(environment: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run Python of an environment, without this one's packages."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [environment / "bin/python", "-c", script], capture_output=True, text=True, env=clean
    )


def test_an_environment_is_made_and_a_rule_runs_in_it(config: Path, channels: Path) -> None:
    _, made = genes_with_conda(config, channels, tiny_cohort.REPOSITORY)
    # the package came from this checkout, its dependencies from the environment alone
    found = ask(
        made,
        "import pathduet, anndata, os, sys; print(os.path.realpath(pathduet.__file__), anndata.__file__, sys.prefix, sep='\\n')",
    ).stdout.split()
    assert found[0].startswith(str(tiny_cohort.REPOSITORY)) and found[1].startswith(str(made))
    assert found[2] == str(made)
    for absent in ("torch", "snakemake"):
        assert ask(made, f"import {absent}").returncode != 0


def test_a_locked_environment_holds_what_the_locks_say_and_nothing_else(
    config: Path, channels: Path, tmp_path: Path
) -> None:
    # a checkout whose conda part is pinned, too: its pin file leaves pip's part to the lock
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".*", "results", "demo", "tests", "*.egg-info", "__pycache__")
    shutil.copytree(tiny_cohort.REPOSITORY, copy, ignore=ignored)
    packages = sorted((channels / "conda-forge/noarch").glob("*.tar.bz2"))
    pins = "\n".join(["@EXPLICIT", *(package.as_uri() for package in packages)])
    (copy / "envs/expression.linux-64.pin.txt").write_text(pins + "\n")
    said, made = genes_with_conda(config, channels, copy)
    assert "Using pinnings from" in said
    listing = (
        "from importlib.metadata import distributions as d; print(*(f'{p.name}=={p.version}' for p in d()))"
    )
    found = {line.lower().replace("_", "-") for line in ask(made, listing).stdout.split()}
    locked = set(re.findall(r"^(\S+==\S+)", (copy / "envs/locks/expression.linux-64.txt").read_text(), re.M))
    ours = {line for line in found if line.split("==")[0] in ("pip", "setuptools")}
    assert found - ours == {line for line in locked if not line.startswith("setuptools==")}
