from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathduet.core.errors import SlideError
from pathduet.slides.readers.reader import RegionError, SlideReader
from pathduet.slides.tile_grid import lattice

from .synthetic_slides import WaveScene, psnr, spoil_tiles, stained_image, write_svs


@pytest.mark.parametrize("mpp", [0.4991, 0.2527, 0.25, 0.4673, 0.5])
@pytest.mark.parametrize("target", [0.5, 1.0])
def test_tiles_show_the_scene_where_it_is_at_odd_pixel_sizes(
    tmp_path: Path, mpp: float, target: float
) -> None:
    scene, tile_px = WaveScene(highest=0.35 * 0.5 / target), 64
    edge = int(3.2 * tile_px * target / mpp)
    path = write_svs(tmp_path / "scene.svs", scene.pixels((mpp, mpp), 0, 0, edge, edge), mpp)
    grid = lattice((edge, edge), (mpp, mpp), target, tile_px)
    corner = grid.origin0(np.array([[2, 1]]))[0]
    with SlideReader("scene", path) as reader:
        tile = reader.read_region_at(*corner, grid.width0, grid.height0, (tile_px, tile_px))
    truth = scene.pixels((target, target), 2 * tile_px * target, tile_px * target, tile_px, tile_px)
    assert psnr(tile, truth) > 40
    # and at no other place: a shift by half a pixel is clearly worse
    for dx, dy in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)):
        moved = scene.pixels(
            (target, target), (2 * tile_px + dx) * target, (tile_px + dy) * target, tile_px, tile_px
        )
        assert psnr(tile, moved) < psnr(tile, truth) - 8


def test_40x_and_20x_scans_of_a_scene_give_the_same_tile(tmp_path: Path) -> None:
    scene = WaveScene(1)
    tiles = []
    for mpp, edge in ((0.25, 400), (0.5, 200)):
        path = write_svs(tmp_path / f"{edge}.svs", scene.pixels((mpp, mpp), 0, 0, edge, edge), mpp)
        with SlideReader("scene", path) as reader:
            tiles.append(reader.read_region_at(32 / mpp, 16 / mpp, 32 / mpp, 32 / mpp, (64, 64)))
    assert psnr(*tiles) > 40


def test_pixels_of_different_width_and_height_are_made_square(tmp_path: Path) -> None:
    scene = WaveScene(2)
    path = write_svs(tmp_path / "scene.svs", scene.pixels((0.4, 0.25), 0, 0, 250, 400), 0.4)
    grid = lattice((250, 400), (0.4, 0.25), 0.5, 64)
    with SlideReader("scene", path) as reader:
        tile = reader.read_region_at(
            *grid.origin0(np.array([[1, 1]]))[0], grid.width0, grid.height0, (64, 64)
        )
    assert psnr(tile, scene.pixels((0.5, 0.5), 32, 32, 64, 64)) > 40


def test_a_region_at_its_own_pixel_size_is_copied_exactly(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    with SlideReader("noise", write_svs(tmp_path / "noise.svs", image)) as reader:
        assert np.array_equal(reader.read_region_at(37, 111, 64, 48, (64, 48)), image[111:159, 37:101])


def test_neighbouring_tiles_join_without_a_seam(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 600, 3), dtype=np.uint8)
    with SlideReader("noise", write_svs(tmp_path / "noise.svs", image, 0.2527)) as reader:
        width = 64 * 0.5 / 0.2527
        left, right = (reader.read_region_at((1 + i) * width, 50, width, width, (64, 64)) for i in (0, 1))
        both = reader.read_region_at(width, 50, 2 * width, width, (128, 64))
    difference = np.abs(np.concatenate([left, right], 1).astype(int) - both)
    assert difference.max() <= 1


def test_beyond_the_edge_it_is_white(tmp_path: Path) -> None:
    image = np.full((128, 128, 3), 40, np.uint8)
    with SlideReader("dark", write_svs(tmp_path / "dark.svs", image)) as reader:
        region = reader.read_region_at(64, -64, 128, 128, (128, 128))
    assert (region[70:, :58] == 40).all()
    assert (region[:58] == 255).all() and (region[:, 70:] == 255).all()


def test_the_nearest_finer_level_is_read(tmp_path: Path) -> None:
    image = np.full((1024, 1024, 3), 200, np.uint8)
    with SlideReader("levels", write_svs(tmp_path / "levels.svs", image, factors=(4, 16))) as reader:
        assert reader.level_downsamples == (1.0, 4.0, 16.0)
        assert [reader.best_level(d) for d in (0.9, 1, 2, 3.9, 4, 8, 15.9, 16, 99)] == [
            0, 0, 0, 0, 1, 1, 2, 2, 2,
        ]  # fmt: skip


def test_thumbnail_in_blocks_equals_thumbnail_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_svs(tmp_path / "a.svs", stained_image(600, 700))
    with SlideReader("a", path) as reader:
        whole, readable = reader.thumbnail((70, 60))
        monkeypatch.setattr("pathduet.slides.readers.reader._MAX_BLOCK", 130)
        blocks, _ = reader.thumbnail((70, 60))
    assert readable.all()
    assert np.abs(whole.astype(int) - blocks).max() <= 1


def test_a_failed_read_is_reported_and_the_slide_stays_usable(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "bad.svs", stained_image(512, 512), compression="jpeg")
    spoil_tiles(path, 1)
    with SlideReader("bad", path) as reader:
        before = reader.read_region_at(0, 256, 128, 128, (128, 128))
        with pytest.raises(RegionError, match=r"bad\.svs"):
            reader.read_region_at(300, 50, 64, 64, (64, 64))
        assert reader.failed_reads == 1
        assert np.array_equal(reader.read_region_at(0, 256, 128, 128, (128, 128)), before)
        thumbnail, readable = reader.thumbnail((256, 256))
        assert readable[145:].all() and readable[:, :111].all() and not readable[10:110, 150:250].any()
        assert (thumbnail[~readable] == 255).all()


@pytest.mark.parametrize("content", [None, b"", b"not a slide at all" * 100])
def test_what_cannot_be_opened_is_unreadable_and_the_message_names_no_folder(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "secret-folder" / "x.svs"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SlideError) as error:
        SlideReader("x", path)
    assert error.value.reason == "unreadable" and "x.svs" in str(error.value)
    assert "secret-folder" not in str(error.value)
