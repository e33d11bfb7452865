"""One scene scanned at 40x, 20x and odd pixel sizes gives the same tiles; a resolution chart lies where it should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathduet.slides.readers.reader import SlideReader
from pathduet.slides.tile_blocks import plan_blocks, read_block, share_pixels
from pathduet.slides.tile_grid import lattice
from pathduet.slides.tiles_file import TileTable

from .synthetic_slides import WaveScene, psnr, spoil_tiles, stained_image, write_svs

EDGE = 64


def tables(size0: tuple[int, int], mpp: float, coarse: float = 1.0) -> dict[str, TileTable]:
    found = {}
    for name, target in (("10x", coarse), ("20x", 0.5)):
        tiles = lattice(size0, (mpp, mpp), target, EDGE)
        grid = tiles.all_tiles()
        coords = np.rint(tiles.origin0(grid)).astype(np.int32)
        found[name] = TileTable(
            grid, coords, tiles.width0, tiles.height0, tiles.step_x0, tiles.step_y0, target, EDGE
        )
    return found


def read_all(reader: SlideReader, wanted: dict[str, TileTable]) -> dict[tuple[str, int], np.ndarray]:
    shared = share_pixels(wanted, reader)
    rows = {name: np.arange(len(table.grid)) for name, table in wanted.items()}
    blocks = plan_blocks(wanted, rows, shared)
    tiles = [tile for block in blocks for tile in read_block(block, wanted, reader, shared)]
    assert len(tiles) == sum(map(len, rows.values()))
    return {(tile.magnification, tile.row): tile.image for tile in tiles}  # type: ignore[misc]


@pytest.mark.parametrize("mpp", [0.25, 0.2527, 0.4673, 0.4991, 0.5])
def test_both_magnifications_of_any_scan_show_the_scene(tmp_path: Path, mpp: float) -> None:
    scene, edge = WaveScene(3), int(200 / mpp)
    path = write_svs(tmp_path / "a.svs", scene.pixels((mpp, mpp), 0, 0, edge, edge), mpp)
    wanted = tables((edge, edge), mpp)
    with SlideReader("a", path) as reader:
        found = read_all(reader, wanted)
    assert found
    for (name, row), image in found.items():
        target = wanted[name].mpp
        x, y = wanted[name].grid[row] * EDGE * target
        truth = scene.pixels((target, target), x, y, EDGE, EDGE)
        inside = np.s_[:] if min(x, y) else np.s_[4:, 4:]  # beyond the slide's edge it is white
        assert psnr(image[inside], truth[inside]) > (46 if name == "20x" else 45), (name, row)


def test_scans_of_one_phantom_at_40x_20x_and_an_odd_size_agree(tmp_path: Path) -> None:
    scene, found = WaveScene(4), {}
    for mpp in (0.25, 0.5, 0.4673):
        edge = int(200 / mpp)
        path = write_svs(tmp_path / f"{mpp}.svs", scene.pixels((mpp, mpp), 0, 0, edge, edge), mpp)
        wanted = tables((edge, edge), mpp)
        with SlideReader("a", path) as reader:
            for (name, row), image in read_all(reader, wanted).items():
                found[mpp, name, *wanted[name].grid[row].tolist()] = image
    pairs = [(key, (0.5, *key[1:])) for key in found if key[0] != 0.5 and key[2] and key[3]]
    assert len(pairs) > 20
    assert min(psnr(found[a], found[b]) for a, b in pairs) > 45


def test_tiles_read_together_are_those_read_alone(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (330, 460, 3), dtype=np.uint8)
    for mpp in (0.5, 0.31):
        path = write_svs(tmp_path / f"{mpp}.svs", image, mpp)
        wanted = tables((460, 330), mpp)
        with SlideReader("a", path) as reader:
            assert share_pixels(wanted, reader)
            for (name, row), tile in read_all(reader, wanted).items():
                if name == "20x":
                    assert np.abs(tile.astype(int) - wanted[name].read(reader, row)).max() <= 1


def test_a_coarser_level_serves_10x_where_there_is_one(tmp_path: Path) -> None:
    scene = WaveScene(5, highest=0.2)
    path = write_svs(tmp_path / "a.svs", scene.pixels((0.25, 0.25), 0, 0, 1024, 1024), 0.25, factors=(4,))
    wanted = tables((1024, 1024), 0.25)
    with SlideReader("a", path) as reader:
        assert not share_pixels(wanted, reader)
        found = read_all(reader, wanted)
    table = wanted["10x"]
    for row in range(len(table.grid)):
        x, y = table.grid[row] * EDGE
        assert psnr(found["10x", row], scene.pixels((1, 1), x, y, EDGE, EDGE)) > 45


@pytest.mark.slow
@pytest.mark.parametrize("size", [(6003, 1603), (5999, 1599), (6000, 1600)])
@pytest.mark.parametrize("direct", [True, False])
def test_levels_whose_sizes_are_rounded_show_the_scene_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], direct: bool
) -> None:
    # 5999 pixels by fours give a level of 1499: divided, that is 4.002, and the far end one pixel off
    scene = WaveScene(5, highest=0.2)
    path = write_svs(tmp_path / "a.svs", scene.pixels((0.25, 0.25), 0, 0, *size), 0.25, factors=(4,))
    if not direct:
        monkeypatch.setattr("pathduet.slides.readers.openslide_source._PLAIN_TIFF", ())
    tiles = lattice(size, (0.25, 0.25), 1.0, EDGE)
    with SlideReader("a", path) as reader:
        assert reader.level_downsamples == (1.0, 4.0)
        assert reader.library == ("openslide+tifffile" if direct else "openslide")
        for column in (0, tiles.columns // 2, tiles.columns - 1):
            grid = np.array([[column, tiles.rows - 1]])
            tile = reader.read_region_at(*tiles.origin0(grid)[0], tiles.width0, tiles.height0, (EDGE, EDGE))
            truth = scene.pixels((1, 1), *(grid[0] * EDGE), EDGE, EDGE)
            inside = np.s_[:, 4:] if column == 0 else np.s_[:]  # beyond the slide's edge it is white
            # OpenSlide itself reads between pixels there
            assert psnr(tile[inside], truth[inside]) > (45 if direct else 40)


def test_a_damaged_tile_costs_only_what_it_touches(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", stained_image(512, 512), compression="jpeg", tile=64)
    spoil_tiles(path, 0)
    wanted = tables((512, 512), 0.5)
    with SlideReader("a", path) as reader:
        found = read_all(reader, wanted)
    lost = {(name, *wanted[name].grid[row].tolist()) for (name, row), image in found.items() if image is None}
    assert lost == {("20x", 0, 0), ("10x", 0, 0)}


def test_the_bars_of_a_resolution_chart_lie_where_they_should(tmp_path: Path) -> None:
    # bars of 2, 3, 4 and 6 um at known places; edges of area-sampled bars are known to a hundredth of a pixel
    mpp, widths = 0.25, (2.0, 3.0, 4.0, 6.0)
    position = np.arange(0, 256, mpp)
    profile = np.full(len(position), 230.0)
    edges = []
    x = 17.3
    for width in widths:
        for _ in range(3):
            edges += [x, x + width]
            covered = np.clip(np.minimum(position + mpp, x + width) - np.maximum(position, x), 0, mpp) / mpp
            profile -= 200 * covered
            x += 2 * width
    image = np.repeat(np.repeat(np.rint(profile).astype(np.uint8)[None, :, None], 1024, 0), 3, 2)
    for turned in (False, True):
        path = write_svs(tmp_path / f"{turned}.svs", np.swapaxes(image, 0, 1) if turned else image, mpp)
        for target in (0.5, 0.7, 1.0):
            size = int(200 / target)
            with SlideReader("chart", path) as reader:
                tile = reader.read_region_at(0, 0, size * target / mpp, size * target / mpp, (size, size))
            line = (tile[:, size // 2] if turned else tile[size // 2]).astype(float)[:, 0]
            # the integral of darkness over a bar is its width times its depth, its centre of mass its centre
            for left, right in zip(edges[::2], edges[1::2]):
                reach = (right - left) / 2
                near = np.arange(size) * target + target / 2
                inside = (near > left - reach) & (near < right + reach)
                dark = (230 - line[inside]).clip(-50)
                assert dark.sum() * target / 200 == pytest.approx(right - left, abs=0.25)
                centre = (dark * near[inside]).sum() / dark.sum()
                assert centre == pytest.approx((left + right) / 2, abs=0.15)
