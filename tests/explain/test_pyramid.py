"""The Deep Zoom pyramid: its geometry by the format's definition, its pixels against the slide's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pathduet.explain.viewer.pyramid import TILE_PX, write_pyramid
from pathduet.slides.readers.reader import RegionError, SlideReader


def smooth_slide(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 60 * np.sin(x / 90)], axis=-1).astype(np.uint8)


def joined(folder: Path, level: int) -> np.ndarray:
    """Put a level's tiles together."""
    tiles = {
        tuple(map(int, p.stem.split("_"))): np.asarray(Image.open(p)) for p in (folder / str(level)).iterdir()
    }
    columns, rows = (1 + max(key[i] for key in tiles) for i in (0, 1))
    assert len(tiles) == columns * rows
    return np.concatenate(
        [np.concatenate([tiles[c, r] for c in range(columns)], axis=1) for r in range(rows)]
    )


@pytest.mark.parametrize(("width", "height"), [(1500, 1111), (513, 300), (5, 3)])
def test_every_level_has_its_size_and_shows_the_slide(tmp_path: Path, width: int, height: int):
    source = smooth_slide(width, height)
    Image.fromarray(source).save(tmp_path / "s.png")
    with SlideReader("S", tmp_path / "s.png") as reader:
        made = write_pyramid(tmp_path / "out", "slide", reader, mpp=1.0, finest_mpp=2.0)
    assert (made.width, made.height) == (math.ceil(width / 2), math.ceil(height / 2)) and not made.unreadable
    files = tmp_path / "out" / "slide_files"
    assert sorted(int(p.name) for p in files.iterdir()) == list(range(made.levels))
    assert joined(files, 0).shape == (1, 1, 3)
    for level in range(made.levels):
        times = 2 ** (made.levels - 1 - level)
        picture = joined(files, level)
        assert picture.shape[:2] == (math.ceil(made.height / times), math.ceil(made.width / times))
        if min(picture.shape[:2]) > 100:
            whole = Image.fromarray(source).resize(picture.shape[1::-1], Image.Resampling.BOX)
            assert np.abs(picture.astype(int) - np.asarray(whole).astype(int)).mean() < 6
    text = (tmp_path / "out" / "slide.dzi").read_text()
    assert f'Width="{made.width}" Height="{made.height}"' in text and f'TileSize="{TILE_PX}"' in text


def test_what_cannot_be_decoded_is_white_and_the_rest_is_there(tmp_path: Path):
    Image.fromarray(smooth_slide(3000, 700)).save(tmp_path / "s.png")

    class Broken(SlideReader):
        def read_region_at(self, x0, y0, width0, height0, out_size):
            if x0 == 0 and y0 == 0:
                raise RegionError("damaged")
            return super().read_region_at(x0, y0, width0, height0, out_size)

    with Broken("S", tmp_path / "s.png") as reader:
        made = write_pyramid(tmp_path, "slide", reader, mpp=2.0, finest_mpp=2.0)
    picture = joined(tmp_path / "slide_files", made.levels - 1)
    assert (
        made.unreadable == 1
        and (picture[:256, :1024] == 255).all()
        and not (picture[:256, 1040:] == 255).all()
    )


def test_memory_grows_with_the_width_only(tmp_path: Path):
    """A slide of 400 megapixels (1.2 GB) that is never whole in memory."""
    import tracemalloc

    class Wide:
        slide_id, dimensions = "W", (4000, 100_000)

        def read_region_at(self, x0, y0, width0, height0, out_size):
            return np.full((out_size[1], out_size[0], 3), 200, np.uint8)

    tracemalloc.start()
    write_pyramid(tmp_path, "slide", Wide(), mpp=0.5, finest_mpp=4.0)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 2**20
