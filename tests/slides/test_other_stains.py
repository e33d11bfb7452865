"""Slides that are not H&E, faint ones, and ones on tinted glass: what is noted, refused, and taken as white."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pathduet.slides.settings import SlideSettings, StainSettings
from pathduet.slides.stages import run_stage
from pathduet.slides.stain.colour_table import normalizer
from pathduet.slides.stain.stain_matrix import (
    WHITE,
    faint_stain,
    fit_slide,
    other_stain,
    stained_pixels,
    target_stains,
    white_point,
    white_table,
)

from .synthetic_slides import EOSIN, HAEMATOXYLIN, slide_row, small_settings, stained_image, write_svs

SETTINGS = StainSettings()
TARGET = target_stains(SETTINGS)
# Ruifrok & Johnston's, and measured ones, as red : green : blue
DYES = {
    "DAB": (0.27, 0.57, 0.78),
    "AEC": (0.27, 0.68, 0.68),
    "LFB": (0.80, 0.55, 0.22),
    "PAS": (0.18, 0.97, 0.15),
}


def dyed(image: np.ndarray, dye: tuple[float, ...], share: float = 1.0) -> np.ndarray:
    """Return an H&E picture with another dye in place of (a share of) its eosin."""
    amounts = np.maximum(-np.log(np.maximum(image, 1) / 255) @ np.linalg.pinv([HAEMATOXYLIN, EOSIN]), 0)
    cut = round((1 - share) * image.shape[1])
    amounts[:, :cut, 1] = 0
    light = np.exp(-amounts @ np.array([HAEMATOXYLIN, np.array(dye) / np.linalg.norm(dye)]))
    return np.rint(255 * light).astype(np.uint8)


def verdict(image: np.ndarray) -> str:
    pixels = stained_pixels(image, SETTINGS)
    return other_stain(pixels, fit_slide(pixels, SETTINGS, TARGET))


@pytest.mark.parametrize("dye", DYES)
def test_another_dye_than_eosin_is_noted(dye: str) -> None:
    image = stained_image(200, 200)
    assert verdict(image) == ""
    assert "another stain" in verdict(dyed(image, DYES[dye]))


def test_a_red_chromogen_is_noted_though_its_vector_comes_first() -> None:
    # blended with haematoxylin's, AEC's vector can be the one that absorbs more red
    rng = np.random.default_rng(0)
    amounts = rng.uniform(0.3, 1.5, (5000, 2)) * (rng.random((5000, 2)) < 0.6)
    density = amounts @ np.array([(0.63, 0.83, 0.59), (0.51, 0.81, 0.27)])
    pixels = stained_pixels(np.rint(255 * np.exp(-density)).astype(np.uint8), SETTINGS)
    assert "another stain" in other_stain(pixels, fit_slide(pixels, SETTINGS, TARGET))


def test_a_little_dab_beside_haematoxylin_is_noted_and_haematoxylin_alone_is() -> None:
    image = stained_image(200, 200, tissue=(0.5, 0.5, 2.0))
    assert "DAB" in verdict(dyed(image, DYES["DAB"], share=0.2))
    alone = -np.log(np.maximum(image, 1) / 255)[..., :1] * np.array([0.65, 0.68, 0.30]) / 0.65
    pixels = stained_pixels(np.rint(255 * np.exp(-alone)).astype(np.uint8), SETTINGS)
    fitted = fit_slide(pixels, SETTINGS, TARGET)
    assert "one stain" in fitted.note and "another stain" in other_stain(pixels, fitted)


@pytest.mark.data
@pytest.mark.slow
def test_no_real_region_is_taken_for_another_stain_but_one_of_an_old_camera(test_data: Path) -> None:
    noted = set()
    for path in sorted(
        p for folder in ("roi_glioma", "roi_stain_target") for p in (test_data / folder).iterdir()
    ):
        with Image.open(path) as picture:
            if verdict(np.asarray(picture.convert("RGB"))[:600, :600]):
                noted.add(path.name)
    assert noted == {"torchstain_source.png"}


@pytest.mark.slow
def test_a_slide_of_another_stain_is_noted_or_refused(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", dyed(stained_image(512, 512), DYES["DAB"]))
    settings = small_settings()
    assert run_stage(slide_row(path), "tile", tmp_path / "r", settings).status == "ok"
    noted = run_stage(slide_row(path), "stain", tmp_path / "r", settings)
    assert noted.status == "ok" and "another stain" in noted.notes
    strict = replace(settings, stain=StainSettings(other_stains="refuse"))
    refused = run_stage(slide_row(path), "stain", tmp_path / "r", strict)
    assert (refused.status, refused.reason) == (
        "failed",
        "other_stain",
    ) and "another stain" in refused.message
    assert not (tmp_path / "r/slides/a/stain.json").exists()
    plain = write_svs(tmp_path / "b.svs", stained_image(512, 512))
    for stage in ("tile", "stain"):
        assert run_stage(slide_row(plain), stage, tmp_path / "r", strict).status == "ok"


def test_faint_stain_is_noted() -> None:
    image = stained_image(200, 200, tissue=(0.5, 0.5, 2.0))
    for strength, noted in ((1.0, False), (0.15, True)):
        pale = np.rint(255 * (image / 255.0) ** strength).astype(np.uint8).reshape(-1, 3)
        fitted = fit_slide(stained_pixels(pale, SETTINGS), SETTINGS, TARGET)
        assert ("faint" in faint_stain(pale, fitted, TARGET)) == noted


def test_one_stain_that_is_raised_much_is_noted() -> None:
    few = replace(TARGET, max_concentrations=TARGET.max_concentrations * (1.0, 0.2))
    tissue = np.full((100, 3), 100, np.uint8)
    assert "eosin is amplified 5.0 times" in faint_stain(tissue, few, TARGET)


def test_plain_glass_counts_as_255_and_tinted_or_dim_glass_as_white() -> None:
    assert white_point((243.0, 240.0, 246.0)) == WHITE
    for glass in ((225.0, 222.0, 200.0), (250.0, 238.0, 205.0), (190.0, 190.0, 190.0)):
        assert white_point(glass) == glass
        assert white_table(glass)[np.rint(glass).astype(int), range(3)].tolist() == [255, 255, 255]
    assert (white_table(WHITE) == np.arange(256)[:, None]).all()


@pytest.mark.parametrize("glass", [(225, 222, 200), (250, 238, 205), (210, 225, 245)])
def test_tissue_on_tinted_glass_is_normalised_as_on_white(glass: tuple[int, int, int]) -> None:
    image = stained_image(200, 200)
    tinted = np.rint(image / 255.0 * np.array(glass)).astype(np.uint8)
    white = tuple(float(v) for v in glass)
    results = []
    for picture, point in ((image, WHITE), (tinted, white)):
        balanced = np.take_along_axis(white_table(point), picture.reshape(-1, 3), axis=0)
        stains = replace(fit_slide(stained_pixels(balanced, SETTINGS), SETTINGS, TARGET), white=point)
        change = normalizer(stains, TARGET)
        results.append(change(picture).astype(int))
    assert (results[1][:20, :20] == 255).all()
    assert np.abs(results[0] - results[1]).mean() < 1.0


@pytest.mark.slow
def test_a_slide_on_tinted_glass_keeps_its_tiles_and_says_so(tmp_path: Path) -> None:
    counts = []
    for name, glass in (("plain", (255, 255, 255)), ("tinted", (225, 218, 190))):
        image = np.rint(stained_image(512, 512) / 255.0 * np.array(glass)).astype(np.uint8)
        row = slide_row(write_svs(tmp_path / f"{name}.svs", image))
        for stage in ("tile", "stain"):
            status = run_stage(row, stage, tmp_path / "r", small_settings())
        counts.append(status.counts["n_20x"])
        assert ("tinted glass (225, 218, 190)" in status.notes) == (name == "tinted")
        assert "faint" not in status.notes and "another stain" not in status.notes
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_blank_glass_takes_no_place_among_the_tiles_that_are_encoded(tmp_path: Path) -> None:
    # all of it is marked as tissue; the left three quarters are glass
    image = stained_image(512, 512, tissue=(0.5, 0.5, 2.0))
    image[:, :384] = np.random.default_rng(0).integers(240, 244, (512, 384, 1), dtype=np.uint8)
    Image.new("L", (64, 64), 255).save(tmp_path / "mask.png")
    row = slide_row(write_svs(tmp_path / "a.svs", image), mask=tmp_path / "mask.png")
    settings: SlideSettings = small_settings(max_tiles=12, min_sharpness=0.1)
    for stage in ("tile", "stain", "features"):
        status = run_stage(row, stage, tmp_path / "r", settings)
    assert status.status == "ok", status.message
    assert status.counts["n_20x"] == 12 and status.counts["n_10x"] == 4
    counted = ("n_10x", "n_20x", "rejected_blank_10x", "rejected_blank_20x", "tiles_left_out")
    assert sum(status.counts[name] for name in counted) == 64 + 16


@pytest.mark.slow
def test_more_pen_than_tissue_is_noted_for_a_blue_or_green_stain_looks_like_pen(tmp_path: Path) -> None:
    image = stained_image(1024, 1024, tissue=(0.5, 0.5, 2.0)).astype(float)
    for share, noted in ((0.0, False), (0.6, True)):
        blue = image.copy()
        blue[:, : round(share * 1024)] = blue[:, : round(share * 1024), ::-1] * (0.5, 1.0, 1.0)
        row = slide_row(write_svs(tmp_path / f"{noted}.svs", np.rint(blue).astype(np.uint8)))
        status = run_stage(row, "tile", tmp_path / "r", small_settings())
        assert status.status == "ok" and ("rejected as pen" in status.notes) == noted
