"""Levels of a pyramid: how much they are reduced, and whether they show what level 0 shows."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFilter

from pathduet.slides.readers.pyramid_levels import reduction
from pathduet.slides.readers.reader import SlideReader
from pathduet.slides.stages import run_stage

from .synthetic_slides import psnr, slide_row, small_settings, spoil_tiles, stained_image, write_svs
from .vendor_files import Pixels, half, write_dicom, write_philips

IMAGE = stained_image(1408, 1024)  # 1408 is no whole number of tiles


@pytest.mark.parametrize(
    ("size0", "size", "tile", "expected"),
    [
        ((5999, 1999), (1499, 499), None, 4),
        ((5999, 1999), (1500, 500), (256, 256), 4),
        ((2048, 2816), (1024, 1536), (256, 256), 2),  # Philips DICOM
        ((3584, 3584), (2048, 2048), (512, 512), 2),  # 1.75 divided
        ((2048, 2816), (1024, 1536), None, 0),
        ((2048, 2816), (1024, 1500), (256, 256), 0),
        ((100_000, 80_000), (512, 512), (512, 512), 256),
        ((1300, 1200), (900, 800), (256, 256), 0),  # another picture
        ((512, 512), (512, 512), (256, 256), 1),
    ],
)
def test_sizes_tell_by_how_much_a_level_is_reduced(
    size0: tuple[int, int], size: tuple[int, int], tile: tuple[int, int] | None, expected: int
) -> None:
    assert reduction(size0, size, tile) == expected


def _padded(folder: Path, layout: str) -> Path:
    if layout == "dicom":
        return write_dicom(folder / "d", IMAGE, padded=True)
    image = IMAGE[:1280, :1000] if layout == "philips" else stained_image(896, 896)
    return write_philips(folder / "a.tif", image, described=layout == "philips, described")


@pytest.mark.parametrize("layout", ["dicom", "philips", "philips, square", "philips, described"])
def test_levels_that_are_padded_show_the_tissue_where_it_is(tmp_path: Path, layout: str) -> None:
    with SlideReader("S1", _padded(tmp_path, layout)) as reader:
        assert reader.level_downsamples == (1.0, 2.0, 4.0)
        for level in (1, 2):
            assert reader.best_level(2.0**level) == level
            step = 2**level
            for x, y in ((0, 0), (384, 512), (640, 640)):
                box = (x, y, 64 * step, 64 * step)
                coarse = reader.read_region_at(*box, (64, 64))
                fine = reader.read_region_at(*box, (64 * step, 64 * step))
                assert psnr(coarse, np.asarray(Image.fromarray(fine).reduce(step))) > 25
        assert not reader.notes


def _jpeg(image: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _scaled(image: Pixels, by: float) -> Pixels:
    """Return a level of the right size whose picture is a little too large: as if its size had been padded."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    size = round(width * by), round(height * by)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))[:height, :width]


def _cut(level: Pixels, rows: int) -> Pixels:
    return np.concatenate([level[:rows], np.zeros_like(level[rows:])])


SOUND: dict[str, Callable[[Pixels], Pixels]] = {
    "mean": half,
    "every second pixel": lambda image: image[1::2, 1::2],
    "Lanczos": lambda image: np.asarray(
        Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2), Image.Resampling.LANCZOS)
    ),
    "JPEG 30": lambda image: _jpeg(half(image), 30),
    "blurred": lambda image: np.asarray(Image.fromarray(half(image)).filter(ImageFilter.GaussianBlur(1.5))),
    "sharpened": lambda image: np.asarray(
        Image.fromarray(half(image)).filter(ImageFilter.UnsharpMask(1, 100, 0))
    ),
    "noisy": lambda image: np.clip(
        half(image) + np.random.default_rng(0).normal(0, 8, half(image).shape), 0, 255
    ).astype(np.uint8),
}
WRONG: dict[str, Callable[[Pixels], Pixels]] = {
    "a pixel beside": lambda image: np.roll(half(image), 1, 1),
    "4 % too large": lambda image: _scaled(image, 1.04),
    "1 % too large": lambda image: _scaled(image, 1.01),
    "mirrored": lambda image: half(image)[:, ::-1],
    "another piece": lambda image: np.roll(half(image), 200, 0),
    "red and blue exchanged": lambda image: half(image)[..., ::-1],
    "never written": lambda image: np.full_like(half(image), 255),
    "its last tiles never written": lambda image: _cut(half(image), 512),
}


def _write(path: Path, image: Pixels, level: Pixels) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for pixels in (image, level):
            writer.write(
                np.ascontiguousarray(pixels), tile=(256, 256), photometric="rgb", subfiletype=int(pixels is level),
                metadata=None, resolution=(20_000, 20_000), resolutionunit="CENTIMETER",
            )  # fmt: skip
    return path


@pytest.mark.slow
@pytest.mark.parametrize("how", SOUND)
def test_levels_however_they_were_made_are_used(tmp_path: Path, how: str) -> None:
    with SlideReader("S1", _write(tmp_path / "a.tif", IMAGE, SOUND[how](IMAGE))) as reader:
        assert reader.best_level(2.0) == 1 and not reader.notes


@pytest.mark.parametrize("how", WRONG)
def test_a_level_that_shows_something_else_is_not_used_and_noted(tmp_path: Path, how: str) -> None:
    with SlideReader("S1", _write(tmp_path / "a.tif", IMAGE, WRONG[how](IMAGE))) as reader:
        assert len(reader.level_dimensions) == 2 and reader.best_level(2.0) == 0
        assert reader.notes == ["level 1 (512 x 704 px) differs from level 0: a finer one is read"]
        region = reader.read_region_at(0, 0, 1024, 1408, (512, 704))
    assert np.array_equal(region, half(IMAGE))


def test_levels_without_anything_to_compare_are_used(tmp_path: Path) -> None:
    blank = np.full((512, 512, 3), 240, np.uint8)
    with SlideReader("S1", _write(tmp_path / "a.tif", blank, half(blank))) as reader:
        assert reader.best_level(2.0) == 1


def test_damaged_tiles_do_not_decide_about_a_level(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", IMAGE, factors=(2,), compression="jpeg", tile=128)
    spoil_tiles(path, *range(0, 88, 3))
    with SlideReader("S1", path) as reader:
        assert reader.best_level(2.0) == 1 and not reader.notes


@pytest.mark.slow
def test_the_ledger_says_which_level_was_not_used(tmp_path: Path) -> None:
    settings = small_settings(mpp_20x=0.5, mpp_10x=1.0)
    statuses = {}
    for how, level in (("sound", half(IMAGE)), ("wrong", WRONG["4 % too large"](IMAGE))):
        path = _write(tmp_path / f"{how}.tif", IMAGE, level)
        statuses[how] = [
            run_stage(slide_row(path), stage, tmp_path / "r", settings) for stage in ("tile", "stain")
        ]
    assert [one.status for found in statuses.values() for one in found] == ["ok"] * 4
    assert not any("level" in one.notes for one in statuses["sound"])
    assert all(one.notes.count("level 1 (512 x 704 px) differs from") == 1 for one in statuses["wrong"])
    assert statuses["wrong"][0].counts["n_10x"] == statuses["sound"][0].counts["n_10x"]
