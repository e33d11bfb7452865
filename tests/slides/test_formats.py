"""Formats beside Aperio's: the same picture comes out of each, with its pixel size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from pathduet.core.errors import SlideError
from pathduet.slides.readers.openslide_source import OpenSlideSource
from pathduet.slides.readers.pixel_size import pixel_size
from pathduet.slides.readers.reader import RegionError, SlideReader
from pathduet.slides.readers.source_choice import open_source
from pathduet.slides.readers.tiff_source import ome_images, ome_pixel_size

from .synthetic_slides import spoil_tiles, stained_image, write_svs

IMAGE = stained_image(300, 420)
CM = {"resolution": (20_000, 40_000), "resolutionunit": "CENTIMETER"}  # 0.5 x 0.25 um


def written(path: Path, kind: str) -> Path:
    rgb: dict = {"photometric": "rgb", **CM}
    if kind == "ome tiled":
        ome = {"axes": "YXS", "PhysicalSizeX": 0.0005, "PhysicalSizeXUnit": "mm", "PhysicalSizeY": 0.25}
        path = path.with_suffix(".ome.tif")
        tifffile.imwrite(path, IMAGE, photometric="rgb", tile=(64, 64), metadata=ome)
    elif kind == "striped deflate":
        tifffile.imwrite(path, IMAGE, rowsperstrip=17, compression="deflate", **rgb)
    elif kind == "one uncompressed strip":
        tifffile.imwrite(path, IMAGE, rowsperstrip=300, **rgb)
    elif kind == "planar":
        tifffile.imwrite(path, np.moveaxis(IMAGE, -1, 0), planarconfig="separate", tile=(64, 64), **rgb)
    elif kind == "big endian BigTIFF":
        tifffile.imwrite(path, IMAGE, bigtiff=True, byteorder=">", tile=(64, 64), compression="lzw", **rgb)
    elif kind == "16 bits":
        tifffile.imwrite(path, IMAGE.astype(np.uint16) * 257, tile=(64, 64), **rgb)
    elif kind == "16 bits, big endian, one strip":
        tifffile.imwrite(path, IMAGE.astype(np.uint16) * 257, byteorder=">", rowsperstrip=300, **rgb)
    elif kind == "alpha":
        rgba = np.concatenate([IMAGE, np.full((300, 420, 1), 255, np.uint8)], -1)
        tifffile.imwrite(path, rgba, extrasamples=["unassalpha"], rowsperstrip=8, **rgb)
    elif kind == "PNG":
        path = path.with_suffix(".png")
        Image.fromarray(IMAGE).save(path, dpi=(50_800, 101_600))
    elif kind == "PNG turned by EXIF":
        path, exif = path.with_suffix(".png"), Image.Exif()
        exif[274] = 6
        Image.fromarray(IMAGE).save(path, dpi=(50_800, 101_600), exif=exif)
    elif kind == "turned by its orientation tag":
        tifffile.imwrite(path, IMAGE, tile=(64, 64), extratags=[(274, 3, 1, 6, True)], **rgb)
    elif kind.startswith("tiled "):
        codec = kind.removeprefix("tiled ")
        lossless = {"webp": {"lossless": True}, "jpeg2000": {"level": 0}}.get(codec)
        tifffile.imwrite(path, IMAGE, tile=(64, 64), compression=codec, compressionargs=lossless, **rgb)
    return path


@pytest.mark.parametrize(
    ("kind", "library"),
    [
        ("ome tiled", "tifffile"),
        ("striped deflate", "tifffile"),
        ("one uncompressed strip", "tifffile"),
        ("planar", "tifffile"),
        ("big endian BigTIFF", "tifffile"),
        ("16 bits", "tifffile"),
        ("16 bits, big endian, one strip", "tifffile"),
        ("alpha", "tifffile"),
        ("tiled zstd", "tifffile"),
        ("tiled webp", "tifffile"),
        ("tiled jpeg2000", "tifffile"),
        ("turned by its orientation tag", "tifffile"),
        ("PNG", "pillow"),
        ("PNG turned by EXIF", "pillow"),
    ],
)
def test_each_format_gives_the_same_pixels_and_pixel_size(tmp_path: Path, kind: str, library: str) -> None:
    path = written(tmp_path / "a.tif", kind)
    with SlideReader("a", path) as reader:
        assert reader.library == library
        assert reader.dimensions == (420, 300)
        assert np.array_equal(reader.read_region_at(37, 21, 200, 150, (200, 150)), IMAGE[21:171, 37:237])
        assert np.array_equal(reader.read_region_at(0, 0, 420, 300, (420, 300)), IMAGE)
        beyond = reader.read_region_at(400, 280, 40, 40, (40, 40))
        assert np.array_equal(beyond[:20, :20], IMAGE[280:, 400:])
        assert (beyond[20:] == 255).all() and (beyond[:, 20:] == 255).all()
        size = pixel_size("a", reader.properties, None, None)
    assert (size.x, size.y) == pytest.approx((0.5, 0.25), rel=1e-4)
    assert size.source.startswith("file:")


def test_an_ome_pyramid_in_subdirectories_has_levels(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.ome.tif"
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        options: dict = {"photometric": "rgb", "tile": (64, 64)}
        writer.write(IMAGE, subifds=2, metadata={"axes": "YXS", "PhysicalSizeX": 0.5}, **options)
        for factor in (2, 4):
            small = np.asarray(Image.fromarray(IMAGE).reduce(factor))
            writer.write(small, subfiletype=1, **options)
    with SlideReader("pyramid", path) as reader:
        assert reader.level_dimensions == ((420, 300), (210, 150), (105, 75))
        assert reader.level_downsamples == pytest.approx((1, 2, 4))
        assert np.array_equal(
            reader.read_region_at(0, 0, 420, 300, (105, 75)), np.asarray(Image.fromarray(IMAGE).reduce(4))
        )


def test_a_label_or_thumbnail_is_no_level(tmp_path: Path) -> None:
    path = tmp_path / "label.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(IMAGE, photometric="rgb", rowsperstrip=16)
        writer.write(IMAGE[:100, :100], photometric="rgb", rowsperstrip=16)  # another aspect: a label
        writer.write(np.asarray(Image.fromarray(IMAGE).reduce(2)), photometric="rgb", rowsperstrip=16)
    with SlideReader("label", path) as reader:
        assert reader.level_dimensions == ((420, 300), (210, 150))


@pytest.mark.parametrize("compression", ["jpeg", "lzw", "deflate", None])
def test_tifffile_and_openslide_decode_a_slide_to_the_same_pixels(
    tmp_path: Path, compression: str | None
) -> None:
    path = write_svs(tmp_path / "a.svs", stained_image(700, 900), compression=compression, factors=(4,))
    fast, slow = OpenSlideSource(path), OpenSlideSource(path, direct=False)
    assert fast.library == "openslide+tifffile" and slow.library == "openslide"
    for level, box in ((0, (100, 50, 600, 400)), (1, (10, 20, 90, 100)), (0, (850, 650, 100, 100))):
        (a, ax, ay), (b, bx, by) = fast.read(level, *box), slow.read(level, *box)
        assert (ax, ay) == (bx, by) and np.array_equal(a, b)
    fast.close()
    slow.close()


@pytest.mark.data
def test_tifffile_and_openslide_decode_real_slides_to_the_same_pixels(test_data: Path) -> None:
    compared = 0
    for path in sorted((test_data / "slides").iterdir()) + sorted(
        (test_data / "cohort_roi/slides").iterdir()
    ):
        fast, slow = OpenSlideSource(path), OpenSlideSource(path, direct=False)
        for level, (width, height) in enumerate(slow.level_dimensions):
            box = (level, width // 3, height // 3, min(500, width), min(500, height))
            assert np.array_equal(fast.read(*box)[0], slow.read(*box)[0]), path.name
            compared += fast.library == "openslide+tifffile"
    assert compared > 5


def _marked(tile: bytes, marker: bytes) -> bytes:
    """Return a JPEG whose own JFIF and Adobe markers are replaced."""
    place = 2
    while tile[place + 1] in (0xE0, 0xEE):
        place += 2 + int.from_bytes(tile[place + 2 : place + 4], "big")
    return tile[:2] + marker + tile[place:]


_JFIF = bytes.fromhex("ffe000104a46494600010100000100010000")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.svs", "a.tif"])
@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
@pytest.mark.parametrize("rgb", [True, False])
@pytest.mark.parametrize("adobe", [None, 0, 1])
@pytest.mark.parametrize("jfif", [True, False])
def test_tiles_that_contradict_the_tags_have_openslides_colours_or_a_note(
    tmp_path: Path, name: str, photometric: str, rgb: bool, adobe: int | None, jfif: bool
) -> None:
    path, image = tmp_path / name, np.ascontiguousarray(stained_image(512, 512)[128:384, 128:384])
    marker = (_JFIF if jfif else b"") + (
        b"" if adobe is None else b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + bytes([adobe])
    )
    buffer = io.BytesIO()
    how: dict = {"keep_rgb": True} if rgb else {"subsampling": 0}
    Image.fromarray(image).save(buffer, "JPEG", quality=92, **how)
    tifffile.imwrite(
        path, iter([_marked(buffer.getvalue(), marker)]), shape=image.shape, dtype=np.uint8, tile=(256, 256),
        photometric=photometric, compression="jpeg", subsampling=(1, 1), metadata=None,
        description="Aperio Image Library v12.0.0\n256x256|MPP = 0.5" if name == "a.svs" else None,
    )  # fmt: skip
    other = OpenSlideSource(path, direct=False)
    expected = other.read(0, 0, 0, 256, 256)[0]
    other.close()
    with SlideReader("a", path) as reader:
        found = reader.read_region_at(0, 0, 256, 256, (256, 256))
        notes = reader.notes
    same = np.abs(found.astype(int) - expected).mean() < 2
    assert same if name == "a.svs" else same or "not those that OpenSlide shows" in notes[0]
    if same and not rgb and photometric == "ycbcr" and adobe in (None, 1):
        assert not notes  # a sound file


def test_a_damaged_tile_of_a_tiff_is_a_region_error_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.tif"
    tifffile.imwrite(path, IMAGE, photometric="rgb", rowsperstrip=50, compression="deflate")
    spoil_tiles(path, 2)
    with SlideReader("bad", path) as reader:
        with pytest.raises(RegionError, match=r"bad\.tif"):
            reader.read_region_at(0, 90, 50, 50, (50, 50))
        assert np.array_equal(reader.read_region_at(0, 160, 50, 50, (50, 50)), IMAGE[160:210, :50])


@pytest.mark.parametrize(
    "kind", ["huge tiles", "huge edge", "channels", "float", "bomb", "cycle", "cut chain"]
)
def test_what_is_no_picture_or_declares_absurd_sizes_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "secret-folder" / "x.tif"
    path.parent.mkdir()
    small = np.zeros((64, 64, 3), np.uint8)
    if kind == "huge tiles":
        tifffile.imwrite(path, small, photometric="rgb", tile=(64, 64), compression="deflate")
        _set_tags(path, {322: 60_000, 323: 60_000})
    elif kind == "huge edge":
        tifffile.imwrite(path, small, photometric="rgb", rowsperstrip=64, compression="deflate")
        _set_tags(path, {256: 2**31 - 1, 257: 2**31 - 1})
    elif kind == "channels":
        tifffile.imwrite(path, np.zeros((5, 64, 64), np.uint8), photometric="minisblack")
    elif kind == "float":
        tifffile.imwrite(path, np.zeros((64, 64, 3), np.float32), photometric="rgb")
    elif kind == "bomb":
        path = path.with_suffix(".png")
        buffer = io.BytesIO()
        Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
        path.write_bytes(buffer.getvalue())
        assert path.stat().st_size < 100_000
    else:
        tifffile.imwrite(path, IMAGE, photometric="rgb", rowsperstrip=300)
        with path.open("r+b") as handle, tifffile.TiffFile(path) as file:
            first = file.pages.first.offset
            count = len(file.pages.first.tags)
            handle.seek(first + 2 + 12 * count)
            handle.write((first if kind == "cycle" else 10**9).to_bytes(4, "little"))
    with pytest.raises(SlideError) as error:
        open_source("x", path).close()
    assert error.value.reason == "unreadable" and "secret-folder" not in str(error.value)


def _set_tags(path: Path, values: dict[int, int]) -> None:
    with tifffile.TiffFile(path) as file:
        places = {code: file.pages.first.tags[code].offset for code in values}
    with path.open("r+b") as handle:
        for code, value in values.items():
            handle.seek(places[code] + 2)
            handle.write((4).to_bytes(2, "little") + (1).to_bytes(4, "little") + value.to_bytes(4, "little"))


def test_a_tile_that_a_sparse_file_does_not_have_is_white(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    tiles = [np.full((64, 64, 3), 90, np.uint8).tobytes(), *[b""] * 3]
    tifffile.imwrite(path, iter(tiles), shape=(128, 128, 3), dtype=np.uint8, photometric="rgb", tile=(64, 64))
    with SlideReader("sparse", path) as reader:
        image = reader.read_region_at(0, 0, 128, 128, (128, 128))
    assert (image[:64, :64] == 90).all() and (image[64:] == 255).all() and (image[:, 64:] == 255).all()


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ('<Pixels PhysicalSizeX="250" PhysicalSizeXUnit="nm"/>', {"ome.PhysicalSizeX": "0.25"}),
        ('<ome:Pixels PhysicalSizeY="1e-7" PhysicalSizeYUnit="m"/>', {"ome.PhysicalSizeY": "0.1"}),
        ('<Pixels PhysicalSizeX="3" PhysicalSizeXUnit="pixel"/>', {}),
        ('<Pixels SizeX="3"/>', {"ome.SizeX": "3"}),
        ("<Pixels PhysicalSizeX='0,5' PhysicalSizeXUnit='&#181;m'/>", {"ome.PhysicalSizeX": "0.5"}),
    ],
)
def test_ome_lengths_are_converted_by_their_unit(xml: str, expected: dict[str, str]) -> None:
    image = f'<OME xmlns:ome="o"><Image>{xml}</Image></OME>'
    assert ome_pixel_size(ome_images(image)[0]) == expected


def test_the_pixel_size_is_that_of_the_slide_and_not_of_its_label(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for name, part, size in (("label", IMAGE[:50, :90], 8.0), ("slide", IMAGE, 0.5)):
            about = {"axes": "YXS", "Name": name, "PhysicalSizeX": size, "PhysicalSizeY": size}
            writer.write(part, photometric="rgb", tile=(64, 64), metadata=about)
    with SlideReader("a", path) as reader:
        assert reader.dimensions == (420, 300)
        assert pixel_size("a", reader.properties, None, None).x == 0.5


def test_a_long_run_of_letters_in_ome_xml_costs_no_time() -> None:
    ome_images("<OME><Image><Pixels " + "a" * 2_000_000)  # a search by patterns took minutes for 40,000


@pytest.mark.parametrize("tag", [33003, 33005])
@pytest.mark.parametrize("description", ["Aperio Image Library v12.0.0|AppMag = 20|MPP = 0.5", "anonymous"])
def test_aperios_two_jpeg_2000_tags_give_the_same_colours(tmp_path: Path, tag: int, description: str) -> None:
    # without its description such a file is no Aperio slide for OpenSlide, and tifffile reads it
    imagecodecs = pytest.importorskip("imagecodecs")
    path, image = (
        tmp_path / ("a.svs" if "Aperio" in description else "a.tif"),
        np.full((256, 384, 3), 255, np.uint8),
    )
    image[:, :] = stained_image(256, 384)
    given = np.asarray(Image.fromarray(image).convert("YCbCr")) if tag == 33003 else image
    boxes = [given[y : y + 128, x : x + 128] for y in range(0, 256, 128) for x in range(0, 384, 128)]
    tiles = (imagecodecs.jpeg2k_encode(box, level=0, codecformat="j2k", mct=False) for box in boxes)
    tifffile.imwrite(
        path, tiles, shape=image.shape, dtype=np.uint8, photometric="rgb", tile=(128, 128), compression="jpeg2000",
        description=description, metadata=None,
    )  # fmt: skip
    _set_tags(path, {259: tag})
    with SlideReader("a", path) as reader:
        assert reader.library == ("openslide" if "Aperio" in description else "tifffile")
        found = reader.read_region_at(0, 0, 384, 256, (384, 256))
    assert np.abs(found.astype(int) - image).max() <= 3
