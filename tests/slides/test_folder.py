"""What a folder of slides is taken for: nothing in it is lost, and no name is a problem."""

from __future__ import annotations

import os
import re
import shutil
import struct
import sys
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
import tifffile
from PIL import Image

from pathduet.core.errors import InputError
from pathduet.slides import dicom_series
from pathduet.slides.batch import run_batch
from pathduet.slides.dicom_series import WHOLE_SLIDE
from pathduet.slides.folder import find_slides
from pathduet.slides.readers.reader import SlideReader
from pathduet.slides.readers.source_choice import PICTURE_SUFFIXES
from pathduet.slides.source import slide_files
from pathduet.slides.stages import run_stage

from .synthetic_slides import slide_row, small_settings, stained_image, write_svs


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def ids(folder: Path) -> dict[str, str]:
    """Return the slides' ids by their files' places in the folder."""
    return {
        row.path.relative_to(folder.resolve()).as_posix(): row.slide_id for row in find_slides(folder).slides
    }


def test_ids_are_file_names_and_a_shared_one_is_nobody_s(tmp_path: Path) -> None:
    alone = {
        "b.svs": "b",
        "c.SVS": "c",
        "-rf.tif": "rf",
        "..d.tif": "d",
        "sub/e.ome.tif": "e.ome",
    }
    touch(tmp_path, *alone, "x y.svs", "a.svs", "a.tif", "A.SVS", "p/x_y.tif", "q/x_y.tif")
    found = ids(tmp_path)
    shared = {name: found[name] for name in ("a.svs", "a.tif", "A.SVS", "x y.svs", "p/x_y.tif", "q/x_y.tif")}
    assert {name: found[name] for name in alone} == alone
    assert len({name.casefold() for name in shared.values()}) == 6 and "x_y" not in shared.values()
    assert all(re.fullmatch(r"(a|A|x_y)-[0-9a-f]{10}", name) for name in shared.values())
    (tmp_path / "a.tif").unlink()
    touch(tmp_path, "f.svs")
    again = ids(tmp_path)
    assert again["a.svs"] == shared["a.svs"] and again["f.svs"] == "f"


@pytest.mark.parametrize(
    "names",
    [
        ("胶质瘤一.svs", "胶质瘤二.svs", "胶质瘤〇.svs"),
        ("опухоль1.svs", "опухоль2.svs", "боль1.svs"),
        ("όγκος.svs", "ὄγκος.svs"),
        ("ورم.svs", "سرطان.svs"),
        ("Fall ä.svs", "Fall ö.svs", "Fall.svs"),
        ("_.svs", "__.svs", "(1).svs"),
        (f"{'x' * 200}1.svs", f"{'x' * 200}2.svs"),
    ],
)
def test_ids_of_any_script_tell_files_apart_and_stay_as_they_are(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    whole = ids(touch(tmp_path / "all", *names))
    schema_pattern = r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}"
    assert len({name.casefold() for name in whole.values()}) == len(names)
    assert all(re.fullmatch(schema_pattern, name) for name in whole.values())
    for i, name in enumerate(names):  # alone, too
        assert ids(touch(tmp_path / str(i), name)) == {name: whole[name]}
    table = find_slides(tmp_path / "all")
    assert {file.file: file.slide_id for file in table.files} == {
        f"all/{name}": whole[name] for name in names
    }


def test_a_name_that_macos_takes_apart_gives_the_same_id(tmp_path: Path) -> None:
    composed, apart = (
        touch(tmp_path / form, unicodedata.normalize(form, "Fall ä.svs")) for form in ("NFC", "NFD")
    )
    assert [*ids(composed).values()] == [*ids(apart).values()]


def test_every_file_of_a_folder_is_a_slide_part_of_one_or_passed_over_with_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    touch(
        folder, "a.svs", "sub/b.svs", "c.czi", "d.qptiff", "e.avs", "f.bmp", "g.vsi", "h.isyntax", "i.svs.gz", "k.jp2",
        "l.svs.partial", "a.svs.md5", "._a.svs", ".DS_Store", "notes.txt", "m.mrxs", "m/Data0000.dat", "m/Slidedat.ini",
        "_g_/stack1/frame_t.ets", "n.zarr/0/0", "2f0c/logs/x.parcel", "2f0c/tcga.svs", "macro.jpg", "v.vms", "v(1,0).jpg",
    )  # fmt: skip
    (folder / "v.vms").write_text(
        "[Virtual Microscope Specimen]\nImageFile=v.jpg\nImageFile(1,0)=V(1,0).jpg\n"
    )
    (folder / "gone.ndpi").symlink_to("nowhere")
    (folder / "round").symlink_to(folder)
    touch(folder / "out", "slides/a/thumbnail.png")
    found = find_slides(folder, folder / "out")
    files = {file.file.removeprefix("in/"): file for file in found.files}
    assert {name for name, file in files.items() if file.slide_id} == {
        "a.svs", "sub/b.svs", "c.czi", "d.qptiff", "e.avs", "m.mrxs", "m", "2f0c/tcga.svs", "v.vms", "v(1,0).jpg", "gone.ndpi",
    }  # fmt: skip
    assert {row.slide_id for row in found.slides} == {"a", "b", "c", "d", "e", "m", "tcga", "v", "gone"}
    assert {name for name, file in files.items() if file.lost} == {
        "g.vsi", "h.isyntax", "i.svs.gz", "k.jp2", "l.svs.partial", "_g_/stack1/frame_t.ets", "n.zarr",
    }  # fmt: skip
    others = {name: file.passed_over for name, file in files.items() if not (file.slide_id or file.lost)}
    assert set(others) == {
        "a.svs.md5", "._a.svs", ".DS_Store", "notes.txt", "2f0c/logs/x.parcel", "macro.jpg", "f.bmp", "round", "out",
    }  # fmt: skip
    assert all(others.values()) and others["out"] == "the results folder"
    said = "\n".join(found.lines())
    assert (
        "Olympus VSI is not readable by any library here" in said
        and "in/g.vsi" in said
        and "in/macro.jpg" in said
    )
    found.write(tmp_path / "files.tsv")
    assert len((tmp_path / "files.tsv").read_text().splitlines()) == 1 + len(files)


def test_pictures_are_slides_where_there_are_no_others(tmp_path: Path) -> None:
    assert set(ids(touch(tmp_path, "a.png", "b.BMP", "c.jpeg")).values()) == {"a", "b", "c"}


def dicom(path: Path, series: str, kind: str = WHOLE_SLIDE, size: int = 0, *, explicit: bool = True) -> None:
    """Write a DICOM file's head, with another series' UID in a sequence before its own, and `size` bytes behind it."""

    def element(group: int, number: int, vr: bytes, value: bytes, explicit: bool = explicit) -> bytes:
        tag, value = struct.pack("<HH", group, number), value + b"\0" * (len(value) % 2)
        length = 0xFFFFFFFF if vr == b"SQ" else len(value)
        if not explicit:
            return tag + struct.pack("<I", length) + value
        return tag + vr + (struct.pack("<2xI", length) if vr == b"SQ" else struct.pack("<H", length)) + value

    item, item_end, end = (
        struct.pack("<HHI", 0xFFFE, n, length)
        for n, length in ((0xE000, 0xFFFFFFFF), (0xE00D, 0), (0xE0DD, 0))
    )
    syntax = b"1.2.840.10008.1.2.4.50" if explicit else b"1.2.840.10008.1.2"
    other = item + element(0x20, 0xE, b"UI", b"9.9.9") + item_end
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\0" * 128 + b"DICM" + element(2, 0x10, b"UI", syntax, True) + element(8, 0x16, b"UI", kind.encode())
        + element(8, 0x1115, b"SQ", other) + end + element(0x20, 0xE, b"UI", series.encode())
        + element(0x28, 0x10, b"US", b"\1\0") + bytes(size)
    )  # fmt: skip


def test_files_of_one_dicom_series_are_one_slide(tmp_path: Path) -> None:
    for i, name in enumerate(("one/000001.dcm", "one/000002.dcm", "one/IM3")):
        dicom(tmp_path / name, "1.2.3", size=10 * i, explicit=i != 1)
    dicom(tmp_path / "flat/a.dcm", "1.2.4")
    dicom(tmp_path / "flat/b.dcm", "1.2.5")
    dicom(tmp_path / "flat/c.dcm", "1.2.5", size=8)
    dicom(tmp_path / "flat/ct.dcm", "1.2.6", kind="1.2.840.10008.5.1.4.1.1.2")
    touch(tmp_path, "flat/broken.dcm")
    found = find_slides(tmp_path)
    assert {row.slide_id: row.path.name for row in found.slides} == {
        "1.2.3": "IM3", "a": "a.dcm", "1.2.5": "c.dcm", "broken": "broken.dcm",
    }  # fmt: skip
    assert [file.file.rpartition("/")[2] for file in found.files if file.slide_id == "1.2.3"] == [
        "000001.dcm",
        "000002.dcm",
        "IM3",
    ]
    assert [file.passed_over for file in found.files if "ct.dcm" in file.file] == [
        "DICOM that is not a whole-slide image"
    ]
    (one,) = find_slides(tmp_path / "flat/b.dcm").slides
    assert (one.slide_id, one.path.name) == ("1.2.5", "c.dcm")


def test_a_folder_of_dicom_slides_is_read_once_and_not_once_a_slide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(12):
        dicom(tmp_path / f"1.2.{i}", f"9.{i // 2}")  # named by a UID, two files a series
    read: list[Path] = []
    plain = dicom_series.read_instance
    monkeypatch.setattr(dicom_series, "read_instance", lambda path: read.append(path) or plain(path))
    found = {name.name: [one.name for one in slide_files(name)] for name in sorted(tmp_path.iterdir())}
    assert found["1.2.0"] == ["1.2.0", "1.2.1"] and found["1.2.9"] == ["1.2.9", "1.2.8"]
    assert len(read) <= 2 * 12


@pytest.mark.parametrize("ending", [".tif", ".tiff", ".btf", ".tf2", ".tf8", ".bmp", ".jpeg"])
def test_whatever_is_looked_for_and_is_no_vendor_s_is_read(tmp_path: Path, ending: str) -> None:
    path, image = tmp_path / f"a{ending}", stained_image(320, 256)
    if ending in PICTURE_SUFFIXES:
        Image.fromarray(image).save(path)
    else:
        with tifffile.TiffWriter(path, bigtiff=ending in (".btf", ".tf8")) as writer:
            for level in (image, image[::2, ::2]):
                writer.write(level, tile=(128, 128), photometric="rgb", compression="jpeg", metadata=None)
    (slide,) = find_slides(tmp_path).slides
    with SlideReader(slide.slide_id, slide.path) as reader:
        assert reader.dimensions == (256, 320)


@pytest.mark.data
def test_openslide_opens_what_the_series_of_two_files_is_named_by(tmp_path: Path, test_data: Path) -> None:
    for i in range(2):
        shutil.copy(test_data / f"slides_awkward/osp_boxes_{i}.dcm", tmp_path)
    (slide,) = find_slides(tmp_path).slides
    with SlideReader(slide.slide_id, slide.path) as reader:
        assert reader.properties["dicom.SeriesInstanceUID"] == slide.slide_id


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes")
def test_names_that_are_not_utf_8_end_neither_a_batch_nor_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_svs(folder / "good.svs", stained_image(512, 640))
    write_svs(folder / os.fsdecode(b"Pr\xe4parat.svs"), stained_image(512, 640))
    (folder / os.fsdecode(b"kaputt_\xe4.svs")).write_bytes(b"II*\0broken")
    (folder / os.fsdecode(b"notes\xff\n.txt")).touch()
    found = find_slides(folder)
    found.write(tmp_path / "files.tsv")
    statuses = run_batch(found.slides, ["tile"], tmp_path / "r", small_settings(), tmp_path / "m.tsv", 1)
    assert {s.slide_id.partition("-")[0]: s.reason for s in statuses} == {
        "good": "", "Pr_parat": "", "kaputt": "unreadable",
    }  # fmt: skip
    manifest, files = (pd.read_csv(tmp_path / name, sep="\t", dtype=str) for name in ("m.tsv", "files.tsv"))
    assert r"kaputt_\udce4.svs" in " ".join(manifest["message"].dropna())
    assert set(files["file"]) == {
        "in/good.svs",
        r"in/Pr\udce4parat.svs",
        r"in/kaputt_\udce4.svs",
        r"in/notes\udcff\n.txt",
    }


def test_what_is_named_like_a_slide_is_in_the_ledger_whatever_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "secret-folder"
    folder.mkdir()
    write_svs(folder / "good.svs", stained_image(512, 640))
    (folder / "gone.svs").symlink_to(folder / "nowhere.svs")
    (folder / "circle.svs").symlink_to(folder / "circle.svs")
    os.mkfifo(folder / "pipe.tif")
    (folder / "empty.tif").touch()
    statuses = {
        row.slide_id: run_stage(row, "tile", tmp_path / "r", small_settings())
        for row in find_slides(folder).slides
    }
    assert {name: status.reason for name, status in statuses.items()} == {
        "good": "", "gone": "unreadable", "circle": "unreadable", "pipe": "unreadable", "empty": "unreadable",
    }  # fmt: skip
    assert not any("secret-folder" in status.message for status in statuses.values())


def test_a_slide_that_may_not_be_read_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_svs(tmp_path / "locked.svs", stained_image(300, 300))

    def refuse(path: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathduet.slides.source.sha256_file", refuse)
    status = run_stage(slide_row(path), "tile", tmp_path / "r", small_settings())
    assert (status.status, status.reason) == ("failed", "unreadable")
    assert status.message.startswith("locked.svs: Permission denied") and str(tmp_path) not in status.message


def test_a_folder_without_slides_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "a.vsi").touch()
    with pytest.raises(
        InputError, match=r"no slides among 2 files; skipped, Olympus VSI.*a\.vsi.*notes\.txt"
    ):
        find_slides(tmp_path)
    with pytest.raises(InputError, match="Olympus VSI"):
        find_slides(tmp_path / "a.vsi")
