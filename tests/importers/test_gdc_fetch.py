"""Downloads from a server that behaves like the GDC's: whatever happens, files are whole or absent."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pathduet.cli import app
from pathduet.core.errors import InputError
from pathduet.importers.clinical_values import read_table
from pathduet.importers.download import http
from pathduet.importers.download.gdc import _part, check_space, fetch, fetch_file, read_token, target
from pathduet.importers.download.http import Client, DownloadError, retry_after
from pathduet.importers.download.manifest import (
    ManifestRow,
    filters,
    query_files,
    read_manifest,
    write_manifest,
)

from .gdc_server import GdcServer, uuid


@pytest.fixture
def server() -> Iterator[GdcServer]:
    running = GdcServer()
    yield running
    running.close()


def content(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def client(server: GdcServer, **options: object) -> Client:
    return Client(server.url, **{"backoff": 0.01, "timeout": 5.0, **options})  # type: ignore[arg-type]


def rows(server: GdcServer, tmp_path: Path) -> list[ManifestRow]:
    return read_manifest(server.manifest(tmp_path / "manifest.tsv"))


def test_files_come_whole_in_parallel_and_only_once(server: GdcServer, tmp_path: Path) -> None:
    for number in range(6):
        server.add(number, content(300_000 + number, number))
    server.add(9, b"", "empty.tsv")
    out, listed = tmp_path / "out", rows(server, tmp_path)
    assert {r.status for r in fetch(client(server), listed, out, jobs=3)} == {"fetched"}
    for key, (name, data) in server.files.items():
        assert (out / key / name).read_bytes() == data
        assert [p.name for p in (out / key).iterdir()] == [name]
    before = len(server.requests)
    assert {r.status for r in fetch(client(server), listed, out)} == {"there"}
    assert len(server.requests) == before


def test_a_truncated_answer_goes_on_where_it_ended(server: GdcServer, tmp_path: Path) -> None:
    key = server.add(1, data := content(1_000_000))
    server.faults[key].extend([("cut", 400_000), ("cut", 100_000), ("cut", 0)])
    [result] = fetch(client(server), rows(server, tmp_path), tmp_path / "out")
    assert result.status == "fetched"
    assert target(tmp_path / "out", result.row).read_bytes() == data
    starts = [int(text.removeprefix("bytes=").rstrip("-") or 0) for text in server.ranges(key)]
    assert starts[0] == 0
    # never from the start again; what had arrived is kept (the last block of a broken connection may be lost)
    assert starts == sorted(starts)
    assert starts[-1] > 0


@pytest.mark.parametrize("fault", [("no_range",), ("wrong_range",)])
def test_a_server_without_ranges_costs_time_but_not_the_file(
    server: GdcServer, tmp_path: Path, fault: tuple[str]
) -> None:
    key = server.add(1, data := content(600_000))
    server.faults[key].extend([("cut", 300_000), fault])
    [result] = fetch(client(server), rows(server, tmp_path), tmp_path / "out")
    assert result.status == "fetched"
    assert target(tmp_path / "out", result.row).read_bytes() == data


def test_a_wrong_checksum_is_tried_again_and_then_named(server: GdcServer, tmp_path: Path) -> None:
    good, bad = server.add(1, content(5000, 1)), server.add(2, content(5000, 2))
    server.faults[good].append(("garble",))
    manifest = server.manifest(tmp_path / "m.tsv", md5={bad: "0" * 32})
    out = tmp_path / "out"
    results = fetch(client(server), read_manifest(manifest), out)
    assert [r.status for r in results] == ["fetched", "failed"]
    assert "wrong checksum" in results[1].message
    assert list((out / bad).iterdir()) == []
    assert pd.read_csv(out / "failed_manifest.tsv", sep="\t")["id"].tolist() == [bad]
    assert pd.read_csv(out / "fetch_report.tsv", sep="\t")["status"].tolist() == ["fetched", "failed"]


def test_busy_and_failing_answers_are_waited_out(server: GdcServer, tmp_path: Path) -> None:
    key = server.add(1, content(5000))
    server.faults[key].extend([("status", 429, "1"), ("status", 500), ("status", 503), ("status", 502)])
    start = time.monotonic()
    [result] = fetch(client(server), rows(server, tmp_path), tmp_path / "out")
    assert result.status == "fetched"
    assert len(server.ranges(key)) == 5
    # the second that the server asked for; the other waits are hundredths of one
    assert time.monotonic() - start >= 1.0


def test_a_file_that_never_comes_fails_alone(server: GdcServer, tmp_path: Path) -> None:
    bad, good = server.add(1, content(5000)), server.add(2, content(5000))
    server.faults[bad].extend([("status", 500)] * 20)
    first, second = fetch(client(server, retries=2), rows(server, tmp_path), tmp_path / "out")
    assert (first.status, second.status) == ("failed", "fetched")
    assert "HTTP 500; given up after 2 retries" in first.message
    assert len(server.ranges(bad)) == 3
    assert target(tmp_path / "out", second.row).stat().st_size == 5000
    assert good in second.row.id


@pytest.mark.parametrize(("status", "advice"), [(403, "token"), (404, "manifest anew"), (400, "HTTP 400")])
def test_what_will_not_get_better_is_not_tried_again(
    server: GdcServer, tmp_path: Path, status: int, advice: str
) -> None:
    key = server.add(1, content(50))
    server.faults[key].append(("status", status))
    [result] = fetch(client(server), rows(server, tmp_path), tmp_path / "out")
    assert result.status == "failed"
    assert advice in result.message
    assert len(server.ranges(key)) == 1


def test_redirects_are_followed_with_the_range_but_the_token_stays_home(
    server: GdcServer, tmp_path: Path
) -> None:
    storage = GdcServer()
    try:
        key = server.add(1, data := content(400_000))
        storage.add(1, data)
        server.token = "secret-token"
        elsewhere = f"{storage.url.replace('127.0.0.1', 'localhost')}/objects/{key}"
        server.faults[key].extend([("redirect", elsewhere), ("redirect", elsewhere)])
        storage.faults[key].append(("cut", 100_000))
        [result] = fetch(client(server, token="secret-token"), rows(server, tmp_path), tmp_path / "out")
        assert result.status == "fetched", result.message
        assert target(tmp_path / "out", result.row).read_bytes() == data
        assert all(headers["X-Auth-Token"] == "secret-token" for _, _, headers in server.requests)
        assert storage.requests
        assert not any("X-Auth-Token" in headers for _, _, headers in storage.requests)
        assert storage.ranges(key)[1].startswith("bytes=")
    finally:
        storage.close()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirects_away_from_http_are_refused(server: GdcServer, tmp_path: Path, url: str) -> None:
    key = server.add(1, content(50))
    server.faults[key].append(("redirect", url))
    [result] = fetch(client(server), rows(server, tmp_path), tmp_path / "out")
    assert result.status == "failed"
    assert not target(tmp_path / "out", result.row).exists()


def test_a_server_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    row = ManifestRow(uuid(1), "a.svs", "0" * 32, 10)
    result = fetch_file(Client("http://127.0.0.1:9", retries=1, backoff=0.01), tmp_path, row)
    assert result.status == "failed"
    assert "given up after 1 retries" in result.message


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(have=st.binary(max_size=300), rest=st.integers(0, 300), right=st.booleans())
def test_whatever_part_is_there_the_file_ends_up_right(
    server: GdcServer, tmp_path: Path, have: bytes, rest: int, right: bool
) -> None:
    data = have + content(rest) if right else content(rest, 3)
    server.files.clear()
    key = server.add(1, data)
    row = ManifestRow(key, "slide-1.svs", hashlib.md5(data).hexdigest(), len(data))
    target(tmp_path, row).unlink(missing_ok=True)
    _part(tmp_path, row).parent.mkdir(exist_ok=True)
    _part(tmp_path, row).write_bytes(have)
    result = fetch_file(client(server), tmp_path, row)
    assert result.status == "fetched", result.message
    assert target(tmp_path, row).read_bytes() == data


def test_a_disk_that_is_too_small_is_refused_before_anything_starts(
    server: GdcServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add(1, content(1000))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 0, 100 * 2**20))
    with pytest.raises(InputError, match=r"0\.1 GiB free"):
        fetch(client(server), rows(server, tmp_path), tmp_path / "out")
    assert not server.requests
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 0, 400 * 2**20))
    assert check_space(tmp_path / "out", rows(server, tmp_path)) == 1000


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("../../etc\ta.svs\t" + "0" * 32 + "\t5", "id"),
        (f"{uuid(1)}\t../a.svs\t" + "0" * 32 + "\t5", "filename"),
        (f"{uuid(1)}\t/etc/passwd\t" + "0" * 32 + "\t5", "filename"),
        (f"{uuid(1)}\t.hidden\t" + "0" * 32 + "\t5", "filename"),
        (f"{uuid(1)}\ta.svs\tnone\t5", "md5"),
        (f"{uuid(1)}\ta.svs\t" + "0" * 32 + "\t-5", "size"),
    ],
)
def test_manifests_that_would_write_elsewhere_or_check_nothing_are_refused(
    tmp_path: Path, line: str, column: str
) -> None:
    path = tmp_path / "m.tsv"
    path.write_text("id\tfilename\tmd5\tsize\n" + line + "\n")
    with pytest.raises(InputError, match=f"row 2, {column}"):
        read_manifest(path)


def test_a_second_process_on_the_same_file_keeps_its_hands_off(server: GdcServer, tmp_path: Path) -> None:
    import fcntl

    server.add(1, content(100))
    [row] = rows(server, tmp_path)
    _part(tmp_path, row).parent.mkdir()
    with _part(tmp_path, row).open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = fetch_file(client(server), tmp_path, row)
    assert (result.status, result.message) == ("failed", "another process is fetching it")
    assert fetch_file(client(server), tmp_path, row).status == "fetched"


def command(server: GdcServer, manifest: Path, out: Path) -> list[str]:
    main = "from pathduet.cli import main; main()"
    return [sys.executable, "-c", main, "fetch", "gdc", "--manifest", str(manifest), "--out", str(out),
            "--base-url", server.url, "--backoff", "0.01", "--jobs", "2"]  # fmt: skip


def wait_for(condition: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_goes_on_where_it_was(
    server: GdcServer, tmp_path: Path, kill: signal.Signals
) -> None:
    keys = [server.add(number, content(2_000_000, number)) for number in range(3)]
    for key in keys[:2]:
        server.faults[key].append(("slow", 0.1))
    manifest, out = server.manifest(tmp_path / "m.tsv"), tmp_path / "out"
    process = subprocess.Popen(
        command(server, manifest, out),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # a shell that runs the tests in its background hands down an ignored SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    parts = [out / key / f".slide-{number}.svs.part" for number, key in enumerate(keys[:2])]
    wait_for(lambda: all(p.is_file() and p.stat().st_size > 500_000 for p in parts))
    process.send_signal(kill)
    process.communicate(timeout=30)
    assert process.returncode != 0
    had = [part.stat().st_size for part in parts]
    assert all(0 < size < 2_000_000 for size in had)
    assert not any((out / key / f"slide-{n}.svs").exists() for n, key in enumerate(keys[:2]))
    done = subprocess.run(command(server, manifest, out), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 files on disk" in done.stdout
    for number, key in enumerate(keys):
        assert (out / key / f"slide-{number}.svs").read_bytes() == server.files[key][1]
    assert [server.ranges(key)[1] for key in keys[:2]] == [f"bytes={size}-" for size in had]


def test_the_command_says_what_failed_and_how_to_go_on(server: GdcServer, tmp_path: Path) -> None:
    key = server.add(1, content(50))
    server.faults[key].append(("status", 404))
    out = tmp_path / "out"
    arguments = ["fetch", "gdc", "--manifest", str(server.manifest(tmp_path / "m.tsv")), "--out", str(out),
                 "--base-url", server.url]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3
    assert "HTTP 404" in result.output
    again = CliRunner().invoke(app, [*arguments[:3], str(out / "failed_manifest.tsv"), *arguments[4:]])
    assert again.exit_code == 0, again.output
    (out / key / "slide-1.svs").write_bytes(content(50, 8))
    assert CliRunner().invoke(app, [*arguments, "--recheck"]).exit_code == 0
    assert (out / key / "slide-1.svs").read_bytes() == content(50)
    assert not (out / "failed_manifest.tsv").exists()


def entry(number: int, kind: str) -> dict:
    slide = kind == "Slide Image"
    barcode = f"TCGA-06-{number:04d}"
    sample = f"{barcode}-01Z" if slide else f"{barcode}-01A"
    return {
        "file_id": uuid(number), "file_name": f"f{number}.svs" if slide else f"f{number}.tsv", "md5sum": "0" * 32,
        "file_size": 10 * number, "state": "released", "data_category": "Biospecimen", "data_type": kind,
        "cases": [{"submitter_id": barcode, "project": {"project_id": "TCGA-GBM"},
                   "samples": [{"submitter_id": sample, "sample_type": "Primary Tumor"}]}],
        "associated_entities": [{"entity_submitter_id": f"{sample}-00-DX1", "entity_type": "slide"}],
    }  # fmt: skip


def test_a_manifest_is_built_from_all_pages_with_its_sample_sheet(server: GdcServer, tmp_path: Path) -> None:
    server.entries = [entry(n, "Slide Image") for n in range(1, 6)]
    server.entries += [entry(n, "Gene Expression Quantification") for n in range(6, 9)]
    server.faults["files"].extend([("status", 503), ("status", 429)])
    entries = query_files(client(server), ["TCGA-GBM", "TCGA-LGG"], ["slides", "rna"])
    path = tmp_path / "manifest.tsv"
    written = write_manifest(path, entries)
    assert [row.id for row in written] == [uuid(n) for n in range(1, 9)]
    assert read_manifest(path) == written
    sheet = read_table(tmp_path / "manifest_sample_sheet.tsv").set_index("File ID")
    assert sheet.loc[uuid(7), "Sample ID"] == "TCGA-06-0007-01A"
    for body in server.bodies:
        asked = {c["content"]["field"]: c["content"]["value"] for c in body["filters"]["content"]}
        assert asked["cases.project.project_id"] == ["TCGA-GBM", "TCGA-LGG"]
        assert asked["access"] == ["open"]


def page(hits: object, total: object = None) -> bytes:
    """Return an answer of the files endpoint."""
    total = len(hits) if total is None else total  # type: ignore[arg-type]
    return json.dumps({"data": {"hits": hits, "pagination": {"total": total}}}).encode()


GOOD = entry(1, "Slide Image")
BROKEN = {
    "repeats itself": page([GOOD], 5), "ends before it is over": page([], 5), "no JSON": b"<html>busy</html>",
    "JSON without end": b"[" * 100_000, "a list": b"[]", "a number": b"1", "null": b"null", "an error": b'{"message": "no"}',
    "no total": b'{"data": {"hits": [], "pagination": {}}}', "total is text": page([GOOD], "many"), "total is true": page([GOOD], True),
    "total is negative": page([], -1), "endless total": page([GOOD], 10**12), "hits are text": page("GOOD"),
    "an entry is text": page(["GOOD"]), "no size": page([{k: v for k, v in GOOD.items() if k != "file_size"}]),
    "size is text": page([GOOD | {"file_size": "12"}]), "negative size": page([GOOD | {"file_size": -1}]),
    "a name that leads elsewhere": page([GOOD | {"file_name": "../../.bashrc"}]), "an id that leads elsewhere": page([GOOD | {"file_id": "../x"}]),
    "a name with an escape": page([GOOD | {"file_name": "a\x1b]0;x\x07.svs"}]), "no checksum": page([GOOD | {"md5sum": None}]),
    "cases are text": page([GOOD | {"cases": ["TCGA"]}]), "a sample type is a list": page([GOOD | {"cases": [{"samples": [{"sample_type": []}]}]}]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_listing_that_never_ends_or_is_broken_is_a_message(server: GdcServer, name: str) -> None:
    server.faults["files"].extend([("answer", BROKEN[name])] * 9)
    with pytest.raises(DownloadError):
        query_files(client(server, retries=1), ["TCGA-GBM"], ["slides"])
    assert len(server.bodies) <= 2


def test_a_listing_that_changes_between_pages_is_not_half_read(server: GdcServer) -> None:
    server.faults["files"].extend(
        [("answer", page([GOOD], 2)), ("answer", page([entry(2, "Slide Image")], 3))]
    )
    with pytest.raises(DownloadError, match="changed while it was read"):
        query_files(client(server), ["TCGA-GBM"], ["slides"])


def test_an_answer_without_end_is_cut_off(server: GdcServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_LONGEST_ANSWER", 1000)
    server.faults["files"].append(("answer", b" " * 5000))
    with pytest.raises(DownloadError, match="an answer of more than"):
        query_files(client(server), ["TCGA-GBM"], ["slides"])


def test_a_connection_that_trickles_on_counts_as_dead(server: GdcServer, tmp_path: Path) -> None:
    key = server.add(1, content(20))
    server.faults[key].extend([("trickle", 0.1)] * 9)
    start = time.monotonic()
    [result] = fetch(client(server, timeout=0.3, retries=1), rows(server, tmp_path), tmp_path / "out")
    assert result.status == "failed" and "bytes in" in result.message and "given up" in result.message
    assert time.monotonic() - start < 10


def test_a_server_that_breaks_off_after_each_byte_has_an_end(server: GdcServer, tmp_path: Path) -> None:
    key = server.add(1, content(5000))
    server.faults[key].extend([("cut", 1)] * 99)
    [result] = fetch(client(server, retries=3), rows(server, tmp_path), tmp_path / "out")
    assert result.status == "failed" and len(server.requests) == 4


def test_filters_ask_for_diagnostic_slides_and_star_counts_of_primary_tumours() -> None:
    def asked(kind: str) -> dict[str, list[str]]:
        return {c["content"]["field"]: c["content"]["value"] for c in filters(["TCGA-GBM"], kind)["content"]}

    assert asked("slides")["experimental_strategy"] == ["Diagnostic Slide"]
    assert asked("rna")["analysis.workflow_type"] == ["STAR - Counts"]
    assert asked("rna")["cases.samples.sample_type"] == ["Primary Tumor"]
    with pytest.raises(InputError, match="slides, rna, clinical"):
        filters(["TCGA-GBM"], "methylation")


def test_a_token_is_read_sent_and_never_shown(server: GdcServer, tmp_path: Path) -> None:
    path = tmp_path / "token.txt"
    path.write_text("abc.DEF-123\n")
    server.token = "abc.DEF-123"
    server.add(1, content(50))
    arguments = ["fetch", "gdc", "--manifest", str(server.manifest(tmp_path / "m.tsv")), "--out", str(tmp_path / "o"),
                 "--base-url", server.url, "--token-file", str(path)]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "abc.DEF" not in result.output
    assert "abc.DEF" not in repr(client(server, token="abc.DEF-123"))
    path.write_text("two words")
    with pytest.raises(InputError, match="no token"):
        read_token(path)


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after("7") == 7
    assert retry_after(None) is None
    assert [retry_after(text) for text in ("soon", "²", "9" * 5000, "Fri, 31 Dec 9999 23:59:59 -9900")] == [
        None
    ] * 4
    assert retry_after(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=3)
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_giving_up_counts_failures_in_a_row_only() -> None:
    calls: list[int] = []

    def attempt() -> str:
        calls.append(1)
        if len(calls) < 8:
            raise DownloadError("cut short", temporary=True)
        return "done"

    assert Client("http://x", retries=1, backoff=0.0).again(attempt, lambda: True) == "done"
    calls.clear()
    with pytest.raises(DownloadError, match="given up after 1 retries"):
        Client("http://x", retries=1, backoff=0.0).again(attempt)
    assert len(calls) == 2
