"""What a folder of slides is taken for: nothing in it is lost, and no name is a problem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pathduet.core.errors import InputError
from pathduet.slides.folder import slides_of
from pathduet.slides.stages import run_stage

from .synthetic_slides import slide_row, small_settings, stained_image, write_svs


def test_ids_are_file_names_and_shared_ones_keep_their_endings(tmp_path: Path) -> None:
    names = (
        "b.svs",
        "a.png",
        "a.tif",
        "x y.svs",
        "x_y.svs",
        "A.SVS",
        "c.SVS",
        "-rf.tif",
        "..d.tif",
        "ü.jpg",
        "_.png",
    )
    for name in (*names, "._b.svs", "notes.txt"):
        (tmp_path / name).touch()
    found = {row.path.name: row.slide_id for row in slides_of(tmp_path)}
    assert found == {
        "b.svs": "b", "a.png": "a.png", "a.tif": "a.tif", "A.SVS": "A.SVS", "c.SVS": "c", "-rf.tif": "rf", "..d.tif": "d",
        "x y.svs": "x_y.svs", "x_y.svs": "x_y.svs-2", "ü.jpg": "slide.jpg", "_.png": "slide.png",
    }  # fmt: skip


def test_long_names_give_ids_that_a_sheet_takes(tmp_path: Path) -> None:
    for end in ("1", "2"):
        (tmp_path / f"{'x' * 200}{end}.svs").touch()
    ids = [row.slide_id for row in slides_of(tmp_path)]
    assert len(set(ids)) == 2 and max(map(len, ids)) <= 120


def test_what_is_named_like_a_slide_is_in_the_ledger_whatever_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "secret-folder"
    folder.mkdir()
    write_svs(folder / "good.svs", stained_image(512, 640))
    (folder / "gone.svs").symlink_to(folder / "nowhere.svs")
    (folder / "circle.svs").symlink_to(folder / "circle.svs")
    (folder / "folder.svs").mkdir()
    os.mkfifo(folder / "pipe.tif")
    (folder / "empty.tif").touch()
    statuses = {
        row.slide_id: run_stage(row, "tile", tmp_path / "r", small_settings()) for row in slides_of(folder)
    }
    assert {name: status.reason for name, status in statuses.items()} == {
        "good": "", "gone": "unreadable", "circle": "unreadable", "folder": "unreadable", "pipe": "unreadable",
        "empty": "unreadable",
    }  # fmt: skip
    assert not any("secret-folder" in status.message for status in statuses.values())


def test_a_slide_that_may_not_be_read_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_svs(tmp_path / "locked.svs", stained_image(300, 300))

    def refuse(path: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathduet.slides.cache_keys.file_identity", refuse)
    status = run_stage(slide_row(path), "tile", tmp_path / "r", small_settings())
    assert (status.status, status.reason) == ("failed", "unreadable")
    assert status.message.startswith("locked.svs: Permission denied") and str(tmp_path) not in status.message


def test_a_folder_without_slides_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="no slides there"):
        slides_of(tmp_path)
