"""--use-conda for real: an environment file becomes an environment, and a rule runs in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tiny_cohort
from conda import local_channel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STAND_IN = Path(__file__).parent / "stand_in/bin"


def test_an_environment_is_made_and_a_rule_runs_in_it(tmp_path: Path) -> None:
    from pathduet.cohort.protocol import folds_of
    from pathduet.cohort.splits import write_folds
    from pathduet.plan import Plan
    from pathduet.sheets import read_patients

    cohort = tiny_cohort.make_cohort(tmp_path / "cohort", external=0, slide_px=512)
    config = tiny_cohort.write_config(
        tmp_path, cohort, tasks=["survival"], split={"folds": 2}, cohorts={"external": []},
        expression={"tables": [{"cohort": "phantom", "path": str(cohort / "expression_phantom.tsv.gz"),
                                "unit": "counts", "samples": None}]},
    )  # fmt: skip
    from pathduet import config as configuration

    value = configuration.merge(
        configuration.read(tiny_cohort.REPOSITORY / "config.yaml"), configuration.read(config)
    )
    plan = Plan.from_config(value)
    # the folds come from another environment (one with torch); here only the genes' one is made
    write_folds(
        tmp_path / "results/split/folds.tsv",
        folds_of(read_patients(cohort / "patients.tsv"), plan.split_settings()),
    )
    local_channel.build(tmp_path / "channels/conda-forge")
    environment = {
        **os.environ,
        "PATH": f"{STAND_IN}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CONDA_CHANNEL_ALIAS": (tmp_path / "channels").as_uri(),
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(
        tiny_cohort.command(tmp_path, config, "--use-conda", "--allowed-rules", "genes", "--", "results/genes/fold-0.h5ad"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-4000:]
    assert "Creating conda environment" in result.stdout and "Activating conda environment" in result.stdout
    assert (tmp_path / "results/genes/fold-0.h5ad").is_file()
    made = [path for path in (tmp_path / ".snakemake/conda").iterdir() if (path / "bin/python").exists()]
    assert len(made) == 1
    # the package came from this checkout, its dependencies from the environment alone
    script = (
        "import pathduet, scanpy, sys; print(pathduet.__file__); print(scanpy.__file__); print(sys.prefix)"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    found = subprocess.run(
        [made[0] / "bin/python", "-c", script], capture_output=True, text=True, check=True, env=clean
    ).stdout.split()
    assert (
        found[0].startswith(str(tiny_cohort.REPOSITORY))
        and found[1].startswith(str(made[0]))
        and found[2] == str(made[0])
    )
    for absent in ("torch", "snakemake"):
        assert (
            subprocess.run(
                [made[0] / "bin/python", "-c", f"import {absent}"], capture_output=True, env=clean
            ).returncode
            != 0
        )
