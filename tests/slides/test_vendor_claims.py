"""What a vendor's reader refuses, or is named as a vendor's, is no plain picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from pathduet.core.errors import SlideError
from pathduet.slides.readers.pixel_source import mirax_folder
from pathduet.slides.readers.reader import SlideReader
from pathduet.slides.readers.source_choice import open_source
from pathduet.slides.source import content_of, slide_files

from .synthetic_slides import stained_image
from .vendor_files import copy_mirax, half, write_leica, write_mirax, write_ventana

IMAGE = stained_image(1024, 1280)


@pytest.fixture(scope="module")
def mirax(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mirax(tmp_path_factory.mktemp("mirax") / "case1.mrxs", IMAGE)


def refusal(path: Path) -> str:
    with pytest.raises(SlideError) as error:
        open_source("S1", path).close()
    assert error.value.reason == "unreadable" and str(path.parent) not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("specimens", "levels", "powers"),
    [
        ([IMAGE, IMAGE[:512, :768]], (2, 1), ("20", "20")),
        ([IMAGE[:1024, :1024], IMAGE[:512, :512]], (2, 2), ("20", "40")),  # one might be a level of the other
    ],
)
@pytest.mark.parametrize("suffix", [".scn", ".tif"])
def test_specimens_that_openslide_does_not_join_are_refused_with_its_reason(
    tmp_path: Path, specimens: list, levels: tuple, powers: tuple, suffix: str
) -> None:
    path = write_leica(tmp_path / f"a{suffix}", specimens, levels, powers)
    assert openslide.OpenSlide.detect_format(path) == "leica"
    assert "leica" in refusal(path) and "dissimilar main images" in refusal(path)


def test_specimens_that_openslide_joins_are_read(tmp_path: Path) -> None:
    path = write_leica(tmp_path / "a.scn", [IMAGE, IMAGE[:512, :768]], (2, 2), ("20", "20"))
    with SlideReader("a", path) as reader:
        assert reader.library == "openslide" and reader.vendor == "leica"


@pytest.mark.parametrize("suffix", [".bif", ".tif"])
def test_a_ventana_slide_that_openslide_refuses_is_unreadable(tmp_path: Path, suffix: str) -> None:
    path = write_ventana(tmp_path / f"a{suffix}", IMAGE)
    open_source("S1", path).close()
    path.write_bytes(path.read_bytes().replace(b'"RIGHT"', b'"LEFTY"'))
    assert 'OpenSlide (ventana): Bad direction attribute "LEFTY"' in refusal(path)


@pytest.mark.parametrize("kind", ["alone", "without its index"])
def test_the_preview_of_a_mirax_slide_is_never_taken_for_it(tmp_path: Path, mirax: Path, kind: str) -> None:
    path = copy_mirax(mirax, tmp_path / "case1.mrxs")
    for file in path.with_suffix("").iterdir():
        if kind == "alone" or file.name == "Slidedat.ini":
            file.unlink()
    if kind == "alone":
        path.with_suffix("").rmdir()
    missing = "folder case1" if kind == "alone" else "file case1/Slidedat.ini"
    assert f"the {missing} of this MIRAX slide is missing" in refusal(path)


def _upper(mirax: Path, folder: Path) -> Path:
    return copy_mirax(mirax, folder / "CASE1.MRXS")


def _named_links(mirax: Path, folder: Path) -> Path:
    """Return links into a store of other names, side by side."""
    folder.mkdir()
    (folder / "patient7.mrxs").symlink_to(mirax.rename(mirax.parent / "9f86"))
    (folder / "patient7").symlink_to(mirax.with_suffix("").rename(mirax.parent / "2c26"))
    return folder / "patient7.mrxs"


def _lone_link(mirax: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "patient7.mrxs").symlink_to(mirax)
    return folder / "patient7.mrxs"


@pytest.mark.parametrize("way", [_upper, _named_links, _lone_link])
def test_a_mirax_slide_is_read_under_any_name_that_leads_to_its_folder(
    tmp_path: Path, mirax: Path, way
) -> None:
    with SlideReader("S1", mirax) as reader:
        truth = reader.read_region_at(512, 256, 512, 512, (256, 256))
    own = copy_mirax(mirax, tmp_path / "store/case1.mrxs")
    path = way(own, tmp_path / "view")
    with SlideReader("S1", path) as reader:
        assert (reader.library, reader.vendor) == ("openslide", "mirax")
        assert np.array_equal(reader.read_region_at(512, 256, 512, 512, (256, 256)), truth)
    assert content_of(slide_files(path)) == content_of(slide_files(mirax))
    folder = mirax_folder(path)
    assert folder is not None
    (folder / "Data0000.dat").write_bytes(b"other pixels")
    assert content_of(slide_files(path)) != content_of(slide_files(mirax))


@pytest.mark.parametrize(
    "name", ["a.svs", "a.ndpi", "a.bif", "a.vms", "a.czi", "a.qptiff", "a.vsi", "a.dcm", "a.unknown", "a"]
)
@pytest.mark.parametrize("content", ["JPEG", "TIFF", "tiled"])
def test_a_picture_named_as_a_vendors_file_is_no_slide(tmp_path: Path, name: str, content: str) -> None:
    path, small = tmp_path / name, IMAGE[:256, :256]
    if content == "tiled":
        tifffile.imwrite(path, small, photometric="rgb", tile=(128, 128))
    else:
        Image.fromarray(small).save(path, content)
    assert "it is not read as a plain picture" in refusal(path)
    plain = path.rename(tmp_path / f"a.{'jpg' if content == 'JPEG' else 'TIF'}")
    open_source("S1", plain).close()


@pytest.mark.parametrize("vendor", ["qpi", "ndpi"])
def test_a_vendors_tiff_that_openslide_does_not_know_is_no_plain_one(tmp_path: Path, vendor: str) -> None:
    path = tmp_path / "a.tif"
    tags = {"ndpi": [(271, 2, 0, "Hamamatsu", True), (65420, 4, 1, 1, True)]}
    software = "PerkinElmer-QPI" if vendor == "qpi" else None
    with tifffile.TiffWriter(path) as writer:
        for level in (IMAGE, half(IMAGE)):
            writer.write(
                level, photometric="rgb", tile=(128, 128), software=software, extratags=tags.get(vendor)
            )
    assert vendor in refusal(path) or "hamamatsu" in refusal(path)
