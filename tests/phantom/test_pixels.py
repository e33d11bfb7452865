"""Rendered tissue: stains, cells by region, artefacts."""

from __future__ import annotations

import numpy as np
import pytest

from pathduet.phantom.artefacts import mark_with_pen, spoil_tissue
from pathduet.phantom.layout import (
    CELLULAR,
    GLASS,
    INFILTRATING,
    LEADING_EDGE,
    NECROSIS,
    Extents,
    Layout,
    lay_out,
)
from pathduet.phantom.nuclei import Bank, Canvas, Morphology, scatter
from pathduet.phantom.stain import STAINERS, draw_stain, to_rgb
from pathduet.phantom.textures import BLOCK, textures
from pathduet.phantom.tissue import Histology, render

MORPHOLOGY = Morphology(size_um=7.0, pleomorphism=0.15, chromasia=1.0, roundness=0.3)
HISTOLOGY = Histology(MORPHOLOGY, cellularity=1.0, mitoses=0.004, gemistocytes=0.03, microcysts=0.2)


@pytest.fixture(scope="module")
def layout() -> Layout:
    return lay_out(96, 96, Extents(0.25, 0.25, 0.25, 0.08, 0.17), np.random.default_rng(1))


@pytest.fixture(scope="module")
def concentrations(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    return render(layout, HISTOLOGY, 0.5, textures(1, 0.5), np.random.default_rng(2))


def _region(layout: Layout, label: int) -> np.ndarray:
    return np.kron(layout.labels == label, np.ones((16, 16), dtype=bool))


def test_glass_is_empty_and_tissue_is_not(
    layout: Layout, concentrations: tuple[np.ndarray, np.ndarray]
) -> None:
    haematoxylin, eosin = concentrations
    far = np.kron(layout.edge_um < -60.0, np.ones((16, 16), dtype=bool))
    assert far.any() and not haematoxylin[far].any() and not eosin[far].any()
    tissue = ~_region(layout, GLASS)
    assert (eosin[tissue] > 0.1).mean() > 0.8
    assert haematoxylin.min() >= 0 and eosin.min() >= 0


def test_nuclei_get_denser_from_the_leading_edge_to_the_tumour_and_vanish_in_necrosis(
    layout: Layout, concentrations: tuple[np.ndarray, np.ndarray]
) -> None:
    nuclear = concentrations[0] > 0.4
    share = {k: nuclear[_region(layout, k)].mean() for k in (LEADING_EDGE, INFILTRATING, CELLULAR, NECROSIS)}
    assert 1.4 * share[LEADING_EDGE] < share[INFILTRATING]
    assert 1.4 * share[INFILTRATING] < share[CELLULAR] < 0.5
    assert share[NECROSIS] < 0.5 * share[LEADING_EDGE] + 0.02


@pytest.mark.parametrize("laboratory", sorted(STAINERS))
def test_optical_density_lies_in_the_plane_of_the_recorded_stains(
    laboratory: str, concentrations: tuple[np.ndarray, np.ndarray]
) -> None:
    stain = draw_stain(laboratory, np.random.default_rng(3))
    rgb = to_rgb(*concentrations, stain, textures(1, 0.5), np.random.default_rng(4))
    inside = concentrations[1] > 0.1
    density = -np.log(np.maximum(rgb[inside], 1.0) / stain.glass)
    normal = np.cross(*stain.matrix)
    normal /= np.linalg.norm(normal)
    assert np.sqrt(np.mean(density**2)) > 0.2
    assert np.sqrt(np.mean((density @ normal) ** 2)) < 0.015
    # And the concentrations come back.
    solved = np.linalg.lstsq((stain.matrix * stain.strength[:, None]).T, density.T, rcond=None)[0]
    for found, true in zip(solved, concentrations, strict=True):
        assert np.corrcoef(found, true[inside])[0, 1] > 0.98


def test_stains_are_unit_vectors_and_laboratories_differ_more_than_slides() -> None:
    drawn = {c: [draw_stain(c, np.random.default_rng(i)).matrix for i in range(20)] for c in STAINERS}
    for matrices in drawn.values():
        np.testing.assert_allclose(np.linalg.norm(matrices, axis=2), 1.0)
    means = {c: np.mean(m, axis=0) for c, m in drawn.items()}
    between = np.linalg.norm(means["own"] - means["other"], axis=1)
    within = np.mean([np.linalg.norm(m - means[c], axis=1) for c, ms in drawn.items() for m in ms], axis=0)
    assert (between > 2 * within).all()


def test_textures_are_standardised_and_seamless() -> None:
    grain = textures(1, 0.5).grain
    period = grain.values[: grain.period, : grain.period]
    assert abs(period.mean()) < 1e-3 and period.std() == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_array_equal(
        grain.block(grain.period - 5, 3, BLOCK, BLOCK)[5:], grain.block(0, 3, BLOCK - 5, BLOCK)
    )


def test_scattered_cells_keep_their_density_and_distance() -> None:
    y, x = scatter(500.0, 400.0, 10.0, np.random.default_rng(5))
    assert len(y) == pytest.approx(500 * 400 * 2 / (np.sqrt(3) * 100), rel=0.05)
    assert y.min() >= 0 and y.max() < 500 and x.min() >= 0 and x.max() < 400


def test_a_nucleus_has_the_asked_area_at_any_pixel_size() -> None:
    for mpp in (0.5, 0.25):
        bank = Bank(Morphology(8.0, 0.0, 1.0, 1.0), mpp, np.random.default_rng(6))
        areas = [(s.haematoxylin > 0.3).sum() * mpp**2 for s in bank.kinds["tumor"]]
        assert np.median(areas) == pytest.approx(np.pi * 4.0**2, rel=0.15)


def test_a_cell_over_the_border_is_left_out() -> None:
    bank = Bank(MORPHOLOGY, 0.5, np.random.default_rng(7))
    canvas = Canvas(*np.zeros((2, 64, 64), dtype=np.float32), bank)
    canvas.stamp(bank.pick("tumor"), 0.5, 16)
    assert not canvas.haematoxylin.any()
    canvas.stamp(bank.pick("tumor"), 16, 16)
    assert canvas.haematoxylin[28:36, 28:36].mean() > 0.2


def test_folds_and_blur_change_only_what_they_record() -> None:
    before = np.random.default_rng(8).uniform(0.2, 0.8, (2, 400, 400)).astype(np.float32)
    found = set()
    for seed in range(40):
        haematoxylin, eosin = before.copy()
        done = spoil_tissue(haematoxylin, eosin, 0.5, np.random.default_rng(seed))
        outside = np.ones((400, 400), dtype=bool)
        for artefact in done:
            x, y, width, height = artefact["box_px"]
            outside[y : y + height, x : x + width] = False
        np.testing.assert_array_equal(haematoxylin[outside], before[0][outside])
        np.testing.assert_array_equal(eosin[outside], before[1][outside])
        kinds = {artefact["kind"] for artefact in done}
        if kinds == {"fold"}:
            assert (haematoxylin >= before[0]).all() and (eosin > before[1]).any()
        elif kinds == {"out_of_focus"}:
            assert eosin[~outside].std() < 0.9 * before[1][~outside].std()
        found |= kinds
    assert found == {"fold", "out_of_focus"}


def test_pen_marks_are_rare_and_recorded() -> None:
    marked = 0
    for seed in range(40):
        rgb = np.full((400, 400, 3), 245, dtype=np.uint8)
        done = mark_with_pen(rgb, 0.5, np.random.default_rng(seed))
        assert bool(done) == bool((rgb < 230).any())
        for artefact in done:
            x, y, width, height = artefact["box_px"]
            rgb[y : y + height, x : x + width] = 245
            assert (rgb == 245).all()
        marked += len(done)
    assert 2 <= marked <= 14
