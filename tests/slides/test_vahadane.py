from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.optimize import nnls

from pathduet.core.errors import PathDuetError
from pathduet.slides.settings import StainSettings
from pathduet.slides.stain import vahadane
from pathduet.slides.stain.colour_table import normalizer
from pathduet.slides.stain.stain_matrix import fit_slide, fit_stains, stained_pixels, target_stains

from .synthetic_slides import EOSIN, HAEMATOXYLIN, stained_image

REGIONS = (
    "roi_stain_target/torchstain_source.png",
    "roi_stain_target/tiatoolbox_target_image.png",
    "roi_glioma/MoNuSeg_TCGA-FG-A4MU-01B-01-TS1.tif",
    "roi_glioma/MoNuSeg_TCGA-HT-8564-01Z-00-DX1.tif",
    "roi_glioma/PF_TCGA-26-1442-01Z-00-DX1.FD8D4EB7-AD5E-49E8-BD0B-6CDDEA8DDB35_1.png",
)


def degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((a * b).sum(1), -1, 1)))


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.3))
def test_concentrations_solve_the_non_negative_lasso(seed: int, penalty: float) -> None:
    # |x - aD|^2 / 2 + l sum(a), a >= 0, is a non-negative least-squares problem with Cholesky-transformed data
    rng = np.random.default_rng(seed)
    stains = rng.random((2, 3)) + 1e-3
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    gram = stains @ stains.T
    if np.linalg.det(gram) < 1e-3:
        return
    density = rng.random((20, 3)) * 2
    factor = np.linalg.cholesky(gram)
    expected = [nnls(factor.T, np.linalg.solve(factor, stains @ x - penalty))[0] for x in density]
    assert np.allclose(vahadane.concentrations(density, stains, penalty), expected, atol=1e-9)


def test_the_stains_that_made_an_image_are_found_again() -> None:
    rng = np.random.default_rng(0)
    amounts = np.where(rng.random((20_000, 1)) < 0.5, [[1.0, 0.0]], [[0.0, 1.0]]) * rng.uniform(
        0.5, 2, (20_000, 2)
    )
    density = amounts @ np.stack([HAEMATOXYLIN, EOSIN]) + rng.normal(0, 0.01, (20_000, 3))
    found = vahadane.stain_matrix(np.maximum(density, 1e-6), 0.01)
    assert (degrees(found, np.stack([HAEMATOXYLIN, EOSIN])) < 0.5).all()


def test_rows_have_norm_one_are_not_negative_and_haematoxylin_comes_first() -> None:
    pixels = stained_pixels(stained_image(200, 200), StainSettings())
    matrix = fit_stains(pixels, StainSettings()).matrix
    assert np.allclose(np.linalg.norm(matrix, axis=1), 1) and (matrix >= 0).all()
    assert matrix[0, 0] > matrix[1, 0]


def test_the_fit_does_not_depend_on_the_order_of_pixels() -> None:
    pixels = stained_pixels(stained_image(200, 200), StainSettings())
    shuffled = np.random.default_rng(0).permutation(pixels)
    a, b = (fit_stains(p, StainSettings()).matrix for p in (pixels, shuffled))
    assert np.allclose(a, b, atol=1e-4)
    assert np.array_equal(a, fit_stains(pixels, StainSettings()).matrix)


def test_no_direction_nearby_has_a_lower_objective() -> None:
    pixels = stained_pixels(stained_image(200, 200), StainSettings())
    density = vahadane.optical_density(pixels)
    best = vahadane.stain_matrix(density)
    lowest = vahadane.objective(density, best, 0.1)
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1e-2, 1e-1):
        for _ in range(20):
            other = np.maximum(best + rng.normal(0, scale, (2, 3)), 0)
            other /= np.linalg.norm(other, axis=1, keepdims=True)
            assert vahadane.objective(density, other, 0.1) >= lowest - 1e-9


@pytest.mark.data
@pytest.mark.parametrize("name", REGIONS)
def test_stain_matrix_is_that_of_spams(test_data: Path, name: str) -> None:
    spams = pytest.importorskip("spams", reason="spams-bin is not installed")
    pixels = stained_pixels(picture(test_data / name), StainSettings())
    density = vahadane.optical_density(pixels)
    ours = vahadane.stain_matrix(density)

    def reference(iterations: int) -> np.ndarray:
        found = spams.trainDL(
            X=np.asfortranarray(density.T), K=2, lambda1=0.1, mode=2, modeD=0, posAlpha=True, posD=True,
            verbose=False, iter=iterations, numThreads=1, batchsize=256,
        ).T  # fmt: skip
        found = found[::-1] if found[0, 0] < found[1, 0] else found
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    assert (degrees(ours, reference(3000)) < 0.2).all()
    # with few iterations spams may still be on its way: never below our objective
    for iterations in (300, 3000):
        theirs = vahadane.objective(density, reference(iterations), 0.1)
        assert vahadane.objective(density, ours, 0.1) <= theirs + 1e-9


@pytest.mark.data
def test_concentrations_are_those_of_spams(test_data: Path) -> None:
    spams = pytest.importorskip("spams", reason="spams-bin is not installed")
    rgb = picture(test_data / REGIONS[0]).reshape(-1, 3)
    density = vahadane.optical_density(rgb)
    matrix = vahadane.stain_matrix(density[:20_000])
    theirs = spams.lasso(
        X=np.asfortranarray(density.T), D=np.asfortranarray(matrix.T), mode=2, lambda1=0.01, pos=True
    )
    ours = vahadane.concentrations(density, matrix, 0.01)
    assert np.abs(ours - theirs.toarray().T).max() < 1e-6


@pytest.mark.data
@pytest.mark.slow
def test_the_staintools_backend_gives_the_same_stains_and_pixels(test_data: Path) -> None:
    pytest.importorskip("staintools", reason="staintools is not installed", exc_type=ImportError)
    pytest.importorskip("spams", reason="spams-bin is not installed")
    rgb = picture(test_data / REGIONS[2])
    ours, theirs = (StainSettings(backend=b) for b in ("closed_form", "staintools"))
    pixels = stained_pixels(rgb, ours)
    a, b = fit_stains(pixels, ours), fit_stains(pixels, theirs)
    assert (degrees(a.matrix, b.matrix) < 1).all()
    target = target_stains(ours)
    crop = rgb[:200, :200]
    exact = normalizer(b, target, "closed_form")(crop).astype(int)
    difference = np.abs(exact - normalizer(b, target, "staintools")(crop))
    # the two stains are 9 degrees apart here: a level in makes several out
    assert difference.max() <= 7 and difference.mean() < 1


@pytest.mark.data
def test_lightness_is_that_of_opencv(test_data: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed", exc_type=ImportError)
    rgb = picture(test_data / REGIONS[0])
    theirs = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 0] / 100
    # OpenCV takes its cube roots from a spline
    assert np.abs(vahadane.lightness(rgb) - theirs).max() < 3e-3


@pytest.mark.data
@pytest.mark.slow
def test_the_shipped_target_is_that_of_its_image(test_data: Path) -> None:
    path = test_data / "roi_stain_target" / "tiatoolbox_target_image.png"
    own = target_stains(StainSettings(target=str(path), sample_pixels=1_000_000))
    shipped = target_stains(StainSettings())
    assert np.allclose(own.matrix, shipped.matrix, atol=1e-4)
    assert np.allclose(own.max_concentrations, shipped.max_concentrations, atol=1e-3)


def test_the_shipped_target_refuses_other_settings_than_it_was_derived_with() -> None:
    with pytest.raises(PathDuetError, match="percentile"):
        target_stains(StainSettings(percentile=95))


def test_an_image_without_two_stains_is_no_target(tmp_path: Path) -> None:
    Image.new("RGB", (50, 50), "white").save(tmp_path / "white.png")
    with pytest.raises(PathDuetError, match=r"white\.png"):
        target_stains(StainSettings(target=str(tmp_path / "white.png")))
    with pytest.raises(PathDuetError, match=r"gone\.png"):
        target_stains(StainSettings(target=str(tmp_path / "gone.png")))


def test_white_stays_white_and_every_colour_gives_a_colour() -> None:
    source = fit_stains(stained_pixels(stained_image(200, 200), StainSettings()), StainSettings())
    change = normalizer(source, target_stains(StainSettings()))
    assert (change(np.full((8, 8, 3), 255, np.uint8)) == 255).all()
    cube = np.stack(np.meshgrid(*[np.arange(0, 256, 5, dtype=np.uint8)] * 3), -1)
    result = change(cube)
    assert result.dtype == np.uint8 and result.shape == cube.shape
    # more light in never gives less light out, along the grey diagonal
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    assert (np.diff(change(grey).astype(int), axis=0) >= 0).all()


def test_normalising_a_slide_to_its_own_stains_changes_hardly_anything() -> None:
    image = stained_image(200, 200)
    stains = fit_stains(stained_pixels(image, StainSettings()), StainSettings())
    result = normalizer(stains, stains)(image)
    assert np.abs(result.astype(int) - image).mean() < 3


def test_two_stainings_of_the_same_tissue_become_alike() -> None:
    image = stained_image(300, 300)
    density = vahadane.optical_density(image)
    other = np.rint(255 * np.exp(-density * np.array([0.6, 0.75, 0.9]))).astype(np.uint8)
    target = target_stains(StainSettings())
    results = []
    for version in (image, other):
        stains = fit_stains(stained_pixels(version, StainSettings()), StainSettings())
        results.append(normalizer(stains, target)(version).astype(float))
    before = np.abs(image.astype(float) - other).mean()
    assert np.abs(results[0] - results[1]).mean() < 0.3 * before


def test_the_closed_form_map_is_the_definition() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (500, 3), dtype=np.uint8)
    source = fit_stains(stained_pixels(stained_image(200, 200), StainSettings()), StainSettings())
    target = target_stains(StainSettings())
    amounts = vahadane.concentrations(vahadane.optical_density(rgb), source.matrix)
    amounts *= target.max_concentrations / source.max_concentrations
    difference = np.abs(normalizer(source, target)(rgb) - 255 * np.exp(-(amounts @ target.matrix)))
    assert difference.max() < 2.5 and difference.mean() < 0.5  # 0.25 by rounding


def test_a_slide_of_one_stain_takes_the_targets_directions_and_says_so() -> None:
    rng = np.random.default_rng(0)
    amount = rng.uniform(0.5, 1.5, (5000, 1))
    pixels = np.rint(255 * np.exp(-amount * HAEMATOXYLIN)).astype(np.uint8)
    target = target_stains(StainSettings())
    with pytest.raises(vahadane.StainError, match="one stain"):
        fit_stains(pixels, StainSettings())
    found = fit_slide(pixels, StainSettings(), target)
    assert np.array_equal(found.matrix, target.matrix) and "one stain" in found.note
    assert np.isfinite(found.max_concentrations).all() and (found.max_concentrations > 0).all()


def test_a_slide_without_dark_pixels_is_still_mapped() -> None:
    target = target_stains(StainSettings())
    found = fit_slide(np.zeros((0, 3), np.uint8), StainSettings(), target)
    image = stained_image(50, 50)
    assert "0 tissue pixels" in found.note
    assert normalizer(found, target)(image).shape == image.shape
