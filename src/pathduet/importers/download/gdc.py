"""Files of the Genomic Data Commons: manifests made from filters, and their files fetched, resumed and verified.

A file lies in ``{out}/{id}/{filename}``, as the GDC's own client puts it. While it comes in it is called
``.{filename}.part``; it gets its name only when size and MD5 are those of the manifest. So whatever has its name is
whole, and a killed download goes on where it was.

API: https://docs.gdc.cancer.gov/API/Users_Guide/ (files endpoint, data endpoint, X-Auth-Token).
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import math
import os
import queue
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathduet.core.errors import InputError, Problem
from pathduet.core.files import write_json, write_tsv
from pathduet.core.progress import track
from pathduet.importers.download.http import Client, DownloadError

API = "https://api.gdc.cancer.gov"
PROJECTS = ("TCGA-GBM", "TCGA-LGG")
KINDS = ("slides", "rna", "clinical")
_BLOCK = 2**18
_MIB = 2**20
_PAGE = 2000
#: Space that stays free beside what is fetched.
_MARGIN = 200 * _MIB
_UUID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{7,63}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@ ()-]{0,230}")
_MD5 = re.compile(r"[0-9a-f]{32}")
#: A server whose file does not have the manifest's checksum this often will not have it the next time.
_WRONG_CHECKSUMS = 2


@dataclass(frozen=True)
class ManifestRow:
    """One file: id, name, MD5 (hexadecimal) and size in bytes."""

    id: str
    filename: str
    md5: str
    size: int


@dataclass(frozen=True)
class Fetched:
    """What became of a file: ``there`` (before), ``fetched`` or ``failed``, and why."""

    row: ManifestRow
    status: str
    message: str = ""


# -- manifests ------------------------------------------------------------------------------------------------


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a GDC manifest (TSV with id, filename, md5, size).

    Raises
    ------
    InputError
        Listing every row that is not usable, names that would leave the folder among them.
    """
    if not path.is_file():
        raise InputError([Problem(str(path), "no such file", "give the GDC manifest's path")])
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle, delimiter="\t")
        header = reader.fieldnames or []
        absent = [name for name in ("id", "filename", "md5", "size") if name not in header]
        if absent:
            found = f"columns {', '.join(header) or 'none'}"
            raise InputError([Problem(path.name, found, f"needs {', '.join(absent)} too (tab-separated)")])
        rows, problems, seen = [], [], set()
        for number, row in enumerate(reader, 2):
            identifier, name, md5, size = (
                (row[key] or "").strip() for key in ("id", "filename", "md5", "size")
            )
            wrong = [
                (key, value)
                for key, value, good in (
                    ("id", identifier, bool(_UUID.fullmatch(identifier)) and identifier not in seen),
                    ("filename", name, bool(_FILE.fullmatch(name)) and ".." not in name),
                    ("md5", md5, bool(_MD5.fullmatch(md5))),
                    ("size", size, size.isdecimal()),
                )
                if not good
            ]
            problems += [
                Problem(f"{path.name} row {number}, {key}", repr(value), "not usable") for key, value in wrong
            ]
            seen.add(identifier)
            if not wrong:
                rows.append(ManifestRow(identifier, name, md5, int(size)))
    if not rows and not problems:
        problems.append(Problem(path.name, "no file in it", "build it anew"))
    if problems:
        raise InputError(problems)
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
        raise InputError([Problem("--kind", repr(kind), f"use {', '.join(KINDS)}")])
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
        If the API cannot be asked, or knows no such file.
    """
    found: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        body = {
            "filters": filters(projects, kind),
            "fields": ",".join(_FIELDS),
            "format": "JSON",
            "size": _PAGE,
        }
        start, total = 0, 1
        while start < total:
            data = _ask(client, {**body, "from": start})
            total = int(data["pagination"]["total"])
            hits = data["hits"]
            found.update({hit["file_id"]: hit for hit in hits})
            if not hits:
                break
            start += len(hits)
    if not found:
        raise InputError(
            [Problem(", ".join(projects), "the GDC lists no such file", "check --project and --kind")]
        )
    return [found[key] for key in sorted(found)]


def _ask(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    def attempt() -> dict[str, Any]:
        with client.open(
            "files", {"Content-Type": "application/json"}, json.dumps(body).encode()
        ) as response:
            try:
                answer = json.loads(response.read())
            except ValueError:
                raise DownloadError("the answer is cut short or no JSON", temporary=True) from None
        if not isinstance(answer, dict) or "data" not in answer:
            raise DownloadError(f"unexpected answer: {str(answer)[:200]}")
        data: dict[str, Any] = answer["data"]
        return data

    return client.again(attempt)


def write_manifest(path: Path, entries: Sequence[dict[str, Any]]) -> list[ManifestRow]:
    """Write a manifest; beside it ``{stem}_sample_sheet.tsv`` and ``{stem}_metadata.json``, as the portal's cart gives them."""
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


def read_token(path: Path) -> str:
    """Return the token of a file.

    Raises
    ------
    InputError
        If it is empty, or holds what cannot be a token.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            [Problem(f"token file {path.name}", f"cannot be read ({error})", "download a new token")]
        ) from None
    if not token or re.search(r"\s|[^\x21-\x7e]", token):
        raise InputError(
            [Problem(f"token file {path.name}", "no token in it", "download a new token from the portal")]
        )
    return token


# -- files ----------------------------------------------------------------------------------------------------


def target(out: Path, row: ManifestRow) -> Path:
    """Return where a file goes."""
    return out / row.id / row.filename


def _part(out: Path, row: ManifestRow) -> Path:
    return out / row.id / f".{row.filename}.part"


def _is_there(out: Path, row: ManifestRow) -> bool:
    path = target(out, row)
    return path.is_file() and path.stat().st_size == row.size


def missing_bytes(out: Path, rows: Iterable[ManifestRow]) -> int:
    """Return how many bytes are still to come."""
    total = 0
    for row in rows:
        if not _is_there(out, row):
            part = _part(out, row)
            have = part.stat().st_size if part.is_file() else 0
            total += row.size - have if have <= row.size else row.size
    return total


def check_space(out: Path, rows: Sequence[ManifestRow]) -> int:
    """Return the bytes still to come.

    Raises
    ------
    InputError
        If the disk has not that much, and a margin of 200 MiB, left.
    """
    out.mkdir(parents=True, exist_ok=True)
    needed, free = missing_bytes(out, rows), shutil.disk_usage(out).free
    if needed and needed + _MARGIN > free:
        found = f"{free / 2**30:.1f} GiB free, {needed / 2**30:.1f} GiB to come"
        raise InputError([Problem(f"disk of {out}", found, "free some, or split the manifest")])
    return needed


def md5_file(path: Path) -> str:
    """Return the hexadecimal MD5 of a file (the checksum that the GDC publishes; no security rests on it)."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def fetch_file(
    client: Client, out: Path, row: ManifestRow, arrived: queue.SimpleQueue[int] | None = None
) -> Fetched:
    """Fetch one file, going on with what is there of it.

    Parameters
    ----------
    arrived : queue, optional
        Gets the number of bytes of each block that came in.
    """
    path, part = target(out, row), _part(out, row)
    if _is_there(out, row):
        return Fetched(row, "there")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("ab") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return Fetched(row, "failed", "another process is fetching it")
            if _is_there(out, row):
                # the other process finished it between our look and our lock
                part.unlink(missing_ok=True)
                return Fetched(row, "there")
            wrong = 0
            while True:
                _complete(client, row, handle, arrived)
                os.fsync(handle.fileno())
                if md5_file(part) == row.md5:
                    break
                wrong += 1
                handle.truncate(0)
                if wrong >= _WRONG_CHECKSUMS:
                    part.unlink(missing_ok=True)
                    return Fetched(row, "failed", f"wrong checksum {wrong} times: not the manifest's file")
            part.replace(path)
    except DownloadError as error:
        return Fetched(row, "failed", str(error))
    except OSError as error:
        return Fetched(row, "failed", f"{error.strerror or error}")
    return Fetched(row, "fetched")


def _complete(client: Client, row: ManifestRow, handle: Any, arrived: queue.SimpleQueue[int] | None) -> None:
    """Append to a part until it has the file's size."""
    before = [-1]

    def size() -> int:
        handle.flush()
        return os.fstat(handle.fileno()).st_size

    def attempt() -> None:
        have = before[0] = size()
        if have > row.size:
            handle.truncate(0)
            have = before[0] = 0
        if have == row.size:
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        try:
            receive(have, headers)
        except DownloadError as error:
            if error.status == 416:
                # what the server has is shorter than our part: start over
                handle.truncate(0)
            raise

    def receive(have: int, headers: dict[str, str]) -> None:
        with client.open(f"data/{row.id}", headers) as response:
            if have and not _continues(response.headers.get("Content-Range", ""), response.status, have, row):
                # the whole file comes again: the server does not do ranges, or does them otherwise
                handle.truncate(0)
                have = before[0] = 0
                if response.status == 206:
                    raise DownloadError("answered with another range", temporary=True)
            while block := response.read(_BLOCK):
                if client.stop.is_set():
                    raise DownloadError("interrupted")
                handle.write(block)
                have += len(block)
                if have > row.size:
                    handle.truncate(0)
                    raise DownloadError(f"more than the manifest's {row.size} bytes", temporary=True)
                if arrived is not None:
                    arrived.put(len(block))
        if size() < row.size:
            raise DownloadError(f"cut short at {size()} of {row.size} bytes", temporary=True)

    client.again(attempt, lambda: size() > before[0])


def _continues(content_range: str, status: int, start: int, row: ManifestRow) -> bool:
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", content_range.strip())
    return status == 206 and match is not None and int(match[1]) == start and match[3] in ("*", str(row.size))


def fetch(client: Client, rows: Sequence[ManifestRow], out: Path, *, jobs: int = 4) -> list[Fetched]:
    """Fetch a manifest's files, several at a time; one that fails does not stop the others.

    Returns
    -------
    list of Fetched
        In the manifest's order; also written to ``fetch_report.tsv``, what failed as ``failed_manifest.tsv``.

    Raises
    ------
    InputError
        If the disk is too small; before anything is fetched.
    """
    import pandas as pd

    needed = check_space(out, rows)
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
    results: dict[str, Fetched] = {}

    def mebibytes() -> Iterator[None]:
        """Yield once a MiB that came in, until all files are done."""
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            waiting: set[Future[Fetched]] = {
                pool.submit(fetch_file, client, out, row, arrived) for row in rows
            }
            bytes_in, shown = 0, 0
            try:
                while waiting:
                    done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in done:
                        results[future.result().row.id] = future.result()
                    while not arrived.empty():
                        bytes_in += arrived.get()
                    while shown < min(bytes_in // _MIB, total):
                        shown += 1
                        yield
            except BaseException:
                # let the workers end at their next block instead of after their files
                client.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            while shown < total and all(r.status != "failed" for r in results.values()):
                shown += 1
                yield

    total = math.ceil(needed / _MIB)
    for _ in track(mebibytes(), total, "fetching", "MiB"):
        pass
    ordered = [results[row.id] for row in rows]
    table = pd.DataFrame([{**vars(r.row), "status": r.status, "message": r.message} for r in ordered])
    write_tsv(out / "fetch_report.tsv", table)
    failed = table[table["status"] == "failed"]
    if len(failed):
        write_tsv(out / "failed_manifest.tsv", failed[["id", "filename", "md5", "size"]])
    else:
        (out / "failed_manifest.tsv").unlink(missing_ok=True)
    return ordered


def recheck(out: Path, rows: Iterable[ManifestRow]) -> list[ManifestRow]:
    """Return the rows whose file is there under its name but does not have the manifest's checksum; these are removed."""
    broken = [row for row in rows if _is_there(out, row) and md5_file(target(out, row)) != row.md5]
    for row in broken:
        target(out, row).unlink()
    return broken
