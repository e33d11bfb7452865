"""A run as one archive that others can read: a Research Object Crate (RO-Crate 1.1) with its results.

https://www.researchobject.org/ro-crate/1.1/ : a JSON-LD file, ``ro-crate-metadata.json``, describes the run's
inputs (by checksum; raw data are never copied), the software, the configuration and every result that is in the archive.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pathduet.core.files import atomic_path, sha256_file

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
#: What goes into the archive; slides, features and representations are too large.
PARTS = (
    "report/report.html", "provenance.json", "ledger.tsv", "participation.tsv", "split/folds.tsv", "tables/*",
    "models/*/*/*/metrics.json", "models/*/*/*/predictions.tsv", "models/*/*/*/model.json", "models/*/*/*/history.tsv",
    "external/*/*/*/metrics.json", "external/*/*/*/predictions.tsv", "provenance/**/*.json",
)  # fmt: skip
_FORMATS = {
    ".html": "text/html", ".json": "application/json", ".tsv": "text/tab-separated-values", ".md": "text/markdown",
}  # fmt: skip


def chosen_files(results: Path) -> list[Path]:
    """Return the results that go into the archive, sorted."""
    return sorted({path for part in PARTS for path in results.glob(part) if path.suffix in _FORMATS})


def describe(results: Path, record: Mapping[str, Any], files: Iterable[Path], date: str) -> dict[str, Any]:
    """Return the crate's JSON-LD.

    Parameters
    ----------
    results : Path
    record : mapping
        As from :func:`pathduet.core.provenance.run_record`.
    files : iterable of Path
        Files of the archive, in `results`.
    date : str
        ISO date of the run.
    """
    parts = [
        {
            "@id": path.relative_to(results).as_posix(),
            "@type": "File",
            "name": path.relative_to(results).as_posix(),
            "encodingFormat": _FORMATS[path.suffix],
            "contentSize": str(path.stat().st_size),
            "sha256": sha256_file(path),
        }
        for path in files
    ]
    inputs = [
        {"@id": f"#input-{i}", "@type": "CreativeWork", "name": Path(name).name, "sha256": digest}
        for i, (name, digest) in enumerate(sorted(record["inputs"].items()))
    ]
    versions = [
        {"@id": f"#software-{name}", "@type": "SoftwareApplication", "name": name, "softwareVersion": version}
        for name, version in sorted(record["versions"].items())
        if version != "not installed"
    ]
    settings = {
        "@id": "#configuration",
        "@type": "PropertyValue",
        "name": "configuration",
        "value": json.dumps(record["config"], sort_keys=True),
    }
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": "PathDuet run",
        "instrument": {"@id": "#software-pathduet"},
        "object": [_link(part) for part in [*inputs, settings]],
        "result": [_link(part) for part in parts],
        "description": f"commit {record['git_commit']}, source {record['source_sha256']}, seed {record['seed']}",
    }
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": "PathDuet run",
        "description": "Tables, predictions, metrics and report of one PathDuet run, with what it was made from.",
        "datePublished": date,
        "license": "The data's own terms apply; none is granted by this archive.",
        "hasPart": [_link(part) for part in parts],
        "mentions": [_link(action)],
    }
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    return {"@context": CONTEXT, "@graph": [descriptor, root, action, settings, *inputs, *versions, *parts]}


def _link(entity: Mapping[str, Any]) -> dict[str, str]:
    return {"@id": str(entity["@id"])}


def write_crate(results: Path, out: Path, date: str) -> None:
    """Write the archive: the same results on the same date give the same bytes."""
    record = json.loads((results / "provenance.json").read_text(encoding="utf-8"))
    files = chosen_files(results)
    metadata = json.dumps(describe(results, record, files, date), indent=2, sort_keys=True) + "\n"
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_entry("ro-crate-metadata.json"), metadata)
        for path in files:
            archive.writestr(_entry(path.relative_to(results).as_posix()), path.read_bytes())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
