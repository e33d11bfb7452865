"""Slides in vendors' layouts, written byte by byte or through tifffile: what OpenSlide opens as theirs."""

from __future__ import annotations

import io
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
_GLASS_NM, _MACRO_NM = (8_000_000, 6_000_000), 20_000


def half(image: Pixels) -> Pixels:
    """Return an image of half the size, each pixel the mean of four."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    return np.asarray(Image.fromarray(image[:height, :width]).reduce(2))


def pyramid(image: Pixels, levels: int, halvings: int = 1) -> list[Pixels]:
    """Return an image and smaller copies of it."""
    found = [image]
    for _ in range(levels - 1):
        smaller = found[-1]
        for _ in range(halvings):
            smaller = half(smaller)
        found.append(smaller)
    return found


def jpeg(image: Pixels, **options: object) -> bytes:
    """Return a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def write_mirax(
    path: Path, image: Pixels, mpp: float = 0.5, grid: int = 8, at: tuple[int, int] = (2, 2)
) -> Path:
    """Write a MIRAX slide of two levels: `path` is its preview, the folder of its name holds the pixels.

    `grid` images of 256 pixels across and down are on the glass; the picture begins at image `at`, which is even.
    """
    tile, folder = 256, path.with_suffix("")
    folder.mkdir(parents=True)
    start = b"01.020123456789ABCDEF0123456789ABCDEF"
    data, records = bytearray((start + b"000").ljust(64, b"\0")), []
    for level, pixels in enumerate(pyramid(image, 2)):
        found = []
        for y in range(pixels.shape[0] // tile):
            for x in range(pixels.shape[1] // tile):
                coded = jpeg(pixels[y * tile : (y + 1) * tile, x * tile : (x + 1) * tile])
                place = (at[1] + (y << level)) * grid + at[0] + (x << level)
                found.append(struct.pack("<4i", place, len(data), len(coded), 0))
                data += coded
        records.append(found)
    (folder / "Data0000.dat").write_bytes(data)
    root = len(start) + 8
    pages, pointers, first = b"", [], root + 16
    for found in records:
        pointers.append(first + len(pages))
        pages += struct.pack("<4i", 0, pointers[-1] + 8, len(found), 0) + b"".join(found)
    head = start + struct.pack("<2i", root, 0) + struct.pack("<2i", *pointers) + b"\0" * 8
    (folder / "Index.dat").write_bytes(head + pages)
    text = (
        f"[GENERAL]\nSLIDE_VERSION = 01.02\nSLIDE_ID = 0123456789ABCDEF0123456789ABCDEF\nIMAGENUMBER_X = {grid}\n"
        f"IMAGENUMBER_Y = {grid}\nOBJECTIVE_MAGNIFICATION = 20\nCameraImageDivisionsPerSide = 1\n[HIERARCHICAL]\n"
        "HIER_COUNT = 1\nNONHIER_COUNT = 0\nINDEXFILE = Index.dat\nHIER_0_NAME = Slide zoom level\nHIER_0_COUNT = 2\n"
        + "".join(f"HIER_0_VAL_{i} = ZoomLevel_{i}\nHIER_0_VAL_{i}_SECTION = LEVEL_{i}\n" for i in (0, 1))
        + "[DATAFILE]\nFILE_COUNT = 1\nFILE_0 = Data0000.dat\n"
        + "".join(
            f"[LEVEL_{i}]\nOVERLAP_X = 0\nOVERLAP_Y = 0\nMICROMETER_PER_PIXEL_X = {mpp * 2**i}\n"
            f"MICROMETER_PER_PIXEL_Y = {mpp * 2**i}\nIMAGE_FORMAT = JPEG\nIMAGE_FILL_COLOR_BGR = 16777215\n"
            f"DIGITIZER_WIDTH = {tile}\nDIGITIZER_HEIGHT = {tile}\nIMAGE_CONCAT_FACTOR = {i}\n"
            for i in (0, 1)
        )
    )
    (folder / "Slidedat.ini").write_text(text, encoding="utf-8")
    Image.fromarray(image).resize((300, 300)).save(path, "JPEG")
    return path


def copy_mirax(path: Path, to: Path) -> Path:
    """Copy a MIRAX slide to another name, which need not end alike."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, to)
    shutil.copytree(path.with_suffix(""), to.with_suffix(""))
    return to


def write_leica(
    path: Path, specimens: Sequence[Pixels], levels: Sequence[int], powers: Sequence[str], nm: int = 500
) -> Path:
    """Write a Leica SCN: a macro and one main picture a specimen, side by side on the glass.

    OpenSlide takes several only if their powers and numbers of levels agree.
    """
    macro = np.full((_GLASS_NM[1] // _MACRO_NM, _GLASS_NM[0] // _MACRO_NM, 3), 243, np.uint8)
    pictures = [("macro", [macro], _GLASS_NM, (0, 0), "1.25")]
    for i, (image, count, power) in enumerate(zip(specimens, levels, powers)):
        size = (image.shape[1] * nm, image.shape[0] * nm)
        pictures.append(
            (f"specimen {i}", pyramid(image, count, 2), size, (500_000 + 2_000_000 * i, 1_000_000), power)
        )
    text, page = "", 0
    for name, pyramid_of_it, size, place, power in pictures:
        dimensions = ""
        for r, level in enumerate(pyramid_of_it):
            dimensions += (
                f'<dimension sizeX="{level.shape[1]}" sizeY="{level.shape[0]}" r="{r}" ifd="{page}"/>'
            )
            page += 1
        text += (
            f'<image name="{name}"><creationDate>2011-01-01T00:00:00Z</creationDate><device model="Leica SCN400" '
            f'version="1"/><pixels sizeX="{pyramid_of_it[0].shape[1]}" sizeY="{pyramid_of_it[0].shape[0]}">{dimensions}'
            f'</pixels><view sizeX="{size[0]}" sizeY="{size[1]}" offsetX="{place[0]}" offsetY="{place[1]}"/>'
            f"<scanSettings><objectiveSettings><objective>{power}</objective></objectiveSettings><illuminationSettings>"
            "<numericalAperture>0.4</numericalAperture><illuminationSource>brightfield</illuminationSource>"
            "</illuminationSettings></scanSettings></image>"
        )
    text = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection name="c" '
        f'uuid="u" sizeX="{_GLASS_NM[0]}" sizeY="{_GLASS_NM[1]}">{text}</collection></scn>'
    )
    with tifffile.TiffWriter(path) as writer:
        for i, (name, pyramid_of_it, *_) in enumerate(pictures):
            for r, level in enumerate(pyramid_of_it):
                unit = (_MACRO_NM if name == "macro" else nm) * 4**r
                writer.write(
                    level, tile=(256, 256), photometric="rgb", compression="jpeg", metadata=None,
                    description=text if i == 0 else None, resolution=(1e7 / unit, 1e7 / unit),
                    resolutionunit="CENTIMETER", subfiletype=1 if r else 0,
                )  # fmt: skip
    return path


def write_scenes(path: Path, scenes: dict[str, Pixels], mpp: float = 0.5, ome: bool = True) -> Path:
    """Write a TIFF of several pictures, each with a level four times smaller: as bfconvert does, or without OME-XML."""
    options = {"photometric": "rgb", "tile": (128, 128), "compression": "deflate"}
    with tifffile.TiffWriter(path, ome=ome) as writer:
        for name, image in scenes.items():
            small = half(half(image))
            if ome:
                about = {"axes": "YXS", "Name": name, "PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
                writer.write(image, subifds=1, metadata=about, **options)
                writer.write(small, subfiletype=1, metadata=None, **options)
            else:
                unit = {
                    "resolution": (1e4 / mpp, 1e4 / mpp),
                    "resolutionunit": "CENTIMETER",
                    "metadata": None,
                }
                writer.write(image, **unit, **options)
                writer.write(small, subfiletype=1, **unit, **options)
    return path
