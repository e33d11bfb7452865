from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from pathduet.slides.tile_grid import lattice
from pathduet.slides.tile_stage import keep_tiles
from pathduet.slides.tissue_mask import (
    _smoothed,
    _without_small,
    dilated,
    eroded,
    glass_colour,
    otsu,
    tissue_mask,
)

from .synthetic_slides import stained_image


def test_otsu_equals_trying_every_cut() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.1, 0.03, 700), rng.normal(0.5, 0.1, 300)])

    def within(cut: float) -> float:
        parts = (values[values <= cut], values[values > cut])
        return sum(len(p) * p.var() for p in parts if len(p))

    cuts = np.linspace(values.min(), values.max(), 2000)[1:-1]
    best = min(within(c) for c in cuts)
    assert within(otsu(values)) == pytest.approx(best, rel=0.01)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.6, 0.9, 1.0])
def test_components_are_those_of_scipy(share: float) -> None:
    rng = np.random.default_rng(0)
    for height, width, least in ((1, 1, 1), (1, 50, 2.5), (50, 1, 2), (37, 61, 4), (120, 90, 30)):
        mask = rng.random((height, width)) < share
        labels, _ = ndimage.label(mask)
        expected = (np.bincount(labels.ravel()) >= least)[labels] & mask
        assert np.array_equal(_without_small(mask, least), expected)


def test_a_component_that_winds_through_the_picture_is_one() -> None:
    winding = np.zeros((41, 30), bool)
    winding[::2] = winding[1::4, -1] = winding[3::4, 0] = True
    assert np.array_equal(_without_small(winding, winding.sum()), winding)


def test_otsu_between_two_separate_classes_is_in_the_middle() -> None:
    assert otsu(np.array([0.0] * 90 + [1.0] * 10)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "glass",
    [(255, 255, 255), (243, 243, 245), (235, 232, 226), (225, 222, 208), (250, 238, 205), (215, 225, 245), (180, 160, 130)],
)  # fmt: skip
def test_the_stained_disc_is_found_on_any_glass(glass: tuple[int, int, int]) -> None:
    image = np.rint(stained_image(200, 200) / 255.0 * np.array(glass)).astype(np.uint8)
    y, x = np.mgrid[:200, :200]
    truth = np.hypot(x / 200 - 0.5, y / 200 - 0.5) < 0.4
    found = tissue_mask(image, 8.0).tissue
    assert (found & truth).sum() / (found | truth).sum() > 0.95


@pytest.mark.parametrize("margin", [255, 0])
def test_tinted_glass_is_no_tissue_beside_what_was_never_scanned(margin: int) -> None:
    image = np.rint(stained_image(200, 200) / 255.0 * np.array([240, 228, 205])).astype(np.uint8)
    alone = tissue_mask(image, 8.0).tissue
    image = np.pad(image, ((0, 0), (60, 60), (0, 0)), constant_values=margin)
    assert (tissue_mask(image, 8.0).tissue[:, 60:-60] != alone).mean() < 0.01
    assert tissue_mask(image, 8.0).tissue.sum() < 1.02 * alone.sum()


def test_pale_tissue_that_fills_a_slide_is_not_taken_for_tinted_glass() -> None:
    rng = np.random.default_rng(0)
    image = np.array([225, 205, 222]) + rng.normal(0, 6, (200, 200, 1))
    assert tissue_mask(image.astype(np.uint8), 8.0).tissue.mean() > 0.95


def test_a_slide_full_of_tissue_is_all_tissue() -> None:
    image = stained_image(100, 100, tissue=(0.5, 0.5, 2.0))
    assert tissue_mask(image, 8.0).tissue.mean() > 0.99


@pytest.mark.parametrize(
    "image",
    [
        np.full((100, 100, 3), 255, np.uint8),
        np.full((100, 100, 3), 243, np.uint8),
        np.random.default_rng(0).integers(236, 246, (100, 100, 3), dtype=np.uint8),
        np.repeat(np.random.default_rng(0).integers(0, 256, (100, 100, 1), dtype=np.uint8), 3, 2),
        np.zeros((100, 100, 3), np.uint8),
    ],
    ids=["white", "glass", "noisy glass", "grey noise", "black"],
)
def test_what_has_no_colour_is_no_tissue(image: np.ndarray) -> None:
    assert not tissue_mask(image, 8.0).tissue.any()


def test_specks_are_dropped_and_small_holes_filled() -> None:
    image = np.full((120, 120, 3), 255, np.uint8)
    pink = (220, 140, 190)
    image[20:80, 20:80] = pink
    image[45:50, 45:50] = 255
    image[100:103, 100:103] = pink
    tissue = tissue_mask(image, 8.0).tissue
    assert tissue[22:78, 22:78].all() and not tissue[90:, 90:].any()


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_masks_grow_and_shrink_as_scipys(share: float) -> None:
    mask = np.random.default_rng(0).random((37, 53)) < share
    assert np.array_equal(dilated(mask), ndimage.binary_dilation(mask))
    assert np.array_equal(eroded(np.pad(mask, 1)), ndimage.binary_erosion(mask))


def test_what_could_not_be_read_is_never_tissue() -> None:
    image = stained_image(100, 100, tissue=(0.5, 0.5, 2.0))
    readable = np.ones((100, 100), bool)
    readable[:, 50:] = False
    tissue = tissue_mask(image, 8.0, readable).tissue
    assert tissue[:, :49].all() and not tissue[:, 50:].any()


# the reds and blacks are of public pictures with masks of the pen (HistoQC's), or those of the cases reported
INKS = [
    (30, 110, 60), (20, 120, 130), (30, 60, 170), (40, 80, 200), (30, 20, 65), (245, 220, 40),
    (200, 25, 30), (230, 40, 45), (196, 28, 46), (208, 52, 78), (208, 60, 88), (24, 20, 14), (60, 58, 60), (45, 38, 30),
]  # fmt: skip


@pytest.mark.parametrize("ink", INKS)
def test_pen_on_glass_and_on_tissue_is_pen_and_not_tissue(ink: tuple[int, int, int]) -> None:
    image = stained_image(200, 200)
    image[:, 90:110] = ink
    mask = tissue_mask(image, 8.0)
    assert mask.pen[10:-10, 92:108].all()
    assert not (mask.pen & mask.tissue).any()
    assert mask.pen.mean() < 0.2 and mask.tissue.mean() > 0.3


@pytest.mark.parametrize("ink", [(196, 28, 46), (24, 20, 14), (30, 20, 65), (30, 110, 60)])
def test_ink_that_tissue_shows_through_is_pen(ink: tuple[int, int, int]) -> None:
    image = stained_image(200, 200) * np.ones(3)
    image[:, 80:120] *= np.array(ink) / 255.0
    assert tissue_mask(np.rint(image).astype(np.uint8), 8.0).pen[10:-10, 82:118].all()


def test_strokes_of_a_dry_red_pen_are_found_once_there_is_one_of_full_ink() -> None:
    image = np.full((200, 200, 3), 243, np.uint8)
    pale = np.rint(243 * (np.array([208, 52, 78]) / 243) ** 0.5)
    image[20:40, 20:180], image[150:165, 20:180] = (208, 52, 78), pale
    mask = tissue_mask(image, 8.0)
    assert mask.pen[150:165, 20:180].all() and not mask.tissue.any()
    image[20:40] = 243
    assert tissue_mask(image, 8.0).tissue[152:163, 22:178].all()


@pytest.mark.parametrize(
    "colour",
    [(215, 70, 90), (190, 60, 70), (170, 50, 60), (130, 30, 40), (220, 95, 80), (150, 40, 50),  # blood, clots
     (225, 150, 180), (220, 70, 120), (60, 25, 90), (75, 40, 110),  # necrosis, keratin, dense nuclei
     (170, 110, 50), (75, 45, 35), (50, 33, 28), (40, 36, 36)],  # haemosiderin, melanin, carbon
)  # fmt: skip
def test_blood_pigment_and_dense_nuclei_are_tissue(colour: tuple[int, int, int]) -> None:
    image = stained_image(200, 200, tissue=(0.5, 0.5, 2.0))
    grain = np.exp(np.random.default_rng(0).normal(0, 0.1, (160, 50, 1)))
    image[20:180, 70:120] = np.rint(255 * (np.array(colour) / 255) ** grain)
    mask = tissue_mask(image, 8.0)
    assert not mask.pen.any() and mask.tissue[20:180, 70:120].mean() > 0.95


def test_haematoxylin_and_eosin_are_never_pen() -> None:
    assert not tissue_mask(stained_image(200, 200), 8.0).pen.any()


def test_glass_colour_is_that_of_the_empty_part() -> None:
    image = stained_image(100, 100)
    image = np.rint(image / 255.0 * np.array([243, 240, 246])).astype(np.uint8)
    assert glass_colour(image).tolist() == [243, 240, 246]


@pytest.mark.data
@pytest.mark.parametrize(("name", "least"), [("green", 0.1), ("red", 0.15)])
def test_pen_on_real_slides_is_found(test_data: Path, name: str, least: float) -> None:
    with Image.open(test_data / "slides_awkward" / f"tcga-{name}-pen.png") as picture:
        image = np.asarray(picture.convert("RGB").resize((300, 250)))
    mask = tissue_mask(image, 8.0)
    assert least < mask.pen.mean() < 0.35 and mask.tissue.mean() > 0.5


@pytest.mark.data
def test_no_tile_is_kept_on_the_thin_rim_of_real_red_pen(test_data: Path) -> None:
    with Image.open(test_data / "slides_awkward/tcga-red-pen.png") as picture:
        image = np.asarray(picture.convert("RGB"))
    mask = tissue_mask(image, 8.0)
    height, width = image.shape[:2]
    kept = keep_tiles(lattice((width, height), (8.0, 8.0), 0.5), mask.tissue, mask.pen, (1.0, 1.0), 0.5)
    edge = kept.lattice.width0
    tinted = 0
    for x, y in kept.lattice.origin0(kept.grid).astype(int).tolist():
        tile = image[y : y + int(edge), x : x + int(edge)].astype(int)
        # red ink takes green and blue alike; eosin leaves more blue than green
        tinted += bool(((tile[..., 0] - tile[..., 1] > 25) & (tile[..., 2] - tile[..., 1] < 8)).mean() > 0.5)
    assert len(kept.grid) > 500 and tinted == 0


def test_means_are_bit_for_bit_those_of_scipy() -> None:
    plane = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)
    for part in (plane, plane[:1], plane[:, :2]):
        expected = ndimage.uniform_filter(part.astype(np.float32), 3, mode="nearest")
        assert np.array_equal(_smoothed(part), expected)
