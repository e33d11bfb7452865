"""Which slides of a sheet are brought here, under which names, and what the new sheet says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pathduet.cohort.sheets import read_slide_rows, read_slides
from pathduet.core.errors import InputError
from pathduet.importers.download.remote_slides import objects_to_stage, write_staged_sheet

HEADER = "slide_id\tpatient_id\tcohort\tpath\tmpp\texclude\tmask\n"


def sheet(folder: Path, *rows: str) -> Path:
    path = folder / "remote.tsv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def test_the_new_sheet_reads_as_any_other(tmp_path: Path) -> None:
    for name in ("local.svs", "marks.geojson"):
        (tmp_path / name).touch()
    path = sheet(
        tmp_path,
        "S1\tP1\tc\ts3://bucket/deep/A.SVS\t0.5\t\tmarks.geojson",
        "S2\tP2\tc\tlocal.svs\t\t\t",
        "S3\tP3\tc\ts3://bucket/gone.svs\t\tlost\t",
    )
    rows = read_slide_rows(path)
    names = objects_to_stage(rows)
    assert names == {"S1.svs": "s3://bucket/deep/A.SVS"}
    out = tmp_path / "elsewhere/staged"
    out.mkdir(parents=True)
    (out / "S1.svs").touch()
    write_staged_sheet(rows, tmp_path, names, out / "slides.tsv")
    first, second, third = read_slides(out / "slides.tsv")
    assert first.path == out / "S1.svs" and first.mpp == 0.5 and first.mask == tmp_path / "marks.geojson"
    assert second.path == tmp_path / "local.svs" and third.exclude == "lost"


@pytest.mark.parametrize("slide_id", ["../../etc/evil", "a/b", ".hidden", "-rf"])
def test_an_id_never_becomes_a_path_unchecked(tmp_path: Path, slide_id: str) -> None:
    with pytest.raises(InputError, match="slide_id"):
        read_slide_rows(sheet(tmp_path, f"{slide_id}\tP1\tc\ts3://bucket/a.svs\t\t\t"))


def test_what_cannot_be_staged_is_named(tmp_path: Path) -> None:
    path = sheet(
        tmp_path, "S1\tP1\tc\ts3://bucket/a.mrxs\t\t\t", "S2\tP1\tc\ts3://bucket/b.svs\t\t\ts3://bucket/b.png"
    )
    with pytest.raises(InputError) as caught:
        objects_to_stage(read_slide_rows(path))
    assert [problem.where for problem in caught.value.problems] == ["slide S1, path", "slide S2, mask"]
