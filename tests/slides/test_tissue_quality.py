"""What users mark, what is out of focus, and colours that no H&E slide has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from pathduet.cohort.sheets import SlideRow, read_slides
from pathduet.core.errors import InputError, SlideError
from pathduet.slides.blur import flaw, sharpness
from pathduet.slides.given_mask import given_mask
from pathduet.slides.readers.pixel_size import PixelSize
from pathduet.slides.settings import StainSettings
from pathduet.slides.stages import run_stage
from pathduet.slides.stain.stain_matrix import stained_pixels, unlike_he
from pathduet.slides.tile_stage import MAX_THUMBNAIL, thumbnail_shape

from .synthetic_slides import slide_row, small_settings, stained_image, write_svs

SQUARE = [[100, 200], [500, 200], [500, 600], [100, 600], [100, 200]]
HOLE = [[200, 300], [300, 300], [300, 400], [200, 400], [200, 300]]
POLYGON = {"type": "Polygon", "coordinates": [SQUARE, HOLE]}
OTHER = {"type": "MultiPolygon", "coordinates": [[[[600, 600], [800, 600], [800, 800]]]]}


def geojson(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "value",
    [
        {
            "type": "FeatureCollection",
            "features": [{"type": "Feature", "geometry": g} for g in (POLYGON, OTHER)],
        },
        {"type": "GeometryCollection", "geometries": [POLYGON, OTHER]},
        [{"type": "Feature", "geometry": POLYGON}, {"type": "Feature", "geometry": OTHER}],
    ],
    ids=["features", "geometries", "QuPath's list"],
)
def test_polygons_with_holes_are_filled_in_level_0_pixels(tmp_path: Path, value: object) -> None:
    mask = given_mask("a", geojson(tmp_path / "a.geojson", value), (1000, 800), (100, 80))
    y, x = np.mgrid[:80, :100] * 10 + 5
    truth = (x > 100) & (x < 500) & (y > 200) & (y < 600) & ~((x > 200) & (x < 300) & (y > 300) & (y < 400))
    truth |= (x > 600) & (x < 800) & (y > 600) & (y - 600 < x - 600) & (y < 800)
    # only pixels that a diagonal edge goes through may differ
    assert (mask != truth).sum() <= 20
    assert np.array_equal(mask[:60, :55], truth[:60, :55])


def test_a_picture_of_the_slide_is_a_mask_at_any_size(tmp_path: Path) -> None:
    picture = Image.new("L", (50, 40))
    ImageDraw.Draw(picture).rectangle((10, 20, 29, 39), fill=7)
    picture.save(tmp_path / "a.png")
    mask = given_mask("a", tmp_path / "a.png", (1000, 800), (100, 80))
    assert mask[40:, 20:60].all() and mask.sum() == 40 * 40


@pytest.mark.parametrize(
    "content",
    [b"not json", b'{"type": "Point", "coordinates": [1, 2]}', b'{"type": "Polygon", "coordinates": [[[1, 2]]]}',
     b'{"type": "Polygon", "coordinates": [[["a", 2], [3, 4], [5, 6]]]}', b"[" * 20_000, b"7"],
)  # fmt: skip
def test_a_mask_that_cannot_be_understood_loses_the_slide_with_a_reason(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a.geojson"
    path.write_bytes(content)
    with pytest.raises(SlideError, match=r"a\.geojson") as error:
        given_mask("a", path, (100, 100), (10, 10))
    assert error.value.reason == "failed" and str(tmp_path) not in str(error.value)


def test_a_picture_of_another_shape_is_no_mask(tmp_path: Path) -> None:
    Image.new("L", (50, 80), 255).save(tmp_path / "a.png")
    with pytest.raises(SlideError, match="shape"):
        given_mask("a", tmp_path / "a.png", (1000, 800), (100, 80))


def test_tiles_lie_where_the_user_says_and_a_changed_mask_is_noticed(tmp_path: Path) -> None:
    slide = write_svs(tmp_path / "a.svs", stained_image(640, 640))
    row = slide_row(slide, mask=geojson(tmp_path / "m.geojson", {"type": "Polygon", "coordinates": [[
        [0, 0], [256, 0], [256, 256], [0, 256]]]}))  # fmt: skip
    status = run_stage(row, "tile", tmp_path / "r", small_settings())
    with h5py.File(tmp_path / "r/slides/a/tiles.h5") as file:
        assert file["20x/grid"][:].max() == 3 and len(file["20x/grid"]) == 16
        assert file["mask"].attrs["source"] == "given:m.geojson"
    assert "m.geojson" in status.notes
    geojson(
        tmp_path / "m.geojson", {"type": "Polygon", "coordinates": [[[0, 0], [400, 0], [400, 400], [0, 400]]]}
    )
    again = run_stage(row, "tile", tmp_path / "r", small_settings())
    assert again.key != status.key and again.counts["n_20x"] > 16
    automatic = run_stage(replace(row, mask=None), "tile", tmp_path / "r", small_settings())
    assert automatic.key not in (status.key, again.key)


def test_the_sheet_takes_masks_relative_to_itself_and_misses_absent_ones(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    (tmp_path / "m.png").touch()
    sheet = tmp_path / "slides.tsv"
    sheet.write_text("slide_id\tpatient_id\tcohort\tpath\tmask\nA\tP\tc\ta.svs\tm.png\nB\tP\tc\ta.svs\t\n")
    first, second = read_slides(sheet)
    assert first.mask == tmp_path / "m.png" and second.mask is None
    assert SlideRow.from_plain(json.loads(json.dumps(first.to_plain()))) == first
    sheet.write_text("slide_id\tpatient_id\tcohort\tpath\tmask\nA\tP\tc\ta.svs\tgone.png\n")
    with pytest.raises(InputError, match=r"gone\.png"):
        read_slides(sheet)


def texture(edge: int, seed: int = 0) -> np.ndarray:
    """Return tissue-like detail at all sizes."""
    rng = np.random.default_rng(seed)
    noise = sum(ndimage.gaussian_filter(rng.normal(size=(edge, edge)), s) * s for s in (0.6, 1.2, 2.4, 5, 10))
    grey = np.clip(150 + 30 * noise / noise.std(), 0, 255)
    return np.repeat(grey[..., None], 3, 2).astype(np.uint8)


@pytest.mark.parametrize("mpp", [0.25, 0.5, 1.0])
def test_blur_is_seen_at_any_pixel_size_and_contrast(mpp: float) -> None:
    sharp = texture(round(224 * 0.5 / mpp) if mpp > 0.5 else 224)
    blurred = ndimage.gaussian_filter(sharp.astype(float), (1.5 / mpp, 1.5 / mpp, 0)).astype(np.uint8)
    faint = (200 + (sharp.astype(float) - 150) / 4).astype(np.uint8)
    assert sharpness(blurred, mpp) < 0.45 < sharpness(sharp, mpp)
    assert sharpness(faint, mpp) == pytest.approx(sharpness(sharp, mpp), rel=0.1)
    assert [flaw(t, mpp, 0.45) for t in (sharp, blurred, faint)] == ["", "blurred", ""]
    assert flaw(blurred, mpp, 0.0) == ""


def test_what_shows_nothing_is_blank_whatever_its_noise() -> None:
    noise = np.random.default_rng(0).integers(236, 242, (224, 224, 3), dtype=np.uint8)
    assert flaw(noise, 0.5, 0.45) == flaw(np.full((64, 64, 3), 255, np.uint8), 1.0, 0.45) == "blank"


@pytest.mark.slow
def test_blurred_tiles_are_left_out_counted_and_noted(tmp_path: Path) -> None:
    image = stained_image(896, 896, tissue=(0.5, 0.5, 2.0)).astype(float)
    image[:, 448:] = ndimage.gaussian_filter(image, (4, 4, 0))[:, 448:]
    path = write_svs(tmp_path / "a.svs", np.rint(image).astype(np.uint8))
    settings = small_settings(tile_px=112, min_sharpness=0.45)
    for stage in ("tile", "stain", "features"):
        status = run_stage(slide_row(path), stage, tmp_path / "r", settings)
    assert status.status == "ok", status.message
    with h5py.File(tmp_path / "r/slides/a/features.h5") as file:
        for name, half in (("10x", 2), ("20x", 4)):
            grid = file[f"{name}/grid"][:]
            assert grid[:, 0].max() < half and len(grid) == half * 2 * half == len(file[f"{name}/features"])
    assert status.counts["rejected_blurred_20x"] == 32 and "40 blurred tiles" in status.notes
    strict = run_stage(
        slide_row(path), "features", tmp_path / "r", small_settings(tile_px=112, min_sharpness=0.99)
    )
    assert strict.reason == "too_few_tiles" and "blurred" in strict.message


@pytest.mark.data
def test_no_tile_of_the_real_slides_is_taken_for_blurred(test_data: Path) -> None:
    from pathduet.slides.readers.pixel_size import pixel_size
    from pathduet.slides.readers.reader import SlideReader

    found = []
    for path in sorted((test_data / "cohort_roi/slides").iterdir()):
        with SlideReader("a", path) as reader:
            size = pixel_size("a", reader.properties, None, None)
            edge = 224 * 0.5 / size.x
            x, y = (d / 2 - edge / 2 for d in reader.dimensions)
            tile = reader.read_region_at(x, y, edge, edge, (224, 224))
        blurred = ndimage.gaussian_filter(tile.astype(float), (3, 3, 0)).astype(np.uint8)
        found.append((flaw(tile, 0.5, 0.45), flaw(blurred, 0.5, 0.45)))
    assert set(found) == {("", "blurred")}


def test_colours_that_haematoxylin_and_eosin_cannot_give_are_noticed(tmp_path: Path) -> None:
    image = stained_image(300, 300)
    assert unlike_he(stained_pixels(image, StainSettings())) < 0.01
    for order in ([1, 0, 2], [1, 2, 0]):  # channels mixed up: green is no longer the most absorbed
        assert unlike_he(stained_pixels(image[..., order], StainSettings())) > 0.05 or order == [1, 0, 2]
    magenta = np.full((50, 50, 3), (255, 60, 250), np.uint8)
    assert unlike_he(stained_pixels(magenta, StainSettings())) == 1.0


@pytest.mark.slow
@pytest.mark.data
def test_a_slide_whose_colours_are_decoded_wrongly_gets_a_note(tmp_path: Path, test_data: Path) -> None:
    for name, noted in (
        ("slides_awkward/demo_jp2k_33003.svs", True),
        ("slides/CMU-1-Small-Region.svs", False),
    ):
        row = slide_row(test_data / name)
        for stage in ("tile", "stain"):
            status = run_stage(row, stage, tmp_path / "r", small_settings(tile_px=224))
        assert ("haematoxylin" in status.notes) == noted


def test_a_thumbnail_is_bounded_and_keeps_its_shape() -> None:
    shape, mpp = thumbnail_shape((4000, 3000), PixelSize(0.5, 0.5, "sheet"), 8.0)
    assert shape == (250, 188) and mpp == 8.0
    (width, height), mpp = thumbnail_shape((200_000, 100_000), PixelSize(0.5, 0.25, "sheet"), 8.0)
    assert (
        mpp > 8 and width * height <= 1.001 * MAX_THUMBNAIL and width / height == pytest.approx(4, rel=1e-3)
    )
