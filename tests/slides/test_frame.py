"""Where coordinates on a slide count from: bounds that a file declares, masks drawn in QuPath, and what is not said."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from pathduet.core.errors import InputError, SlideError
from pathduet.slides.given_mask import given_mask
from pathduet.slides.opening import check_slide
from pathduet.slides.readers.frame import LEVEL0, Frame, declared_bounds, frame_of, stated_frame
from pathduet.slides.readers.reader import SlideReader
from pathduet.slides.stages import run_stage
from slides.synthetic_slides import slide_row, small_settings, stained_image, write_scn, write_svs

BOUNDS = {"openslide.bounds-x": "-271", "openslide.bounds-y": "86428"}
SIZE = {"openslide.bounds-width": "84001", "openslide.bounds-height": "119454"}
#: A glass of 1400 x 1200 pixels of which 768 x 640 at (500, 300) are scanned; its tissue is a disc of radius 200 in the middle.
GLASS, PLACE, SCANNED = (1400, 1200), (500, 300), (768, 640)
TILE = 64
#: A rectangle of tissue as QuPath counts, and where it lies on level 0.
DRAWN, ON_LEVEL0 = (256, 192, 512, 448), (756, 492, 1012, 748)


@pytest.mark.parametrize(
    ("properties", "bounds"),
    [
        (BOUNDS | SIZE, (-271, 86428, 84001, 119454)),  # MIRAX: beyond level 0
        (BOUNDS, ()),  # QuPath crops by all four, or not at all
        (BOUNDS | SIZE | {"openslide.bounds-x": "7.5"}, ()),
        ({}, ()),
    ],
)
def test_bounds_are_all_four_and_whole_numbers_or_none(properties: dict[str, str], bounds: tuple[int, ...]):
    assert declared_bounds(properties) == bounds


def test_written_coordinates_are_qupath_s_where_that_is_known():
    bounds = (700, 400, 768, 512)
    assert (
        frame_of(None, "S1", bounds)
        == frame_of("qupath", "S1", bounds)
        == Frame("qupath", 700, 400, (768, 512))
    )
    assert frame_of("level0", "S1", bounds) == frame_of(None, "S1", None) == LEVEL0
    assert frame_of(None, "S1", ()) == Frame("qupath")
    with pytest.raises(InputError, match="slide S1: QuPath's frame is unknown"):
        frame_of("qupath", "S1", None)


def test_a_drawing_counts_as_is_stated_or_as_it_says_and_nothing_is_guessed():
    bounds, size0 = (10, 20, 30, 40), (100, 90)
    qupath = Frame("qupath", 10, 20, (30, 40))
    assert stated_frame("qupath", "", bounds, size0) == stated_frame("", "qupath", bounds, size0) == qupath
    assert stated_frame("level0", "level0", bounds, size0) == LEVEL0
    for there_is_one_corner in ((), (0, 0, *size0), None):
        assert stated_frame("", "", there_is_one_corner, size0) == LEVEL0
    for stated, own, known, said in (
        ("", "", bounds, "does not state its frame.*30 x 40 pixels at .10, 20."),
        ("level0", "qupath", bounds, "frame qupath, but level0 is given"),
        ("", "omero", bounds, "'omero'"),
        ("qupath", "", None, "there is no raw slide to say where that starts"),
    ):
        with pytest.raises(ValueError, match=said):
            stated_frame(stated, own, known, size0)


def rectangle(path: Path, box: tuple[int, ...], **members: object) -> Path:
    left, top, right, bottom = box
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature], **members}))
    return path


@pytest.fixture(scope="module")
def scn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = stained_image(SCANNED[1], SCANNED[0], tissue=(0.5, 0.5, 0.3))
    return write_scn(tmp_path_factory.mktemp("scn") / "a.scn", image, GLASS, PLACE)


def picture(path: Path) -> Path:
    """Write the mask as a picture of what QuPath shows, at an eighth."""
    mask = np.zeros((SCANNED[1] // 8, SCANNED[0] // 8), np.uint8)
    mask[DRAWN[1] // 8 : DRAWN[3] // 8, DRAWN[0] // 8 : DRAWN[2] // 8] = 255
    Image.fromarray(mask).save(path)
    return path


@pytest.mark.slow
def test_tiles_lie_where_a_mask_was_drawn_in_qupath(scn: Path, tmp_path: Path):
    masks = {
        "stated": (rectangle(tmp_path / "m.geojson", DRAWN), "qupath"),
        "said by the file": (rectangle(tmp_path / "own.geojson", DRAWN, pathduet={"frame": "qupath"}), ""),
        "a picture": (picture(tmp_path / "m.png"), "qupath"),
        "level 0": (rectangle(tmp_path / "level0.geojson", ON_LEVEL0), "level0"),
    }
    found = {}
    for name, (mask, frame) in masks.items():
        slide = slide_row(scn, mask=mask, mask_frame=frame)
        assert check_slide(slide, None).reason == ""
        status = run_stage(slide, "tile", tmp_path / "r", small_settings())
        assert status.status == "ok", status.message
        with h5py.File(tmp_path / "r/slides/a/tiles.h5") as file:
            assert file.attrs["bounds"].tolist() == [*PLACE, *SCANNED]
            found[name] = file["20x/coords"][:].tolist()
    assert found["stated"] == found["said by the file"] == found["a picture"] == found["level 0"]
    # level-0 pixels are 0.5 um, so are tiles: whole tiles of the lattice of 64 pixels in the rectangle, most of it at least
    assert min(found["stated"]) == [768, 512] and max(found["stated"]) == [960, 704]


@pytest.mark.slow
def test_a_mask_that_does_not_say_its_frame_or_falls_on_glass_is_refused_with_the_bounds(
    scn: Path, tmp_path: Path
):
    mask = rectangle(tmp_path / "m.geojson", DRAWN)
    slide = slide_row(scn, mask=mask)
    status = run_stage(slide, "tile", tmp_path / "r", small_settings())
    assert (status.status, status.reason) == ("failed", "failed")
    assert "m.geojson: does not state its frame" in status.message
    assert "768 x 640 pixels at (500, 300)" in status.message and "mask_frame" in status.message
    assert check_slide(slide, None).reason == "failed"
    status = run_stage(
        slide_row(scn, mask=mask, mask_frame="level0"), "tile", tmp_path / "r", small_settings()
    )
    assert status.status == "failed" and "% of what it marks is glass" in status.message
    assert "768 x 640 pixels at (500, 300)" in status.message and "mask_frame" in status.message
    plain = write_svs(tmp_path / "b.svs", stained_image(640, 768, tissue=(0.5, 0.5, 0.3)))
    glass = slide_row(plain, mask=rectangle(tmp_path / "g.geojson", (0, 0, 130, 130)))
    status = run_stage(glass, "tile", tmp_path / "r", small_settings())
    assert status.status == "failed" and "100 % of what it marks is glass; correct the mask" in status.message


def test_a_polygon_beside_the_slide_is_refused(tmp_path: Path):
    mask = rectangle(tmp_path / "m.geojson", (900, 100, 1000, 200))
    assert given_mask("a", mask, (1000, 800), (100, 80)).any()
    with pytest.raises(SlideError, match="1 of 1 polygons lie beside the slide's 1000 x 800 pixels"):
        given_mask("a", mask, (1000, 800), (100, 80), "qupath", (500, 0, 300, 800))
    with pytest.raises(SlideError, match="shape"):  # a picture of level 0 is none of what QuPath shows
        Image.new("L", (100, 80), 255).save(tmp_path / "m.png")
        given_mask("a", tmp_path / "m.png", (1000, 800), (100, 80), "qupath", (500, 0, 300, 800))


def test_the_readers_properties_hold_the_bounds(scn: Path):
    with SlideReader("a", scn) as reader:
        assert declared_bounds(reader.properties) == (*PLACE, *SCANNED)
