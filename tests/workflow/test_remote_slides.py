"""Slides in object storage: staged from a real S3 server (moto's) by the example, then read as any others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pandas as pd
import pytest

import tiny_cohort
from cluster.one_node_slurm import free_ports
from pathduet.cohort.sheets import read_sheets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty S3 server on this machine."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    (port,) = free_ports(1)
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    deadline = time.monotonic() + 120
    while "Running on" not in (tmp_path / "server.log").read_text() and time.monotonic() < deadline:
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


def stage(folder: Path, address: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(tiny_cohort.REPOSITORY / "examples/remote_slides/Snakefile"),
        "--directory", str(folder), "--workflow-profile", "none", "--cores", "2",
        "--config", "sheet=remote.tsv", f"endpoint_url={address}",
    ]  # fmt: skip
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ.copy()
    )


def test_slides_are_staged_once_changed_ones_again_and_read_as_any_others(
    server: str, tmp_path: Path
) -> None:
    cohort = tiny_cohort.make_cohort(tmp_path / "cohort", patients=4, external=0, slide_px=512)
    client = boto3.client("s3", endpoint_url=server)
    client.create_bucket(Bucket="bucket")
    sheet = pd.read_csv(cohort / "slides.tsv", sep="\t", keep_default_na=False)
    for i in (0, 2):  # the others stay on this disk
        file = cohort / sheet.loc[i, "path"]
        client.upload_file(str(file), "bucket", f"deep/down/{file.name}")
        sheet.loc[i, "path"] = f"s3://bucket/deep/down/{file.name}"
    sheet.loc[[1], "path"] = str(cohort / sheet.loc[1, "path"])
    for i in range(3, len(sheet)):
        sheet.loc[i, "path"] = os.path.relpath(cohort / sheet.loc[i, "path"], tmp_path)
    sheet.to_csv(tmp_path / "remote.tsv", sep="\t", index=False)

    first = stage(tmp_path, server)
    assert first.returncode == 0, first.stdout[-4000:]
    slides, _ = read_sheets(str(tmp_path / "staged/slides.tsv"), str(cohort / "patients.tsv"), ["phantom"])
    assert [slide.slide_id for slide in slides] == list(sheet["slide_id"])
    originals = pd.read_csv(cohort / "slides.tsv", sep="\t")["path"]
    for slide, original in zip(slides, originals, strict=True):
        assert Path(slide.path).read_bytes() == (cohort / original).read_bytes()
    staged = sorted(p.name for p in (tmp_path / "staged").glob("*.svs"))
    assert staged == sorted(f"{sheet.loc[i, 'slide_id']}.svs" for i in (0, 2))
    # no second copy is kept
    assert not list((tmp_path / ".snakemake").rglob("*.svs"))

    assert "Nothing to be done" in stage(tmp_path, server).stdout
    time.sleep(1.1)  # S3 dates objects to the second
    client.put_object(Bucket="bucket", Key=sheet.loc[2, "path"].removeprefix("s3://bucket/"), Body=b"another")
    before = (tmp_path / f"staged/{sheet.loc[0, 'slide_id']}.svs").stat().st_mtime_ns
    assert stage(tmp_path, server).returncode == 0
    assert (tmp_path / f"staged/{sheet.loc[2, 'slide_id']}.svs").read_bytes() == b"another"
    assert (tmp_path / f"staged/{sheet.loc[0, 'slide_id']}.svs").stat().st_mtime_ns == before


def test_an_object_that_is_not_there_is_named_and_no_sheet_is_written(server: str, tmp_path: Path) -> None:
    boto3.client("s3", endpoint_url=server).create_bucket(Bucket="bucket")
    (tmp_path / "remote.tsv").write_text(
        "slide_id\tpatient_id\tcohort\tpath\nS1\tP1\tc\ts3://bucket/none.svs\n"
    )
    result = stage(tmp_path, server)
    assert result.returncode != 0 and "s3://bucket/none.svs" in result.stdout
    assert not (tmp_path / "staged/slides.tsv").exists()
