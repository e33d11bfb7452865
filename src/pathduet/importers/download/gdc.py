"""Files of the Genomic Data Commons, fetched, resumed and verified.

A file is stored as ``{out}/{id}/{filename}``, like the GDC's own client does. During its download it is named
``.{filename}.part``; it is renamed only once size and MD5 match the manifest. So a file under its final name is
complete, and a killed download resumes.

API: https://docs.gdc.cancer.gov/API/Users_Guide/ (data endpoint, X-Auth-Token).
"""

from __future__ import annotations

import hashlib
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

from pathduet.core.errors import InputError
from pathduet.core.file_locks import file_locks
from pathduet.core.files import write_tsv
from pathduet.core.progress import track
from pathduet.importers.download.http import Client, DownloadError
from pathduet.importers.download.manifest import ManifestRow

_MIB = 2**20
#: Bytes that an attempt must bring for its failure not to count: a server that stops after each byte is given up.
_PROGRESS = 2**16
#: Space that stays free besides the download.
_MARGIN = 200 * _MIB
#: After this many wrong checksums a file is given up: the next try would not differ.
_WRONG_CHECKSUMS = 2


@dataclass(frozen=True)
class Fetched:
    """The result for one file: ``there`` (it existed), ``fetched`` or ``failed``, and why."""

    row: ManifestRow
    status: str
    message: str = ""


def read_token(path: Path) -> str:
    """Read a token from a file.

    Raises
    ------
    InputError
        If the file is empty, or its content cannot be a token.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.of(
            f"token file {path.name}", f"cannot be read ({error})", "download a new token"
        ) from None
    if not token or re.search(r"\s|[^\x21-\x7e]", token):
        raise InputError.of(
            f"token file {path.name}", "no token in it", "download a new token from the portal"
        )
    return token


def target(out: Path, row: ManifestRow) -> Path:
    """Return the path of a file."""
    return out / row.id / row.filename


def _part(out: Path, row: ManifestRow) -> Path:
    return out / row.id / f".{row.filename}.part"


def _is_there(out: Path, row: ManifestRow) -> bool:
    path = target(out, row)
    return path.is_file() and path.stat().st_size == row.size


def missing_bytes(out: Path, rows: Iterable[ManifestRow]) -> int:
    """Return how many bytes are missing."""
    total = 0
    for row in rows:
        if not _is_there(out, row):
            part = _part(out, row)
            have = part.stat().st_size if part.is_file() else 0
            total += row.size - have if have <= row.size else row.size
    return total


def check_space(out: Path, rows: Sequence[ManifestRow]) -> int:
    """Return how many bytes are missing.

    Raises
    ------
    InputError
        If the disk has less free space than that plus a margin of 200 MiB.
    """
    out.mkdir(parents=True, exist_ok=True)
    needed, free = missing_bytes(out, rows), shutil.disk_usage(out).free
    if needed and needed + _MARGIN > free:
        found = f"{free / 2**30:.1f} GiB free, {needed / 2**30:.1f} GiB to come"
        raise InputError.of(f"disk of {out}", found, "free some, or split the manifest")
    return needed


def md5_file(path: Path) -> str:
    """Return the hexadecimal MD5 of a file (the checksum that the GDC publishes; not used for security)."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def fetch_file(
    client: Client, out: Path, row: ManifestRow, arrived: queue.SimpleQueue[int] | None = None
) -> Fetched:
    """Fetch one file, resuming a partial download.

    Parameters
    ----------
    arrived : queue, optional
        Receives the number of bytes of each block.
    """
    path, part, locks = target(out, row), _part(out, row), file_locks()
    if _is_there(out, row):
        return Fetched(row, "there")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(part, flags, 0o666), "ab") as handle:
            try:
                locks.flock(handle, locks.LOCK_EX | locks.LOCK_NB)
            except OSError:
                return Fetched(row, "failed", "another process is fetching it")
            if _is_there(out, row):
                # the other process finished it between our check and our lock
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
    """Append to a partial file until it has the file's size."""
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
                # the server's file is shorter than our part: start over
                handle.truncate(0)
            raise

    def receive(have: int, headers: dict[str, str]) -> None:
        with client.open(f"data/{row.id}", headers) as response:
            if have and not _continues(response.headers.get("Content-Range", ""), response.status, have, row):
                # the server sends the whole file again: it does not support ranges properly
                handle.truncate(0)
                have = before[0] = 0
                if response.status == 206:
                    raise DownloadError("answered with another range", temporary=True)
            for block in client.blocks(response):
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

    client.again(attempt, lambda: size() - before[0] >= _PROGRESS)


def _continues(content_range: str, status: int, start: int, row: ManifestRow) -> bool:
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", content_range.strip())
    return status == 206 and match is not None and int(match[1]) == start and match[3] in ("*", str(row.size))


def fetch(client: Client, rows: Sequence[ManifestRow], out: Path, *, jobs: int = 4) -> list[Fetched]:
    """Fetch a manifest's files, several at a time; a failed file does not stop the others.

    Returns
    -------
    list of Fetched
        In the manifest's order; also written to ``fetch_report.tsv``, failures to ``failed_manifest.tsv``.

    Raises
    ------
    InputError
        If the disk is too small; raised before anything is fetched.
    """
    import pandas as pd

    needed = check_space(out, rows)
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
    results: dict[str, Fetched] = {}

    def mebibytes() -> Iterator[None]:
        """Yield once per MiB received, until all files are done."""
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
                # end the workers at their next block, not after their files
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
    """Return the rows whose file exists but does not have the manifest's checksum; these files are removed."""
    broken = [row for row in rows if _is_there(out, row) and md5_file(target(out, row)) != row.md5]
    for row in broken:
        target(out, row).unlink()
    return broken
