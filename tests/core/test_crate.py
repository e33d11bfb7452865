"""The archive of a run is a valid RO-Crate 1.1 and speaks of exactly what it holds."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pathduet.core.provenance import run_record
from pathduet.workflow.crate import write_crate


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A few files of a run."""
    folder = tmp_path / "results"
    sheet = tmp_path / "patients.tsv"
    sheet.write_text("patient_id\n")
    for name in ("report/report.html", "tables/survival.tsv", "models/survival/teacher/fold-0/metrics.json", "ledger.tsv",
                 "slides/S1/features.h5", "models/survival/teacher/fold-0/weights.safetensors"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    record = run_record({"seed": 1, "results": "results"}, [str(sheet)])
    (folder / "provenance.json").write_text(json.dumps(record))
    return folder


def crate(results: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    write_crate(results, results / "run.crate.zip", "2026-11-23")
    with zipfile.ZipFile(results / "run.crate.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return files, json.loads(files["ro-crate-metadata.json"])


def test_it_keeps_the_rules_of_ro_crate(results: Path) -> None:
    _, metadata = crate(results)
    assert metadata["@context"] == "https://w3id.org/ro/crate/1.1/context"
    graph = {entity["@id"]: entity for entity in metadata["@graph"]}
    assert len(graph) == len(metadata["@graph"]) and all("@type" in entity for entity in graph.values())
    descriptor = graph["ro-crate-metadata.json"]
    assert descriptor["@type"] == "CreativeWork" and descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = graph["./"]
    assert root["@type"] == "Dataset" and {"name", "description", "datePublished", "license"} <= set(root)

    def links(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [value["@id"]] if set(value) == {"@id"} else [i for v in value.values() for i in links(v)]
        return [i for v in value for i in links(v)] if isinstance(value, list) else []

    outside = {link for entity in graph.values() for link in links(entity)} - set(graph)
    assert outside == {"https://w3id.org/ro/crate/1.1"}


def test_files_and_their_descriptions_agree_and_large_ones_stay_out(results: Path) -> None:
    files, metadata = crate(results)
    graph = {entity["@id"]: entity for entity in metadata["@graph"]}
    described = {i for i, entity in graph.items() if entity["@type"] == "File"}
    assert described == set(files) - {"ro-crate-metadata.json"} == {p["@id"] for p in graph["./"]["hasPart"]}
    assert "ledger.tsv" in described and not any(name.endswith((".h5", ".safetensors")) for name in described)
    for name in described:
        assert graph[name]["sha256"] == hashlib.sha256(files[name]).hexdigest()
        assert graph[name]["contentSize"] == str(len(files[name]))
    inputs = [e for e in graph.values() if e["@id"].startswith("#input-")]
    assert [e["name"] for e in inputs] == ["patients.tsv"] and len(inputs[0]["sha256"]) == 64


def test_the_same_results_give_the_same_bytes(results: Path) -> None:
    crate(results)
    first = (results / "run.crate.zip").read_bytes()
    crate(results)
    assert (results / "run.crate.zip").read_bytes() == first
