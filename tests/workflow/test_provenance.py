"""What a result says about where it comes from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata
import h5py
import numpy as np
import pytest

from pathduet.core import checksums, provenance
from pathduet.core.files import sha256_file, write_json
from pathduet.workflow.job import job


class Named(dict[str, Any]):
    """Parameters or wildcards, as Snakemake gives them."""

    get = dict.get


RECORD = {"seed": 7, "git_commit": "abc"}


def test_json_results_carry_it_beside_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"c_index": 0.7})
    provenance.embed(path, RECORD)
    assert json.loads(path.read_text()) == {"c_index": 0.7, "provenance": RECORD}


def test_hdf5_and_anndata_carry_it_and_read_as_before(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file["x"] = np.arange(3)
    anndata.AnnData(np.eye(2, dtype=np.float32)).write_h5ad(tmp_path / "g.h5ad")
    for name in ("r.h5", "g.h5ad"):
        provenance.embed(tmp_path / name, RECORD)
        with h5py.File(tmp_path / name) as file:
            assert json.loads(file.attrs["provenance"]) == RECORD
    np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "g.h5ad").X, np.eye(2))


def test_what_already_says_it_keeps_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "features.h5"
    with h5py.File(path, "w") as file:
        file.attrs["provenance"] = json.dumps({"seed": 1})
    before = path.read_bytes()
    provenance.embed(path, RECORD)
    assert path.read_bytes() == before


def test_what_has_no_room_for_it_stays_as_it_is(tmp_path: Path) -> None:
    for name in ("folds.tsv", "manifest.json", "weights.safetensors"):
        (tmp_path / name).write_text("{}")
        provenance.embed(tmp_path / name, RECORD)
        assert (tmp_path / name).read_text() == "{}"


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
    sheet, made = tmp_path / "patients.tsv", tmp_path / "results/models/m/metrics.json"
    sheet.write_text("patient_id\n")
    facts = SimpleNamespace(
        rule="evaluate", wildcards=Named(model="m"), params=Named(settings={"seed": 5, "bootstrap": 20}, folds=range(2), repair={"sheet": str(sheet)}, code="c0de"),
        config={"seed": 1}, threads=1, input=[str(sheet)], output=[str(made)], log=["results/logs/evaluate/m.log"],
    )  # fmt: skip
    with job(facts, "evaluate"):
        write_json(made, {"c_index": 0.7})
    record = json.loads((tmp_path / "results/provenance/evaluate/m.json").read_text())
    # no more of a path than tells which file it is
    assert record["inputs"] == {f"{tmp_path.name}/patients.tsv": sha256_file(sheet)}
    assert record["outputs"] == {"results/models/m/metrics.json": sha256_file(made)}
    assert str(tmp_path) not in json.dumps(record)
    assert (record["rule"], record["wildcards"], record["seed"], record["code"]) == (
        "evaluate", {"model": "m"}, 5, "c0de",
    )  # fmt: skip
    assert record["settings"] == {"settings": {"seed": 5, "bootstrap": 20}, "folds": [0, 1]}
    assert record["versions"]["numpy"] == np.__version__ and record["git_commit"]
    inside = json.loads(made.read_text())["provenance"]
    assert inside == {key: value for key, value in record.items() if key != "outputs"}
    # the checksum is of the file as it is now
    checksums.verify([made])
