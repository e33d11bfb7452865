"""TIFF that OpenSlide does not open, read by tifffile: OME-TIFF, striped, planar, sparse, grey, 16 bits, BigTIFF."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from pathduet.slides.readers.pixel_source import Claimed, SeveralPictures, Unsupported, positive, raise_fault
from pathduet.slides.readers.pyramid_levels import reduction
from pathduet.slides.readers.tiff_pages import TiffPage, TiffPixels, open_tiff, short

_MAX_PAGES = 200
_ASPECT_TOLERANCE_PX = 2.0  # a level's edge may be rounded up or down
_UM_PER = {
    "m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "Å": 1e-4,
    "micrometer": 1.0, "micrometre": 1.0, "in": 25_400.0, "inch": 25_400.0, "pt": 25_400.0 / 72.0,
}  # fmt: skip
_UNITS = {2: "inch", 3: "centimeter"}
# Vendors whose TIFF needs their own reader, by tifffile's names: padded levels, several specimens, pixels in other files.
_VENDORS = ("bif", "ndpi", "philips", "qpi", "scn")
# A name, or a line of a description, that consists only of this: "label image", "macro 1280x431".
_BESIDE = re.compile(
    r"^\s*(label|macro|overview|thumbnail|barcode|preview)( image)?( \d+x\d+)?\s*$", re.I | re.M
)
# A picture below both limits (pixels, and share of the largest picture's pixels) is a label or a thumbnail.
_SMALL_PX, _SMALL_SHARE = 2_000_000, 0.25
_LISTED = 12


@dataclass(frozen=True)
class Picture:
    """A picture of a TIFF: its page, its smaller copies, and its attributes from OME-XML."""

    name: str
    page: tifffile.TiffPage
    ome: dict[str, str]
    smaller: list[tifffile.TiffPage] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.page.imagewidth), int(self.page.imagelength)

    def __str__(self) -> str:
        return f"{self.name + ', ' if self.name else ''}{self.size[0]} x {self.size[1]} px"


class TiffSource:
    """A picture of a TIFF and its smaller copies; see :class:`pathduet.slides.readers.pixel_source.PixelSource`.

    Parameters
    ----------
    path : Path
    scene : str
        Which of several pictures, by name or by number from 0; empty for a file of one picture.

    Raises
    ------
    Unsupported
        If it is not a TIFF, is a vendor's, is not grey or RGB, or has several pictures and none is chosen.
    """

    library = "tifffile"

    def __init__(self, path: Path, scene: str = "") -> None:
        file = open_tiff(path)
        try:
            _check_chain(file, path.stat().st_size)
            vendor = next((name for name in _VENDORS if getattr(file, f"is_{name}")), None)
            if vendor is not None:
                raise Claimed(f"a TIFF of a vendor ({vendor}) that OpenSlide does not recognise as one")
            pictures, beside = _pictures(file)
            picture = _chosen(pictures, scene)
            base = TiffPage(picture.page)
            levels = [base]
            for page in sorted(picture.smaller, key=lambda p: -int(p.imagewidth)):
                if _is_level(levels[-1].page, page):
                    levels.append(TiffPage(page))
            self.properties = _properties(file, picture)
        except Unsupported:
            file.close()
            raise
        except Exception as error:  # damaged directories raise almost anything
            file.close()
            raise_fault(error, path)
            raise Unsupported(f"tifffile: {short(error)}") from error
        self.vendor = "ome-tiff" if file.is_ome else "tiff"
        self.level_dimensions: tuple[tuple[int, int], ...] = tuple(
            (page.width, page.height) for page in levels
        )
        self.level_downsamples: tuple[float, ...] = tuple(
            reduction(picture.size, (page.width, page.height), (page.tile_w, page.tile_h))
            or (base.width / page.width + base.height / page.height) / 2
            for page in levels
        )
        self.notes: tuple[str, ...] = tuple(
            f"a picture of {one} in the file is treated as a label" for one in beside
        )
        self.jpeg = base.compression == 7
        self._pixels = TiffPixels(file, levels)

    def read(
        self, level: int, x: int, y: int, width: int, height: int
    ) -> tuple[NDArray[np.uint8], float, float]:
        """Read a box of a level's pixels; white beyond the edge and where a sparse file has no tile."""
        return self._pixels.read(level, x, y, width, height), x, y

    def close(self) -> None:
        """Close the file."""
        self._pixels.close()


def _check_chain(file: tifffile.TiffFile, size: int) -> None:
    """Refuse a file whose chain of directories is truncated or circular: pages are missing, perhaps the largest."""
    form, handle = file.tiff, file.filehandle
    handle.seek(8 if form.is_bigtiff else 4)
    seen: set[int] = set()
    while True:
        link = handle.read(form.offsetsize)
        if len(link) < form.offsetsize:
            raise Unsupported("a TIFF whose directories are cut off")
        offset = struct.unpack(form.offsetformat, link)[0]
        if not offset:
            return
        if offset in seen or offset >= size or len(seen) > _MAX_PAGES:
            raise Unsupported("a TIFF whose chain of directories is damaged")
        seen.add(offset)
        handle.seek(offset)
        count = handle.read(form.tagnosize)
        if len(count) < form.tagnosize:
            raise Unsupported("a TIFF whose directories are cut off")
        handle.seek(struct.unpack(form.tagnoformat, count)[0] * form.tagsize, 1)


def _pictures(file: tifffile.TiffFile) -> tuple[list[Picture], list[Picture]]:
    """Return the pictures of a TIFF in file order, each with its smaller copies, and those treated as labels.

    Pictures that are named as labels, macros or thumbnails, or marked as reduced copies, are in neither list.
    """
    pages: list[Any] = []
    for page in file.pages:
        pages.append(page)
        if len(pages) > _MAX_PAGES:
            raise Unsupported(f"a TIFF of more than {_MAX_PAGES} pages: a stack, not a slide")
    images = ome_images(file.ome_metadata or "") if file.is_ome else {}
    found: list[Picture] = []
    for i, page in enumerate(pages):
        if isinstance(page, tifffile.TiffPage):
            size = {"SizeX": str(page.imagewidth), "SizeY": str(page.imagelength)}.items()
            fitting = (one for one in (images.get(i, {}), *images.values()) if size <= one.items())
            about = next(fitting, images.get(i, {}) if i == 0 else {})
            found.append(Picture(about.get("Name", ""), page, about))
    if not found:
        raise Unsupported("a TIFF without a page")
    if len(found) == 1 and (file.is_imagej or file.is_shaped):
        planes = file.series[0].size // max(1, found[0].page.size)  # the others lack their own pages
        if planes > 1:
            raise Unsupported(f"a TIFF of {planes} planes in one page: a stack; save the intended plane")
    found = [one for one in found if not _BESIDE.search(one.name or _title(one.page))] or found
    largest = max(found, key=lambda one: one.size[0] * one.size[1])
    pictures: list[Picture] = []
    beside: list[Picture] = []
    reduced: list[Picture] = []
    for one in found:
        fits = not one.ome and any(_is_level(other.page, one.page) for other in found)
        small = one.size[0] * one.size[1] <= min(_SMALL_PX, _SMALL_SHARE * largest.size[0] * largest.size[1])
        if fits:
            reduced.append(one)
        elif one is largest or not one.page.is_reduced:
            (beside if small and not one.ome else pictures).append(one)
    for one in reduced:  # a copy follows its picture
        whole = [other for other in pictures if _is_level(other.page, one.page)]
        before = [other for other in whole if other.page.index < one.page.index]
        if whole:
            (before or whole)[-1 if before else 0].smaller.append(one.page)
    for one in pictures:
        one.smaller.extend(p for p in (one.page.pages or [])[:_MAX_PAGES] if isinstance(p, tifffile.TiffPage))
    return pictures, beside


def _title(page: tifffile.TiffPage) -> str:
    """Return a page's name and the beginning of its description."""
    name = page.tags.get("PageName")
    return "\n".join([str(name.value) if name is not None else "", (page.description or "")[:200]])


def _chosen(pictures: Sequence[Picture], scene: str) -> Picture:
    """Return the chosen picture.

    Raises
    ------
    Unsupported
        If none or several match; lists the pictures.
    """
    meant = (
        [one for i, one in enumerate(pictures) if scene in (str(i), one.name)] if scene else list(pictures)
    )
    if len(meant) == 1:
        return meant[0]
    listed = "; ".join(f"{i} ({one})" for i, one in enumerate(pictures[:_LISTED]))
    more = f"; and {len(pictures) - _LISTED} more" if len(pictures) > _LISTED else ""
    asked = f", none or several of which are {scene!r}" if scene else " (scenes, channels or a stack)"
    found = f"{len(pictures)} picture{'s' if len(pictures) > 1 else ''}{asked}: {listed}{more}"
    raise SeveralPictures(f"a TIFF of {found}")


def _is_level(finer: tifffile.TiffPage, page: tifffile.TiffPage) -> bool:
    """Return whether a page may be a smaller copy of another: reduced equally in both directions, or padded to tiles."""
    size0 = (int(finer.imagewidth), int(finer.imagelength))
    size = (int(page.imagewidth), int(page.imagelength))
    if not (0 < size[0] < size0[0] and 0 < size[1] < size0[1]) or bool(page.is_tiled) != bool(finer.is_tiled):
        return False
    if page.dtype != finer.dtype or int(page.samplesperpixel) != int(finer.samplesperpixel):
        return False
    tile = (int(page.tilewidth), int(page.tilelength)) if page.is_tiled else None
    if reduction(size0, size, tile):
        return True
    ratio = size0[0] / size[0]
    alike = abs(ratio * size[1] - size0[1]) <= _ASPECT_TOLERANCE_PX * ratio
    return alike and (page.is_reduced or page.is_subifd)


def _properties(file: tifffile.TiffFile, picture: Picture) -> dict[str, str]:
    """Return the pixel size and so on from tags and description, under OpenSlide's names where they exist."""
    page, found = picture.page, {}
    for name in ("XResolution", "YResolution"):
        tag = page.tags.get(name)
        number = positive(tag.value) if tag is not None else None
        if number:
            found[f"tiff.{name}"] = f"{number:.9g}"
    unit = page.tags.get("ResolutionUnit")
    found["tiff.ResolutionUnit"] = _UNITS.get(int(unit.value) if unit is not None else 2, "none")
    found |= {f"openslide.level[0].{name}": str(px) for name, px in zip(("width", "height"), picture.size)}
    text = page.description or ""
    if file.is_ome:
        found |= ome_pixel_size(picture.ome)
    elif text.startswith("Aperio"):
        found["tiff.ImageDescription"] = text
        for name, key in (("MPP", "aperio.MPP"), ("AppMag", "openslide.objective-power")):
            match = re.search(rf"\|\s*{name}\s*=\s*([0-9.,eE+-]+)", text)
            if match:  # accepts a decimal comma, as OpenSlide does
                found[key] = match[1].replace(",", ".")
    return found


def ome_images(xml: str) -> dict[int, dict[str, str]]:
    """Return the pictures' attributes in OME-XML, by page number: those of ``Pixels``, name and power.

    >>> ome_images('<OME><Image Name="a"><Pixels SizeX="3"><TiffData IFD="4"/></Pixels></Image></OME>')
    {4: {'SizeX': '3', 'Name': 'a'}}
    """
    try:
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError):
        return {}
    for element in root.iter():
        element.tag = str(element.tag).rpartition("}")[2]
    powers = [one.get("NominalMagnification", "") for one in root.iter("Objective")]
    found: dict[int, dict[str, str]] = {}
    following = 0
    for image in root.iter("Image"):
        pixels = image.find("Pixels")
        if pixels is None:
            continue
        about = {**pixels.attrib, "Name": image.get("Name", "").strip()}
        if powers:
            about["NominalMagnification"] = powers[0]
        parts = [(dict(block.attrib), block.findtext("UUID")) for block in pixels.iter("TiffData")]
        here = [
            block for block, uuid in parts if uuid in (None, root.get("UUID", uuid))
        ]  # not in another file of a set
        blocks = here if parts else [{}]
        for block in blocks:
            first, count = (
                int(block[key]) if block.get(key, "").isdigit() else otherwise
                for key, otherwise in (("IFD", following), ("PlaneCount", 1))
            )
            for ifd in range(first, first + min(count, _MAX_PAGES)):
                found[ifd] = about
            following = first + count
    return found


def ome_pixel_size(about: dict[str, str]) -> dict[str, str]:
    """Return the pixel size (um), objective power and size that OME-XML declares for a picture.

    >>> ome_pixel_size({"PhysicalSizeX": "0.00025", "PhysicalSizeXUnit": "mm", "PhysicalSizeY": "0,25"})
    {'ome.PhysicalSizeX': '0.25', 'ome.PhysicalSizeY': '0.25'}
    """
    found = {}
    for axis in ("X", "Y"):
        number = positive(about.get(f"PhysicalSize{axis}", "").strip().replace(",", "."))
        factor = _UM_PER.get(about.get(f"PhysicalSize{axis}Unit", "µm").strip())
        if number and factor:
            found[f"ome.PhysicalSize{axis}"] = f"{number * factor:.9g}"
        if about.get(f"Size{axis}", "").isdigit():
            found[f"ome.Size{axis}"] = about[f"Size{axis}"]
    if positive(about.get("NominalMagnification")):
        found["openslide.objective-power"] = about["NominalMagnification"]
    return found
