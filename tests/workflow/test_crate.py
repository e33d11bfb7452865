"""The archive of a run is a valid Workflow Run RO-Crate and speaks of exactly what it holds."""

from __future__ import annotations

import hashlib
import html
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pathduet.core.provenance import run_record, shown_files, without_folders
from pathduet.results import Results
from pathduet.workflow.crate import write_crate

ENDED = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A few files of a run whose configuration has absolute paths."""
    folder = tmp_path / "results"
    sheet = tmp_path / "patients.tsv"
    sheet.write_text("patient_id\n")
    for name in ("report/report.html", "tables/survival.tsv", "metrics/survival.json", "ledger.tsv",
                 "slides/S1/features.h5", "models/survival/teacher/fold-0/weights.safetensors"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = f"{name} from {sheet}, </td>, https://a.b/home/c, base64,/9j/4AAQ/Z"
        (folder / name).write_text(json.dumps({"text": text}) if name.endswith(".json") else text)
    (folder / "ledger.tsv").write_text(f"S1\tcannot read {tmp_path / 'raw' / 'slides' / 'S1.svs'}\n")
    config = {"seed": 1, "results": "results", "sheets": {"patients": str(sheet)}}
    (folder / "provenance.json").write_text(json.dumps(run_record(config, [str(sheet)])))
    return folder


def crate(results: Path, repository: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    write_crate(Results(results), repository, ENDED)
    with zipfile.ZipFile(results / "run.crate.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return files, json.loads(files["ro-crate-metadata.json"])


def local_contexts() -> dict[str, dict[str, Any]]:
    """The two JSON-LD contexts, which the validator would fetch: RO-Crate's newest, with the words that 1.1 spells otherwise."""
    import rocrate

    newest = json.loads((Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_text())
    words = {word: f"https://bioschemas.org/{word}" for word in ("ComputationalWorkflow", "FormalParameter")}
    words |= {word: f"https://bioschemas.org/ComputationalWorkflow#{word}" for word in ("input", "output")}
    return {
        "https://w3id.org/ro/crate/1.1/context": {"@context": {**newest["@context"], **words}},
        "https://w3id.org/ro/terms/workflow-run/context": {
            "@context": {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
        },
    }


@pytest.mark.slow
def test_the_validator_accepts_it(
    results: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = pytest.importorskip("rocrate_validator.services")
    import requests
    from rocrate_validator.models import Severity, ValidationSettings

    contexts = local_contexts()

    def answer(_: object, request: requests.PreparedRequest, **options: object) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        response.url = str(request.url)
        response.headers["Content-Type"] = "application/ld+json"
        response._content = json.dumps(contexts[response.url]).encode()
        return response

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", answer)
    crate(results, repository)
    settings = ValidationSettings(
        rocrate_uri=results / "run.crate.zip",
        profile_identifier="workflow-run-crate",
        requirement_severity=Severity.REQUIRED,
        no_cache=True,
    )
    assert [issue.message for issue in services.validate(settings).get_issues()] == []


def test_files_and_their_descriptions_agree_and_large_ones_stay_out(results: Path, repository: Path) -> None:
    files, metadata = crate(results, repository)
    graph = {entity["@id"]: entity for entity in metadata["@graph"]}
    described = {i for i, entity in graph.items() if "File" in entity["@type"]}
    assert described == set(files) - {"ro-crate-metadata.json"} == {p["@id"] for p in graph["./"]["hasPart"]}
    assert {"ledger.tsv", "metrics/survival.json", "workflow/Snakefile", "configuration.json"} <= described
    assert not any(name.endswith((".h5", ".safetensors")) for name in described)
    for name in described - {"workflow/Snakefile"}:
        assert graph[name]["sha256"] == hashlib.sha256(files[name]).hexdigest()
        assert graph[name]["contentSize"] == str(len(files[name]))
    inputs = [e for e in graph.values() if e["@id"].startswith("#input-")]
    assert [e["name"] for e in inputs] == ["patients.tsv"] and len(inputs[0]["sha256"]) == 64
    assert graph["#run"]["endTime"] == "2026-11-23T12:30:00+00:00"


def test_it_has_no_absolute_paths(results: Path, repository: Path, tmp_path: Path) -> None:
    files, _ = crate(results, repository)
    assert [name for name, content in files.items() if str(tmp_path).encode() in content] == []
    assert files["ledger.tsv"] == b"S1\tcannot read S1.svs\n"
    kept = files["report/report.html"].decode()
    assert kept.endswith("patients.tsv, </td>, https://a.b/home/c, base64,/9j/4AAQ/Z")


@pytest.mark.parametrize(
    "folder",
    [
        "/home/alice",
        "/home/alice smith/a&b",
        "/Users/andr\u00e9/cohort",
        "/gpfs/groups/neuro/alice",
        "/scratch/alice",
    ],
)
def test_nobodys_name_is_in_it(results: Path, repository: Path, tmp_path: Path, folder: str) -> None:
    sheet = f"{folder}/patients.tsv"
    config = {
        "seed": 1,
        "results": "results",
        "sheets": {"patients": sheet},
        "expression": {"tables": [{"cohort": "a", "path": f"{folder}/e.tsv", "unit": "counts"}]},
    }
    record = run_record(config, []) | {"inputs": {sheet: "0" * 64}}
    (results / "provenance.json").write_text(json.dumps(record))
    (results / "metrics/survival.json").write_text(json.dumps({"from": sheet, "raw": f"{folder}/raw/S1.svs"}))
    (results / "report/report.html").write_text(f"<p title='{html.escape(sheet)}'>/home/alice</p>")
    files, _ = crate(results, repository)
    told = b"".join(content for name, content in files.items() if not name.startswith("workflow/"))
    assert b"alice" not in told and b"andr" not in told and b"neuro" not in told
    assert json.loads(files["configuration.json"])["sheets"]["patients"] == "patients.tsv"


def test_records_shorten_paths_and_lose_no_file(tmp_path: Path) -> None:
    shown = shown_files(
        {"/home/a/e.tsv": "1", "/home/b/e.tsv": "2", "../b/e.tsv": "3", "demo/e.tsv": "4"}, tmp_path
    )
    assert shown == {"e.tsv": "1", "e.tsv (2)": "2", "e.tsv (3)": "3", "demo/e.tsv": "4"}
    settings = {
        "a": ["/home/a/x.svs", ["/", "/x", "a/b"]],
        "b": {"c": str(tmp_path / "split/folds.tsv"), "d": 1.5},
    }
    assert without_folders(settings, tmp_path) == {
        "a": ["x.svs", ["/", "/x", "a/b"]], "b": {"c": f"{tmp_path.name}/split/folds.tsv", "d": 1.5}
    }  # fmt: skip


def test_the_same_results_give_the_same_bytes(results: Path, repository: Path) -> None:
    crate(results, repository)
    first = (results / "run.crate.zip").read_bytes()
    crate(results, repository)
    assert (results / "run.crate.zip").read_bytes() == first
