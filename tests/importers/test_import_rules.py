"""Imports as rules: described in a configuration, run by Snakemake, nothing to do the second time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.slow


def snakemake(folder: Path, repository: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "snakemake", "-s", str(repository / "examples/import/Snakefile"), "--cores", "1",
        "--directory", str(folder), "--configfile", str(folder / "imports.yaml"), "--show-failed-logs",
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, days in (("one", [100, 0]), ("two", [50, 70])):
        table = pd.DataFrame({"patient_id": [f"{name}1", f"{name}2"], "survival_days": days, "event": [1, 1]})
        table.to_csv(tmp_path / f"{name}.tsv", sep="\t", index=False)
    entries = {name: {"importer": "table", "source": f"{name}.tsv"} for name in ("one", "two")}
    (tmp_path / "imports.yaml").write_text(yaml.safe_dump({"out": "sheets", "imports": entries}))
    return tmp_path


def test_cohorts_are_imported_into_one_folder_and_only_once(folder: Path, repository: Path) -> None:
    first = snakemake(folder, repository)
    assert first.returncode == 0, first.stdout + first.stderr
    patients = pd.read_csv(folder / "sheets/patients.tsv", sep="\t")
    assert set(patients["cohort"]) == {"one", "two"}
    assert "one2" in (folder / "sheets/import_one_dropped.tsv").read_text()
    again = snakemake(folder, repository)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_an_unknown_option_is_said_with_its_cohort(folder: Path, repository: Path) -> None:
    entries = {"one": {"importer": "table", "source": "one.tsv", "options": {"quantiti": "tpm"}}}
    (folder / "imports.yaml").write_text(yaml.safe_dump({"out": "sheets", "imports": entries}))
    result = snakemake(folder, repository)
    assert result.returncode == 1
    assert "imports.one" in result.stdout + result.stderr
    assert "quantiti" in result.stdout + result.stderr
