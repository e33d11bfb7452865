"""TIFF that OpenSlide does not open, through tifffile: OME-TIFF, striped, planar, sparse, grey, 16 bits, BigTIFF."""

from __future__ import annotations

import html
import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from pathduet.slides.readers.pixel_source import Unsupported
from pathduet.slides.readers.tiff_pages import TiffPage, TiffPixels, open_tiff, short

_MAX_PAGES = 200
_ASPECT_TOLERANCE_PX = 2.0  # a level's edge may be rounded up or down
_UM_PER = {
    "m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "Å": 1e-4,
    "micrometer": 1.0, "micrometre": 1.0, "in": 25_400.0, "inch": 25_400.0, "pt": 25_400.0 / 72.0,
}  # fmt: skip
_UNITS = {2: "inch", 3: "centimeter"}


class TiffSource:
    """A TIFF and the smaller copies of its largest picture; see :class:`pathduet.slides.readers.pixel_source.PixelSource`.

    Raises
    ------
    Unsupported
        If it is no TIFF, or not one picture in grey or RGB.
    """

    library = "tifffile"

    def __init__(self, path: Path) -> None:
        file = open_tiff(path)
        try:
            _check_chain(file, path.stat().st_size)
            main, smaller = _pages(file)
            base = TiffPage(main)
            levels = [base]
            for page in sorted(smaller, key=lambda p: -int(p.imagewidth)):
                if _is_level(base, levels[-1], page):
                    levels.append(TiffPage(page))
            self.properties = _properties(file, main)
        except Unsupported:
            file.close()
            raise
        except Exception as error:  # damaged directories raise almost anything
            file.close()
            raise Unsupported(f"tifffile: {short(error)}") from error
        self.vendor = "ome-tiff" if file.is_ome else "tiff"
        self.level_dimensions: tuple[tuple[int, int], ...] = tuple(
            (page.width, page.height) for page in levels
        )
        self.level_downsamples: tuple[float, ...] = tuple(
            (base.width / page.width + base.height / page.height) / 2 for page in levels
        )
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
    """Refuse a file whose chain of directories is cut or goes in circles: pages are missing, perhaps the largest."""
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


def _pages(file: tifffile.TiffFile) -> tuple[tifffile.TiffPage, list[tifffile.TiffPage]]:
    """Return the largest page, and the others and its subpages."""
    pages: list[Any] = []
    for page in file.pages:
        pages.append(page)
        if len(pages) > _MAX_PAGES:
            raise Unsupported(f"a TIFF of more than {_MAX_PAGES} pages: a stack, not a slide")
    pages = [page for page in pages if isinstance(page, tifffile.TiffPage)]
    if not pages:
        raise Unsupported("a TIFF without a page")
    main = max(pages, key=lambda p: int(p.imagewidth) * int(p.imagelength))
    same = [p for p in pages if p.shape == main.shape]
    if len(same) > 1:
        raise Unsupported(
            f"a TIFF of {len(same)} pages of {main.imagewidth} x {main.imagelength}: channels or a stack, not one "
            "RGB picture; convert it"
        )
    subpages = [p for p in (main.pages or []) if isinstance(p, tifffile.TiffPage)][:_MAX_PAGES]
    return main, [p for p in pages if p is not main] + subpages


def _is_level(base: TiffPage, finer: TiffPage, page: tifffile.TiffPage) -> bool:
    width, height = int(page.imagewidth), int(page.imagelength)
    if not (0 < width < finer.width and 0 < height < finer.height) or bool(page.is_tiled) != base.tiled:
        return False
    if page.dtype != base.page.dtype or int(page.samplesperpixel) != base.samples:
        return False
    # the same picture: both edges are reduced alike, up to rounding
    return abs(base.width / width * height - base.height) <= _ASPECT_TOLERANCE_PX * base.width / width


def _number(value: Any) -> float | None:
    try:
        if isinstance(value, tuple):
            value = value[0] / value[1]
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _properties(file: tifffile.TiffFile, page: tifffile.TiffPage) -> dict[str, str]:
    """Return what the tags and the description say of the pixel size, under OpenSlide's names where there are."""
    found = {}
    for name in ("XResolution", "YResolution"):
        tag = page.tags.get(name)
        number = _number(tag.value) if tag is not None else None
        if number:
            found[f"tiff.{name}"] = f"{number:.9g}"
    unit = page.tags.get("ResolutionUnit")
    found["tiff.ResolutionUnit"] = _UNITS.get(int(unit.value) if unit is not None else 2, "none")
    text = page.description or ""
    if file.is_ome:
        found |= ome_pixel_size(file.ome_metadata or "", (int(page.imagewidth), int(page.imagelength)))
    elif text.startswith("Aperio"):
        for name, key in (("MPP", "aperio.MPP"), ("AppMag", "openslide.objective-power")):
            match = re.search(rf"\|\s*{name}\s*=\s*([0-9.,eE+-]+)", text)
            if match:  # some languages' decimal comma, as OpenSlide takes it
                found[key] = match[1].replace(",", ".")
    return found


def ome_pixel_size(xml: str, size0: tuple[int, int] | None = None) -> dict[str, str]:
    """Return the pixel size (um) and objective power that OME-XML declares.

    Of several pictures (label, macro, slide) the one of `size0` pixels is meant, else the first.

    >>> ome_pixel_size('<OME><Pixels PhysicalSizeX="0.00025" PhysicalSizeXUnit="mm" PhysicalSizeY="0.25"/></OME>')
    {'ome.PhysicalSizeX': '0.25', 'ome.PhysicalSizeY': '0.25'}
    """
    found = {}
    pictures = [_attributes(tag) for tag in re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", xml)]
    wanted = {"SizeX": str(size0[0]), "SizeY": str(size0[1])} if size0 else {}
    meant = next((picture for picture in pictures if wanted.items() <= picture.items()), None)
    pixels = meant or (pictures[0] if pictures else {})
    for axis in ("X", "Y"):
        number = _number(pixels.get(f"PhysicalSize{axis}", "").replace(",", "."))
        factor = _UM_PER.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if number and factor:
            found[f"ome.PhysicalSize{axis}"] = f"{number * factor:.9g}"
    power = re.search(r"\bNominalMagnification=[\"']([^\"']*)[\"']", xml)
    if power and _number(power[1]):
        found["openslide.objective-power"] = power[1]
    return found


def _attributes(tag: str) -> dict[str, str]:
    """Return an XML tag's attributes; character references (``&#181;m``) are resolved."""
    pairs = re.findall(r"""([\w:]+)\s*=\s*("[^"]*"|'[^']*')""", tag)
    return {name: html.unescape(value[1:-1]).strip() for name, value in pairs}
