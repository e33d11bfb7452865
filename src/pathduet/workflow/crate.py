"""A run as one archive for others: a Workflow Run RO-Crate with its results.

https://w3id.org/ro/wfrun/workflow/0.5 : ``ro-crate-metadata.json`` describes the workflow (its files are in the archive),
the configuration, the inputs (by checksum; raw data are never copied), the software and every result in the archive.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.checksums import checked
from pathduet.core.errors import PathDuetError
from pathduet.core.files import atomic_path
from pathduet.core.provenance import read_run_record, shown_path
from pathduet.results import DESCRIPTION, HISTORY, PREDICTIONS, Results

if TYPE_CHECKING:
    from rocrate.rocrate import ROCrate

#: Profiles that the archive conforms to, with their titles.
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
README = """# A run of PathDuet

`ro-crate-metadata.json` describes this archive: a [Workflow Run RO-Crate](https://w3id.org/ro/wfrun/workflow). Open
`report/report.html` first. Raw slides, expression, features and weights are not here; inputs are named with their SHA-256.
Of absolute paths the file name is left.
"""
_TOPS = (
    "home", "Users", "Volumes", "mnt", "media", "data", "scratch", "gpfs", "lustre", "nfs", "work", "projects", "srv",
)  # fmt: skip
#: Files of the checkout that make up the workflow.
WORKFLOW = ("Snakefile", "rules/*.smk", "workflow_scripts/*.py", "envs/*.yaml")
_FORMATS = {
    ".html": "text/html", ".json": "application/json", ".tsv": "text/tab-separated-values", ".md": "text/markdown",
    ".svg": "image/svg+xml", ".yaml": "application/yaml", ".py": "text/x-python", ".smk": "text/plain", "": "text/plain",
}  # fmt: skip


def write_crate(results: Results, checkout: Path, ended: datetime) -> None:
    """Write the archive of a finished run; the same results give the same bytes.

    Parameters
    ----------
    results : Results
    checkout : Path
        Holds the Snakefile.
    ended : datetime
        When the run ended.
    """
    record = read_run_record(results.provenance)
    crate = _described(record, results, checkout, ended.astimezone(UTC))
    with atomic_path(results.crate) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for entity in [*crate.default_entities, *crate.data_entities]:
            for name, content in entity.stream(chunk_size=-1):
                archive.writestr(_entry(name), content)


def archived(results: Results) -> list[Path]:
    """Return the results that go into the archive; slides, features, weights and representations are too large."""
    every = ("*", "*", "*")
    models = (results.model(*every), results.model(*every, "*"))
    external = (results.external(*every), results.external(*every, "*"))
    patterns = (
        results.report, results.provenance, results.ledger, results.participation, results.left_out, results.folds, results.table("*", ".*"),
        results.metrics("*"), *(model / file for model in models for file in (PREDICTIONS, DESCRIPTION, HISTORY)),
        *(folder / PREDICTIONS for folder in external),
        results.job_record(results.log("**", "*")),
    )  # fmt: skip
    names = (pattern.relative_to(results.root).as_posix() for pattern in patterns)
    return sorted({path for name in names for path in results.root.glob(name) if path.suffix in _FORMATS})


def path_hider(record: Mapping[str, Any], results: Results) -> Callable[[str], str]:
    """Return a function that reduces absolute paths in a text to their file names.

    An archive is shared, and paths to patients' files are private. The configuration's paths are known; others are
    recognised by a top-level folder that exists here or is common.
    """
    paths = {*_absolute(record["config"]), *_absolute(list(record["inputs"]))}
    known = {
        form(path): shown_path(path, results.root) for path in paths for form in (str, _in_json, html.escape)
    }
    here = (folder.name for folder in Path("/").iterdir() if folder.is_dir())
    tops = "|".join(map(re.escape, sorted({*here, *_TOPS})))
    pattern = re.compile(rf"(?<![\w.:/<+=-])/(?:{tops})(?:/(?:[\w.@%+-]|\\u[0-9a-f]{{4}})+)+")

    def shown(found: re.Match[str]) -> str:
        # /home/somebody is removed entirely
        return shown_path(found[0], results.root) if found[0].count("/") > 2 else "..."

    def hide(text: str) -> str:
        for path in sorted(known, key=len, reverse=True):
            text = text.replace(path, known[path])
        return pattern.sub(shown, text)

    return hide


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _absolute(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [path for inner in value.values() for path in _absolute(inner)]
    if isinstance(value, list):
        return [path for inner in value for path in _absolute(inner)]
    return (
        [value] if isinstance(value, str) and Path(value).is_absolute() and len(Path(value).parts) > 2 else []
    )


def _described(record: Mapping[str, Any], results: Results, checkout: Path, ended: datetime) -> ROCrate:
    """Return the crate: its entities, in a fixed order, and the files' contents."""
    try:
        from rocrate.model import ContextEntity, SoftwareApplication
        from rocrate.rocrate import ROCrate
    except ImportError:
        raise PathDuetError("the run's archive needs rocrate: pip install 'pathduet[crate]'") from None

    hide = path_hider(record, results)
    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append("https://w3id.org/ro/terms/workflow-run/context")
    crate.name = "PathDuet run"
    crate.description = (
        "Tables, predictions, metrics and report of one PathDuet run, with what it was made from."
    )
    crate.datePublished = ended.date().isoformat()
    terms = {
        "@type": "CreativeWork",
        "name": "Terms",
        "description": "The data's own terms apply; this archive grants none.",
    }
    crate.license = crate.add(ContextEntity(crate, "#terms", terms))
    for profile, title in PROFILES.items():
        about = {"@type": "CreativeWork", "name": title, "version": profile.rsplit("/", 1)[1]}
        crate.root_dataset.append_to("conformsTo", crate.add(ContextEntity(crate, profile, about)))

    versions = {name: version for name, version in record["versions"].items() if version != "not installed"}
    workflow = crate.add_workflow(
        io.BytesIO((checkout / "Snakefile").read_bytes()),
        "workflow/Snakefile",
        main=True,
        lang="snakemake",
        lang_version=versions.get("snakemake"),
        properties={
            "name": "PathDuet",
            "version": versions["pathduet"],
            "license": "https://spdx.org/licenses/MIT",
            "encodingFormat": "text/plain",
            "conformsTo": {"@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"},
        },
    )
    for pattern in WORKFLOW[1:]:
        for path in sorted(checkout.glob(pattern)):
            name = f"workflow/{path.relative_to(checkout).as_posix()}"
            workflow.append_to("hasPart", _add_file(crate, name, path.read_bytes()))
    for name, version in sorted(versions.items()):
        if name not in ("pathduet", "platform"):
            page = "https://www.python.org/" if name == "python" else f"https://pypi.org/project/{name}/"
            about = {"name": name, "softwareVersion": version, "url": page}
            workflow.append_to("softwareRequirements", crate.add(SoftwareApplication(crate, page, about)))

    def parameter(name: str, type_: str, value: Any) -> Any:
        formal = crate.add_formal_parameter(name, type_, identifier=f"#parameter-{name}")
        formal["workExample"], value["exampleOfWork"] = value, formal
        return formal

    used = [_add_file(crate, "configuration.json", hide(_json(record["config"])).encode())]
    workflow.append_to("input", parameter("configuration", "File", used[0]))
    for number, (path, digest) in enumerate(sorted(record["inputs"].items())):
        name = Path(path).name
        about = {"@type": "PropertyValue", "name": name, "value": f"sha256:{digest}", "sha256": digest}
        used.append(crate.add(ContextEntity(crate, f"#input-{number}", about)))
        workflow.append_to("input", parameter(f"{number}-{name}", "PropertyValue", used[-1]))

    made = []
    for path in archived(results):
        content = hide(checked(path).read_text(encoding="utf-8")).encode()
        made.append(_add_file(crate, path.relative_to(results.root).as_posix(), content))
        if path == results.report:
            workflow["output"] = parameter("report", "File", made[-1])
    code = f"commit {record['git_commit']}, source {record['source_sha256']}, seed {record['seed']}"
    action = crate.add_action(
        workflow, "#run", used, made,
        {
            "name": "PathDuet run", "endTime": ended.isoformat(timespec="seconds"),
            "description": f"{code}, on {record['versions']['platform']}",
        },
    )  # fmt: skip
    crate.root_dataset["mentions"] = action
    _add_file(crate, "README.md", README.encode())["about"] = crate.root_dataset
    return crate


def _add_file(crate: ROCrate, name: str, content: bytes) -> Any:
    about = {
        "name": name,
        "encodingFormat": _FORMATS[Path(name).suffix],
        "contentSize": str(len(content)),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return crate.add_file(io.BytesIO(content), name, properties=about)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
