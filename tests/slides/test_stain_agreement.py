"""The fast backend against staintools on the same pixels, and against a picture kept in the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pathduet.slides.settings import StainSettings
from pathduet.slides.stain import vahadane
from pathduet.slides.stain.colour_table import normalizer
from pathduet.slides.stain.stain_matrix import (
    WHITE,
    Stains,
    fit_stains,
    stained_pixels,
    target_stains,
    white_table,
)

from .synthetic_slides import stained_image

GOLDEN = Path(__file__).parent / "golden" / "normalised.png"
REAL = (
    "roi_stain_target/torchstain_source.png",
    "roi_glioma/MoNuSeg_TCGA-HT-8564-01Z-00-DX1.tif",
    "roi_glioma/PF_TCGA-26-1442-01Z-00-DX1.FD8D4EB7-AD5E-49E8-BD0B-6CDDEA8DDB35_1.png",
)


def golden_input() -> np.ndarray:
    """Return a picture with tissue of another staining, glass, and every grey."""
    image = stained_image(192, 256, seed=7, tissue=(0.5, 0.5, 0.45)).astype(float)
    image = 243 * (image / 255) ** np.array([0.8, 1.1, 0.9])
    image[:16] = np.arange(256)[None, :, None]
    return np.rint(image).astype(np.uint8)


def normalised(image: np.ndarray, backend: str) -> np.ndarray:
    settings = StainSettings(backend=backend)
    source = fit_stains(stained_pixels(image, settings), settings)
    return normalizer(source, target_stains(settings), backend)(image)


def test_the_golden_picture_comes_out_again() -> None:
    with Image.open(GOLDEN) as picture:
        expected = np.asarray(picture).astype(int)
    found = normalised(golden_input(), "closed_form")
    # the last digit of exp() differs between processors
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.01
    assert np.array_equal(found, normalised(golden_input(), "closed_form"))


def agreement(image: np.ndarray) -> None:
    pytest.importorskip("staintools", reason="staintools is not installed", exc_type=ImportError)
    pytest.importorskip("spams", reason="spams-bin is not installed")
    ours, theirs = (StainSettings(backend=b) for b in ("closed_form", "staintools"))
    pixels = stained_pixels(image, ours)
    a, b = fit_stains(pixels, ours), fit_stains(pixels, theirs)
    cosine = (a.matrix * b.matrix).sum(1) / np.linalg.norm(b.matrix, axis=1)
    assert (np.degrees(np.arccos(np.clip(cosine, -1, 1))) < 1).all()
    # each backend with its own fit, all the way to pixels
    target = target_stains(ours)
    fast = normalizer(a, target, "closed_form")(image).astype(int)
    reference = normalizer(b, target, "staintools")(image).astype(int)
    difference = np.abs(fast - reference)
    assert difference.mean() <= 1 and np.percentile(difference, 99.9) <= 3


@pytest.mark.slow
def test_staintools_itself_is_left_as_it_is() -> None:
    pytest.importorskip("staintools", reason="staintools is not installed", exc_type=ImportError)
    spams = pytest.importorskip("spams", reason="spams-bin is not installed")
    from staintools.stain_extraction import vahadane_stain_extractor

    normalised(golden_input(), "staintools")
    assert vahadane_stain_extractor.spams is spams


def test_pixels_are_staintools_to_a_level_on_a_made_picture() -> None:
    agreement(golden_input())


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_pixels_are_staintools_to_a_level_on_real_tissue(test_data: Path, name: str) -> None:
    with Image.open(test_data / name) as picture:
        agreement(np.asarray(picture.convert("RGB"))[:300, :300])


@pytest.mark.parametrize("white", [WHITE, (250.0, 238.0, 205.0)])
def test_colours_come_out_as_the_closed_form_of_their_step_of_two_levels(
    white: tuple[float, float, float],
) -> None:
    target = target_stains(StainSettings())
    source = Stains(target.matrix[:, [0, 2, 1]], np.array([1.2, 0.9]), 1, white=white)
    ratio = target.max_concentrations / source.max_concentrations

    def closed_form(density_of_value: np.ndarray) -> np.ndarray:
        density = np.take_along_axis(density_of_value, colours.reshape(-1, 3), axis=0)
        amounts = vahadane.concentrations(density, source.matrix)
        return 255 * np.exp(-(amounts * ratio) @ target.matrix).reshape(colours.shape)

    noise = np.random.default_rng(0).integers(0, 256, (60, 200, 3), dtype=np.uint8)
    colours = np.concatenate([noise, golden_input()[:60, :200]])
    exact = vahadane.optical_density(white_table(white))
    below, above = exact[32::2], exact[33::2]
    step = np.where(above > vahadane.MIN_DENSITY, (below + above) / 2, above)  # white stays white
    stepped = np.concatenate([exact[:32], np.repeat(step, 2, axis=0)])
    change = normalizer(source, target)
    found = change(colours)
    assert np.abs(found - closed_form(stepped)).max() < 0.501
    difference = np.abs(found - closed_form(exact))[60:]  # of H&E, one stain raised 2.5 times
    assert difference.mean() < 0.7 and difference.max() < 3
    assert np.array_equal(change(colours[::-1, ::-1]), found[::-1, ::-1])
    assert found.flags.c_contiguous and change(colours[0, 0]).shape == (3,)
