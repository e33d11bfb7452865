"""Manifests of the Genomic Data Commons: read, built from filters, and written with the tables of the portal's cart.

API: https://docs.gdc.cancer.gov/API/Users_Guide/ (files endpoint).
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pathduet.core.errors import InputError, Problems
from pathduet.core.files import write_json, write_tsv
from pathduet.core.text_table import require_columns
from pathduet.importers.download.http import Client, DownloadError

KINDS = ("slides", "rna", "clinical")
_PAGE = 2000
#: Columns of a manifest and their allowed cells: ids and names stay within the folder.
_USABLE = {
    "id": re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{7,63}"),
    "filename": re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._+@ ()-]{0,230}"),
    "md5": re.compile(r"[0-9a-f]{32}"),
    "size": re.compile(r"[0-9]{1,15}"),
}
_MOST_FILES = 1_000_000


@dataclass(frozen=True)
class ManifestRow:
    """One file: id, name, MD5 (hexadecimal) and size in bytes."""

    id: str
    filename: str
    md5: str
    size: int


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a GDC manifest (TSV with id, filename, md5, size).

    Raises
    ------
    InputError
        Listing every unusable row, including names that would leave the folder.
    """
    if not path.is_file():
        raise InputError.of(str(path), "no such file", "give the GDC manifest's path")
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle, delimiter="\t")
        require_columns(reader.fieldnames or (), _USABLE, path.name)
        rows, problems, seen = [], Problems(), set()
        for number, cells in enumerate(reader, 2):
            row = {name: (cells[name] or "").strip() for name in _USABLE}
            wrong = [name for name, pattern in _USABLE.items() if not pattern.fullmatch(row[name])]
            wrong += ["id"] if row["id"] in seen else []
            seen.add(row["id"])
            for name in wrong:
                problems.add(f"{path.name} row {number}, {name}", repr(row[name]), "not usable")
            if not wrong:
                rows.append(ManifestRow(row["id"], row["filename"], row["md5"], int(row["size"])))
    if not rows and not problems:
        problems.add(path.name, "no file in it", "build it anew")
    problems.check()
    return rows


def filters(projects: Sequence[str], kind: str) -> dict[str, Any]:
    """Return the files endpoint's filter for one kind of open files of some projects."""

    def one_of(name: str, values: Sequence[str]) -> dict[str, Any]:
        return {"op": "in", "content": {"field": name, "value": list(values)}}

    wanted = {
        "slides": [("data_type", ["Slide Image"]), ("experimental_strategy", ["Diagnostic Slide"])],
        "rna": [
            ("data_type", ["Gene Expression Quantification"]),
            ("analysis.workflow_type", ["STAR - Counts"]),
            ("cases.samples.sample_type", ["Primary Tumor"]),
        ],
        "clinical": [("data_type", ["Clinical Supplement"]), ("data_format", ["BCR Biotab"])],
    }
    if kind not in wanted:
        raise InputError.of("--kind", repr(kind), f"use {', '.join(KINDS)}")
    parts = [("cases.project.project_id", list(projects)), ("access", ["open"]), *wanted[kind]]
    return {"op": "and", "content": [one_of(name, values) for name, values in parts]}


_FIELDS = (
    "file_id", "file_name", "md5sum", "file_size", "state", "data_category", "data_type",
    "cases.project.project_id", "cases.submitter_id", "cases.samples.submitter_id", "cases.samples.sample_type",
    "associated_entities.entity_submitter_id", "associated_entities.entity_type",
)  # fmt: skip


def query_files(client: Client, projects: Sequence[str], kinds: Iterable[str]) -> list[dict[str, Any]]:
    """Return the files endpoint's entries of all pages, sorted by id.

    Raises
    ------
    DownloadError, InputError
        If the API cannot be queried, or has no such file.
    """
    found: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        body = {
            "filters": filters(projects, kind),
            "fields": ",".join(_FIELDS),
            "sort": "file_id:asc",
            "format": "JSON",
            "size": _PAGE,
        }
        found |= _listed(client, body)
    if not found:
        raise InputError.of(", ".join(projects), "the GDC lists no such file", "check --project and --kind")
    return [found[key] for key in sorted(found)]


def _listed(client: Client, body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the entries of all pages by id: each page must add new ones, and their number must match the total."""
    found: dict[str, dict[str, Any]] = {}
    start, total = 0, None
    while total is None or len(found) < total:
        hits, now = client.again(partial(_page, client, {**body, "from": start}))
        total = now if total is None else total
        if now != total:
            raise DownloadError(
                f"the listing changed while it was read ({total:,} files, then {now:,}): ask again"
            )
        new = {str(hit["file_id"]): hit for hit in hits}
        if total and not new.keys() - found.keys():
            raise DownloadError(
                f"the listing breaks off or repeats itself after {len(found):,} of {total:,} files"
            )
        found |= new
        start += len(hits)
    return found


def _page(client: Client, body: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Return the entries of one page, checked, and the total number of files."""
    sent = client.answer("files", {"Content-Type": "application/json"}, json.dumps(body).encode())
    try:
        answer = json.loads(sent)
    except (ValueError, RecursionError):
        raise DownloadError("the answer is cut short or no JSON", temporary=True) from None
    try:
        hits, total = answer["data"]["hits"], answer["data"]["pagination"]["total"]
        sound = type(total) is int and 0 <= total <= _MOST_FILES and len(hits) <= total
        bad = next((hit for hit in hits if not _is_sound(hit)), None)
    except (KeyError, TypeError):
        sound, bad, total = False, None, 0
    if not sound or bad is not None:
        shown = answer if bad is None else bad
        raise DownloadError(f"not an answer of the GDC: {json.dumps(shown)[:200]}")
    return hits, total


def _is_sound(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry has everything that a manifest and a sample sheet need, in valid form."""
    try:
        row = {
            name: entry[key] for name, key in zip(_USABLE, ("file_id", "file_name", "md5sum", "file_size"))
        }
        cases = entry.get("cases", [])
        texts = [entry.get(key, "") for key in ("state", "data_category", "data_type")]
        for case in cases:
            texts += [case.get("submitter_id", ""), case.get("project", {}).get("project_id", "")]
            for sample in case.get("samples", []):
                texts += [sample.get("submitter_id", ""), sample.get("sample_type", "")]
    except (KeyError, TypeError, AttributeError):
        return False
    usable = all(pattern.fullmatch(str(row[name])) for name, pattern in _USABLE.items())
    return usable and type(row["size"]) is int and all(isinstance(text, str) for text in texts)


def write_manifest(path: Path, entries: Sequence[dict[str, Any]]) -> list[ManifestRow]:
    """Write a manifest; beside it ``{stem}_sample_sheet.tsv`` and ``{stem}_metadata.json``, as in the portal's cart."""
    import pandas as pd

    rows = [ManifestRow(e["file_id"], e["file_name"], e["md5sum"], int(e["file_size"])) for e in entries]
    states = [e.get("state", "released") for e in entries]
    table = pd.DataFrame([vars(row) for row in rows]).assign(state=states)
    write_tsv(path, table)
    sheet = []
    for entry in entries:
        cases = entry.get("cases", [])
        samples = [sample for case in cases for sample in case.get("samples", [])]
        sheet.append(
            {
                "File ID": entry["file_id"],
                "File Name": entry["file_name"],
                "Data Category": entry.get("data_category", ""),
                "Data Type": entry.get("data_type", ""),
                "Project ID": ", ".join(case.get("project", {}).get("project_id", "") for case in cases),
                "Case ID": ", ".join(case.get("submitter_id", "") for case in cases),
                "Sample ID": ", ".join(sample.get("submitter_id", "") for sample in samples),
                "Sample Type": ", ".join(sample.get("sample_type", "") for sample in samples),
            }
        )
    write_tsv(path.with_name(f"{path.stem}_sample_sheet.tsv"), pd.DataFrame(sheet))
    kept = ("file_id", "file_name", "md5sum", "file_size", "data_type", "associated_entities")
    write_json(
        path.with_name(f"{path.stem}_metadata.json"), [{k: e[k] for k in kept if k in e} for e in entries]
    )
    return rows
