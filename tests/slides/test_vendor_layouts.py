"""Slides in the vendors' layouts, two of each: pixels are OpenSlide's own, at every level, and those that were written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image

from pathduet.slides.readers.pixel_size import pixel_size
from pathduet.slides.readers.reader import SlideReader

from .synthetic_slides import psnr, stained_image
from .vendor_files import (
    Pixels,
    write_dicom,
    write_leica,
    write_mirax,
    write_ndpi,
    write_philips,
    write_scenes,
    write_ventana,
)

#: Two slides of each layout: of other sizes, pixel sizes and tissue.
IMAGES = (stained_image(1280, 1024), stained_image(1024, 1536, 1, (0.4, 0.45, 0.45)))
SIZES = (0.5, 0.25)
LAYOUTS: dict[str, Callable[[Path, Pixels, float], Path]] = {
    "leica": lambda folder, image, mpp: write_leica(
        folder / "a.scn", [image, image[:512, :512]], (2, 2), (f"{10 / mpp:g}",) * 2, round(1000 * mpp)
    ),
    "ventana": lambda folder, image, mpp: write_ventana(folder / "a.bif", image, mpp),
    "hamamatsu": lambda folder, image, mpp: write_ndpi(folder / "a.ndpi", image, mpp),
    "mirax": lambda folder, image, mpp: write_mirax(folder / "a.mrxs", image, mpp),
    "philips": lambda folder, image, mpp: write_philips(folder / "a.tiff", image, mpp),
    "dicom": lambda folder, image, mpp: write_dicom(folder / "d", image, mpp),
}
#: Where the picture begins in level 0: nanometres on a Leica's glass, images of a MIRAX slide.
ORIGIN: dict[str, Callable[[float], tuple[int, int]]] = {
    "leica": lambda mpp: (round(500 / mpp), round(1000 / mpp)),
    "mirax": lambda mpp: (512, 512),
}


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels_of_a_vendors_layout_are_openslides(tmp_path: Path, layout: str, which: int) -> None:
    image, mpp = IMAGES[which], SIZES[which]
    path = LAYOUTS[layout](tmp_path, image, mpp)
    left, top = ORIGIN.get(layout, lambda mpp: (0, 0))(mpp)
    with openslide.OpenSlide(path) as truth, SlideReader("S1", path) as reader:
        assert (reader.library, reader.vendor) == ("openslide", layout)
        assert reader.level_dimensions == truth.level_dimensions
        for level, step in enumerate(reader.level_downsamples[:3]):
            assert reader.best_level(step) == level and step == round(step)
            for x, y in ((0, 0), (256, 320), (576, 448), (700, 800)):
                x0, y0 = left + x // 64 * 64, top + y // 64 * 64
                found = reader.read_region_at(x0, y0, 64 * step, 64 * step, (64, 64))
                own = truth.read_region((x0, y0), level, (64, 64))
                white = Image.new("RGB", own.size, "white")
                white.paste(own, mask=own.getchannel("A"))
                assert np.array_equal(found, np.asarray(white))
                if level == 0:
                    assert psnr(found, image[y0 - top : y0 - top + 64, x0 - left : x0 - left + 64]) > 30
        assert not reader.notes
        size = pixel_size("S1", reader.properties, None, None)
        assert (size.x, size.y) == pytest.approx((mpp, mpp), rel=1e-3) and not size.note


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_scenes_of_an_ome_tiff_are_those_that_were_written(tmp_path: Path, which: int) -> None:
    scenes = {"first": IMAGES[which], "second": np.ascontiguousarray(IMAGES[1 - which][:768, :512])}
    path = write_scenes(tmp_path / "a.ome.tif", scenes, SIZES[which])
    for name, image in scenes.items():
        with SlideReader("S1", path, name) as reader:
            for x, y in ((0, 0), (256, 320), (448, 700)):
                expected = image[y : y + 64, x : x + 64]
                found = reader.read_region_at(x, y, *expected.shape[1::-1], expected.shape[1::-1])
                assert np.array_equal(found, expected)
            assert pixel_size("S1", reader.properties, None, None).x == SIZES[which]
            assert [reader.best_level(step) for step in (1, 4)] == [0, 1] and not reader.notes
