"""The frame in which QuPath shows a slide, on a file that declares bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathduet.slides.readers.frame import LEVEL0, Frame, frame_of, qupath_frame
from slides.synthetic_slides import write_scn, write_svs

BOUNDS = {"openslide.bounds-x": "-271", "openslide.bounds-y": "86428"}
SIZE = {"openslide.bounds-width": "84001", "openslide.bounds-height": "119454"}


def test_a_file_s_bounds_are_qupath_s_frame(tmp_path: Path):
    scn = write_scn(tmp_path / "a.scn", np.full((512, 768, 3), 200, np.uint8), (3000, 2500), (700, 400))
    assert frame_of("qupath", "S1", scn) == Frame("qupath", 700, 400, (768, 512))
    assert frame_of("level0", "S1", scn) == LEVEL0
    plain = write_svs(tmp_path / "b.svs", np.full((512, 512, 3), 200, np.uint8))
    assert frame_of("qupath", "S1", plain) == Frame("qupath")


@pytest.mark.parametrize(
    ("properties", "frame"),
    [
        (BOUNDS | SIZE, Frame("qupath", -271, 86428, (84001, 119454))),  # MIRAX: beyond level 0
        (BOUNDS, Frame("qupath")),  # QuPath crops by all four, or not at all
        (BOUNDS | SIZE | {"openslide.bounds-x": "7.5"}, Frame("qupath")),
        ({}, Frame("qupath")),
    ],
)
def test_qupath_crops_by_all_four_bounds_or_not_at_all(properties: dict[str, str], frame: Frame):
    assert qupath_frame(properties) == frame
