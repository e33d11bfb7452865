"""What a result says about where it comes from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pathduet.core import checksums, provenance
from pathduet.core.files import sha256_file, write_json
from pathduet.results import Results
from pathduet.workflow.job import job


class Named(dict[str, Any]):
    """Parameters or wildcards, as Snakemake gives them."""

    get = dict.get


RECORD = {"seed": 7, "git_commit": "abc"}


def test_a_models_description_carries_it_beside_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    write_json(path, {"fold": 1})
    provenance.embed(path, RECORD)
    assert json.loads(path.read_text()) == {"fold": 1, "provenance": RECORD}


def test_a_package_inside_somebody_elses_checkout_knows_no_commit(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    package = tmp_path / "site-packages/pathduet"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    commit = ["commit", "-q", "--allow-empty", "-m", "theirs"]
    subprocess.run(["git", "-C", tmp_path, *who, *commit], check=True)
    assert provenance.git_commit(package) == "unknown"
    subprocess.run(["git", "-C", tmp_path, "add", "."], check=True)
    subprocess.run(["git", "-C", tmp_path, *who, "commit", "-q", "-m", "now ours"], check=True)
    assert len(provenance.git_commit(package)) == 40
    (package / "__init__.py").write_text("changed")
    assert provenance.git_commit(package).endswith("-dirty")


def test_a_job_leaves_a_record_of_all_it_read_and_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # a job sends its process's output to its log: here that would be the test's
    monkeypatch.setattr("pathduet.workflow.job.os.dup2", lambda *_: None)
    sheet, made = tmp_path / "patients.tsv", tmp_path / "results/models/m/model.json"
    sheet.write_text("patient_id\n")
    given = SimpleNamespace(
        rule="train", wildcards=Named(model="m"), params=Named(settings={"seed": 5, "epochs": 20}, n_folds=2, code="c0de"),
        config={"seed": 1, "results": "results"}, threads=1, input=[str(sheet)], output=[str(made)],
        log=["results/logs/train/m.log"],
    )  # fmt: skip
    with job(given) as results:
        write_json(made, {"fold": 0})
    assert results == Results(Path("results"))
    record = json.loads((tmp_path / "results/provenance/train/m.json").read_text())
    # no more of a path than tells which file it is
    assert record["inputs"] == {"patients.tsv": sha256_file(sheet)}
    assert record["outputs"] == {"results/models/m/model.json": sha256_file(made)}
    assert str(tmp_path) not in json.dumps(record)
    assert (record["rule"], record["wildcards"], record["seed"], record["code"]) == (
        "train", {"model": "m"}, 5, "c0de",
    )  # fmt: skip
    assert record["settings"] == {"settings": {"seed": 5, "epochs": 20}, "n_folds": 2}
    assert record["versions"]["numpy"] == np.__version__ and record["git_commit"]
    inside = json.loads(made.read_text())["provenance"]
    assert inside == {key: value for key, value in record.items() if key not in ("outputs", "checksum")}
    # the checksum is of the file as it is now
    checksums.verify([made])
