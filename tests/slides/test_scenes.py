"""Files of several pictures: the user says which one, or they are refused with the list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from pathduet.cohort.sheets import SlideRow, read_slides
from pathduet.core.errors import SlideError
from pathduet.slides.cache_keys import stage_keys
from pathduet.slides.opening import check_slide
from pathduet.slides.readers.pixel_size import pixel_size
from pathduet.slides.readers.reader import SlideReader
from pathduet.slides.source import content_of, slide_files
from pathduet.slides.stages import run_stage

from .synthetic_slides import small_settings, stained_image, write_svs
from .vendor_files import Pixels, half, write_scenes

IMAGE = stained_image(640, 960)
A, B = IMAGE, np.ascontiguousarray(IMAGE[:512, :512][::-1])
MACRO = np.full((144, 428, 3), 235, np.uint8)


def refusal(path: Path, scene: str = "") -> str:
    with pytest.raises(SlideError) as error:
        SlideReader("S1", path, scene)
    assert error.value.reason == "unreadable"
    return str(error.value)


@pytest.mark.parametrize(
    ("ome", "second"),
    # of another shape, of the same size, and, where OME-XML says that it is none, of a size that a level might have
    [(True, B), (True, A[::-1]), (True, half(A)), (False, B), (False, A[::-1])],
)
def test_scenes_are_listed_and_each_can_be_chosen(tmp_path: Path, ome: bool, second: Pixels) -> None:
    second = np.ascontiguousarray(second)
    path = write_scenes(tmp_path / "two.tif", {"left": A, "right": second}, ome=ome)
    sizes = [f"{image.shape[1]} x {image.shape[0]} px" for image in (A, second)]
    message = refusal(path)
    assert "2 pictures" in message and all(size in message for size in sizes) and "`scene`" in message
    for i, (name, image) in enumerate((("left", A), ("right", second))):
        for scene in (str(i), name) if ome else (str(i),):
            with SlideReader("S1", path, scene) as reader:
                height, width = image.shape[:2]
                assert reader.level_dimensions == ((width, height), (width // 4, height // 4))
                found = reader.read_region_at(0, 0, width, height, (width, height))
                assert np.array_equal(found, image)
                small = reader.read_region_at(0, 0, width, height, (width // 4, height // 4))
                assert np.array_equal(small, half(half(image)))
                assert pixel_size("S1", reader.properties, None, None).x == pytest.approx(0.5)
    assert "'middle'" in refusal(path, "middle") and sizes[0] in refusal(path, "7")


def test_each_scene_has_its_own_pixel_size(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for size in (0.25, 0.5):
            about = {"axes": "YXS", "Name": f"at {size}", "PhysicalSizeX": size, "PhysicalSizeY": size}
            writer.write(B, photometric="rgb", tile=(128, 128), metadata=about)
    for scene, size in (("at 0.25", 0.25), ("1", 0.5)):
        with SlideReader("S1", path, scene) as reader:
            assert pixel_size("S1", reader.properties, None, None).x == size


@pytest.mark.parametrize("name", ["macro image", "Label", "overview", "Thumbnail"])
def test_a_picture_named_as_a_label_is_no_scene(tmp_path: Path, name: str) -> None:
    with SlideReader("S1", write_scenes(tmp_path / "a.tif", {name: MACRO, "slide": A})) as reader:
        assert reader.dimensions == (960, 640) and not reader.notes


@pytest.mark.parametrize("strips", [(False, True), (True, True), (True, False)])
def test_pages_in_tiles_and_in_strips_are_pictures_alike(tmp_path: Path, strips: tuple[bool, bool]) -> None:
    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as writer:
        for image, in_strips in zip((A, B), strips):
            how: dict = {"rowsperstrip": 16} if in_strips else {"tile": (128, 128)}
            writer.write(image, photometric="rgb", metadata=None, **how)
    assert "2 pictures" in refusal(path)


def test_a_picture_whose_name_only_begins_like_a_label_is_a_scene(tmp_path: Path) -> None:
    for largest, other in ((A, B), (B, A)):
        path = write_scenes(tmp_path / "a.tif", {"label-free tissue": largest, "overview of B": other})
        assert "2 pictures" in refusal(path)


@pytest.mark.parametrize("text", ["macro", "Aperio Image Library v11.2.1\r\nlabel 387x463"])
def test_a_page_described_as_a_label_is_no_scene(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for image, description in ((A, "case 7, label free"), (B, text)):
            writer.write(image, photometric="rgb", rowsperstrip=16, metadata=None, description=description)
    with SlideReader("S1", path) as reader:
        assert reader.level_dimensions == ((960, 640),) and not reader.notes


def test_a_small_picture_without_a_name_is_left_out_with_a_note(tmp_path: Path) -> None:
    with SlideReader("S1", write_scenes(tmp_path / "a.tif", {"": A, " ": MACRO}, ome=False)) as reader:
        assert reader.dimensions == (960, 640)
        assert reader.notes == ["a picture of 428 x 144 px in the file is treated as a label"]


@pytest.mark.parametrize("axes", ["ZYXS", "TYXS", "CYX", "ZYX"])
def test_a_stack_is_refused_with_its_planes(tmp_path: Path, axes: str) -> None:
    planes = np.stack([B, B]) if axes.endswith("S") else np.stack([B[..., 0]] * 4)
    colours = "rgb" if axes.endswith("S") else "minisblack"
    for ome in (True, False):
        path = tmp_path / f"{ome}.tif"
        tifffile.imwrite(path, planes, photometric=colours, ome=ome, metadata={"axes": axes}, tile=(128, 128))
        assert f"{len(planes)} pictures" in refusal(path) and "stack" in refusal(path)


@pytest.mark.parametrize("form", [{"imagej": True}, {"ome": False}])
def test_planes_behind_one_page_are_no_picture(tmp_path: Path, form: dict) -> None:
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path, **form) as writer:
        writer.write(np.stack([B] * 3), photometric="rgb", truncate=True)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
    assert "3 planes in one page" in refusal(path)


def test_a_scene_of_a_file_of_one_picture_is_refused_unless_it_is_that(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", B)
    SlideReader("S1", path, "0").close()
    assert "scene '1'" in refusal(path, "1")


@pytest.mark.slow
def test_the_sheets_scene_reaches_every_stage_and_the_check(tmp_path: Path) -> None:
    write_scenes(tmp_path / "two.tif", {"left": A, "right": B})
    sheet = tmp_path / "slides.tsv"
    rows = [("S0", ""), ("S1", "left"), ("S2", "1")]
    lines = [f"{slide}\tP1\tc\ttwo.tif\t{scene}" for slide, scene in rows]
    sheet.write_text("\n".join(["slide_id\tpatient_id\tcohort\tpath\tscene", *lines]), encoding="utf-8")
    none, left, right = read_slides(sheet)
    assert SlideRow.from_plain(right.to_plain()) == right and "scene" not in none.to_plain()
    identity, settings = content_of(slide_files(left.path)), small_settings()
    keys = {
        stage_keys(replace(left, scene=scene), identity, settings, "tile")["tile"]
        for scene in ("", "left", "1")
    }
    assert len(keys) == 3
    assert [check_slide(row, None).reason for row in (none, left, right)] == ["unreadable", "", ""]
    assert "`scene`" in check_slide(none, None).message and "960 x 640 px" in check_slide(left, None).message
    statuses = [run_stage(row, "tile", tmp_path / "r", settings) for row in (none, left, right)]
    assert [one.reason for one in statuses] == ["unreadable", "", ""] and "left" in statuses[0].message
    assert statuses[1].counts["lattice_20x"] == 15 * 10 and statuses[2].counts["lattice_20x"] == 8 * 8
    assert run_stage(right, "stain", tmp_path / "r", settings).status == "ok"
