"""Region maps: their shares follow the programmes, their arrangement follows anatomy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from pathduet.phantom.layout import (
    CELLULAR,
    GLASS,
    INFILTRATING,
    LEADING_EDGE,
    NECROSIS,
    PSEUDOPALISADING,
    Extents,
    extents,
    lay_out,
    shares,
)

EXTENT = Extents(leading_edge=0.2, infiltrating=0.25, cellular=0.3, microvascular=0.1, necrosis=0.15)


def test_shares_follow_their_own_programme_only() -> None:
    rng = np.random.default_rng(0)
    tumor, tme = rng.standard_normal((2, 300))
    drawn = [
        extents({"cells": a, "necrosis": b, "vessels": b, "edge": b}, rng)
        for a, b in zip(tumor, tme, strict=True)
    ]
    assert all(
        sum((e.leading_edge, e.infiltrating, e.cellular, e.microvascular, e.necrosis)) == pytest.approx(1.0)
        for e in drawn
    )
    ratio = [e.cellular / e.infiltrating for e in drawn]
    for value, own, other, sign in (
        (ratio, tumor, tme, 1),
        ([e.necrosis for e in drawn], tme, tumor, 1),
        ([e.microvascular for e in drawn], tme, tumor, 1),
        ([e.leading_edge for e in drawn], tme, tumor, -1),
    ):
        assert sign * stats.spearmanr(value, own).statistic > 0.9
        assert abs(stats.spearmanr(value, other).statistic) < 0.2


@pytest.mark.parametrize("seed", range(4))
def test_the_map_realises_the_shares(seed: int) -> None:
    layout = lay_out(224, 224, EXTENT, np.random.default_rng(seed))
    found = shares(layout.labels)
    cellular = found["cellular_tumor"] + found["pseudopalisading_cells"]
    assert cellular == pytest.approx(EXTENT.cellular, abs=0.02)
    assert found["leading_edge"] == pytest.approx(EXTENT.leading_edge, abs=0.02)
    assert found["infiltrating_tumor"] == pytest.approx(EXTENT.infiltrating, abs=0.02)
    assert found["microvascular_proliferation"] == pytest.approx(EXTENT.microvascular, abs=0.02)
    assert found["necrosis"] == pytest.approx(EXTENT.necrosis, abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_tissue_fills_about_half_of_the_slide_and_never_its_border(seed: int) -> None:
    labels = lay_out(224, 224, EXTENT, np.random.default_rng(seed)).labels
    assert 0.42 < (labels != GLASS).mean() < 0.68
    assert (np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]) == GLASS).all()


def test_palisades_line_necrosis_and_the_leading_edge_lies_outside() -> None:
    layout = lay_out(224, 224, EXTENT, np.random.default_rng(1))
    distance = 8.0 * ndimage.distance_transform_edt(layout.labels != NECROSIS)
    assert distance[layout.labels == PSEUDOPALISADING].max() <= 48.0
    assert distance[layout.labels == CELLULAR].min() > 48.0
    edge = [np.median(layout.edge_um[layout.labels == k]) for k in (LEADING_EDGE, INFILTRATING, CELLULAR)]
    assert edge[0] < edge[1] < edge[2]


def test_edge_distance_is_positive_exactly_on_tissue() -> None:
    layout = lay_out(128, 160, EXTENT, np.random.default_rng(2))
    np.testing.assert_array_equal(layout.edge_um > 0, layout.labels != GLASS)


def test_a_slide_without_necrosis_can_be_laid_out() -> None:
    none = Extents(0.3, 0.4, 0.3, 0.0, 0.0)
    layout = lay_out(128, 128, none, np.random.default_rng(3))
    assert not np.isin(layout.labels, (NECROSIS, PSEUDOPALISADING)).any()
