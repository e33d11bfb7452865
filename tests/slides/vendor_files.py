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
        f"IMAGENUMBER_Y = {grid}\nOBJECTIVE_MAGNIFICATION = {10 / mpp:g}\nCameraImageDivisionsPerSide = 1\n[HIERARCHICAL]\n"
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


def _padded(image: Pixels, tile: int) -> Pixels:
    """Return an image filled up with white to whole tiles."""
    height, width = (-(-edge // tile) * tile for edge in image.shape[:2])
    found = np.full((height, width, 3), 255, np.uint8)
    found[: image.shape[0], : image.shape[1]] = image
    return found


def _tiles(image: Pixels, tile: int) -> list[Pixels]:
    whole = _padded(image, tile)
    height, width = whole.shape[:2]
    return [whole[y : y + tile, x : x + tile] for y in range(0, height, tile) for x in range(0, width, tile)]


def _element(tag: int, kind: bytes, value: object) -> bytes:
    """Return a DICOM data element, explicit little endian."""
    long = kind in (b"OB", b"SQ")
    if kind == b"SQ":
        data = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in value)  # type: ignore[attr-defined]
    elif isinstance(value, bytes):
        data = value
    elif kind in (b"US", b"UL", b"FL"):
        data = struct.pack({b"US": "<H", b"UL": "<I", b"FL": "<f"}[kind], value)
    else:
        data = str(value).encode()
        data += (b"\0" if kind == b"UI" else b" ") * (len(data) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind
    return head + (struct.pack("<HI", 0, len(data)) if long else struct.pack("<H", len(data))) + data


def write_dicom(folder: Path, image: Pixels, mpp: float = 0.5, levels: int = 3, padded: bool = False) -> Path:
    """Write a DICOM slide, an instance a level; return level 0. `padded`: sizes are those of whole tiles, as Philips writes."""
    folder.mkdir(parents=True)
    tile, root, paths = 256, "1.2.826.0.1.3680043.8.498.", []
    for i, level in enumerate(pyramid(image, levels)):
        height, width = (_padded(level, tile) if padded else level).shape[:2]
        frames = [jpeg(part, subsampling=2) for part in _tiles(level, tile)]
        spacing = f"{mpp / 1000 * 2**i:.9f}"
        measures = _element(0x00180050, b"DS", "0.001") + _element(0x00280030, b"DS", f"{spacing}\\{spacing}")
        groups = _element(0x00289110, b"SQ", [measures])
        instance = f"{root}{100 + i}"
        meta = _element(0x00020001, b"OB", b"\0\1") + b"".join(
            _element(tag, b"UI", value)
            for tag, value in (
                (0x00020002, "1.2.840.10008.5.1.4.1.1.77.1.6"), (0x00020003, instance),
                (0x00020010, "1.2.840.10008.1.2.4.50"), (0x00020012, f"{root}1"),
            )
        )  # fmt: skip
        kinds = r"ORIGINAL\PRIMARY\VOLUME\NONE" if i == 0 else r"DERIVED\PRIMARY\VOLUME\RESAMPLED"
        body = b"".join(
            _element(*one)
            for one in (
                (0x00080008, b"CS", kinds), (0x00080016, b"UI", "1.2.840.10008.5.1.4.1.1.77.1.6"),
                (0x00080018, b"UI", instance), (0x00080060, b"CS", "SM"), (0x0020000D, b"UI", f"{root}2"),
                (0x0020000E, b"UI", f"{root}3"), (0x00200013, b"IS", i + 1), (0x00200052, b"UI", f"{root}4"),
                (0x00209311, b"CS", "TILED_FULL"), (0x00280002, b"US", 3), (0x00280004, b"CS", "YBR_FULL_422"),
                (0x00280006, b"US", 0), (0x00280008, b"IS", len(frames)), (0x00280010, b"US", tile),
                (0x00280011, b"US", tile), (0x00280100, b"US", 8), (0x00280101, b"US", 8), (0x00280102, b"US", 7),
                (0x00280103, b"US", 0), (0x00480001, b"FL", image.shape[1] * mpp / 1000),
                (0x00480002, b"FL", image.shape[0] * mpp / 1000), (0x00480006, b"UL", width),
                (0x00480007, b"UL", height), (0x00480302, b"UL", 1), (0x00480303, b"UL", 1),
                (0x52009229, b"SQ", [groups]),
            )
        )  # fmt: skip
        pieces = b"".join(
            struct.pack("<HHI", 0xFFFE, 0xE000, len(frame) + len(frame) % 2)
            + frame
            + b"\0" * (len(frame) % 2)
            for frame in frames
        )
        pixels = (
            struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
            + pieces + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        )  # fmt: skip
        paths.append(folder / f"{i + 1:06d}.dcm")
        head = b"\0" * 128 + b"DICM" + _element(0x00020000, b"UL", len(meta)) + meta
        paths[-1].write_bytes(head + body + pixels)
    return paths[0]


def write_ventana(path: Path, image: Pixels, mpp: float = 0.5, levels: int = 2) -> Path:
    """Write a Ventana BIF of one area without overlaps, each level half as large as the one before."""
    tile = 256
    columns, rows = image.shape[1] // tile, image.shape[0] // tile
    iscan = f'<iScan Magnification="{10 / mpp:g}" ScanRes="{mpp}" Z-layers="1" ScannerModel="iScan Coreo"/>'

    def number(column: int, row: int) -> int:  # from the bottom left on, turning at each row's end
        up = rows - 1 - row
        return up * columns + (columns - 1 - column if up % 2 else column) + 1

    pairs = [("RIGHT", (c, r), (c + 1, r)) for r in range(rows) for c in range(columns - 1)]
    pairs += [("UP", (c, r + 1), (c, r)) for r in range(rows - 1) for c in range(columns)]
    joints = "".join(
        f'<TileJointInfo FlagJoined="1" Confidence="99" Direction="{way}" Tile1="{number(*one)}" '
        f'Tile2="{number(*other)}" OverlapX="0" OverlapY="0"/>'
        for way, one, other in pairs
    )
    encode = (
        f'<EncodeInfo Ver="2"><SlideStitchInfo><ImageInfo AOIScanned="1" AOIIndex="0" Width="{tile}" Height="{tile}" '
        f'NumRows="{rows}" NumCols="{columns}" Pos-X="0" Pos-Y="0">{joints}</ImageInfo></SlideStitchInfo><AoiOrigin>'
        '<AOI0 OriginX="0" OriginY="0"/></AoiOrigin></EncodeInfo>'
    )
    pages = [("Label Image", np.full((256, 256, 3), 235, np.uint8), iscan)]
    for i, level in enumerate(pyramid(image[: rows * tile, : columns * tile], levels)):
        pages.append((f"level={i} mag={10 / mpp / 2**i:g} quality=90", level, encode if i == 0 else None))
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for text, pixels, xml in pages:
            tags = [(700, 1, len(xml), xml.encode(), True)] if xml else []
            writer.write(
                pixels, tile=(tile, tile), photometric="rgb", compression="jpeg", description=text, metadata=None,
                extratags=tags,
            )  # fmt: skip
    return path


def write_ndpi(path: Path, image: Pixels, mpp: float = 0.5, levels: int = 3) -> Path:
    """Write a Hamamatsu NDPI: each level one JPEG with restart markers, and a macro."""
    pages = [
        (jpeg(level, restart_marker_blocks=4, subsampling=0), level.shape, 10 / mpp / 2**i)
        for i, level in enumerate(pyramid(image, levels))
    ]
    macro = np.full((128, 320, 3), 235, np.uint8)
    pages.append((jpeg(macro, subsampling=0), macro.shape, -1.0))
    with tifffile.TiffWriter(path) as writer:
        for coded, shape, lens in pages:
            unit = 10 / lens if lens > 0 else 100
            tags = [
                (271, 2, 0, "Hamamatsu", True), (272, 2, 0, "C9600-12", True), (65420, 4, 1, 1, True),
                (65421, 11, 1, lens, True), (65422, 9, 1, 0, True), (65423, 9, 1, 0, True), (65424, 9, 1, 0, True),
            ]  # fmt: skip
            writer.write(
                iter([coded]), shape=shape, dtype=np.uint8, rowsperstrip=shape[0], photometric="ycbcr",
                compression="jpeg", subsampling=(1, 1), metadata=None, extratags=tags,
                resolution=(1e4 / unit, 1e4 / unit), resolutionunit="CENTIMETER",
            )  # fmt: skip
    return path


def write_philips(
    path: Path, image: Pixels, mpp: float = 0.5, levels: int = 3, described: bool = True, tile: int = 256
) -> Path:
    """Write a Philips TIFF: levels are padded to whole tiles, and the description says by how much each is reduced."""
    found = [_padded(level, tile) for level in pyramid(_padded(image, tile), levels)]
    sections = "".join(
        '<DataObject ObjectType="PixelDataRepresentation">'
        f'<Attribute Name="DICOM_PIXEL_SPACING">"{mpp / 1000 * 2**i}" "{mpp / 1000 * 2**i}"</Attribute>'
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_NUMBER">{i}</Attribute></DataObject>'
        for i in range(levels)
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><DataObject ObjectType="DPUfsImport"><Attribute Name="PIM_DP_SCANNED_IMAGES">'
        '<Array><DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>'
        f'<Attribute Name="DICOM_PIXEL_SPACING">"{mpp / 1000}" "{mpp / 1000}"</Attribute>'
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>{sections}</Array></Attribute></DataObject>'
        "</Array></Attribute></DataObject>"
    )
    with tifffile.TiffWriter(path) as writer:
        for i, level in enumerate(found):
            writer.write(
                level, tile=(tile, tile), photometric="rgb", compression="jpeg", metadata=None,
                description=text if i == 0 and described else None, subfiletype=1 if i else 0,
                software="Philips DP v1.0" if described else None,
            )  # fmt: skip
    return path
