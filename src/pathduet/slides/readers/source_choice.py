"""Which library reads a slide.

OpenSlide knows the vendors' formats; tifffile reads what OpenSlide does not (OME-TIFF, striped and sparse TIFF) and decodes
plain TIFF tiles several times faster, to the same pixels; Pillow reads PNG and JPEG regions.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pathduet.core.errors import SlideError
from pathduet.slides.readers.openslide_source import OpenSlideSource
from pathduet.slides.readers.picture_source import PictureSource
from pathduet.slides.readers.pixel_source import Absurd, PixelSource, UnknownColours, Unsupported
from pathduet.slides.readers.tiff_source import TiffSource

#: Longest edge a level may declare; at 0.25 um that is half a metre of glass.
MAX_EDGE = 2_000_000


def open_source(slide_id: str, path: Path) -> PixelSource:
    """Open a slide with the library that reads it best.

    Raises
    ------
    SlideError
        ``unreadable``; the message names the file, not its folder, and what each library said.
    """
    if not path.is_file():
        raise SlideError(slide_id, "unreadable", f"no file {path.name}", "check the path in slides.tsv")
    refusals = []

    def attempt(source: Callable[[Path], PixelSource]) -> PixelSource | Unsupported:
        try:
            return source(path)
        except Unsupported as error:
            if str(error):
                refusals.append(str(error))
            return error

    opened = attempt(OpenSlideSource)
    # Plain TIFF is tifffile's: OpenSlide takes an OME-TIFF for one, and sees neither its pyramid nor its pixel size.
    generic = not isinstance(opened, Unsupported) and opened.vendor == "generic-tiff"
    if generic or (isinstance(opened, Unsupported) and not isinstance(opened, Absurd)):
        second = attempt(TiffSource)
        if not isinstance(second, Unsupported):
            if not isinstance(opened, Unsupported):
                opened.close()
            opened = second
        elif generic and not isinstance(second, UnknownColours):
            assert not isinstance(opened, Unsupported)
            opened.close()
            opened = second
        if isinstance(opened, Unsupported) and not isinstance(second, Absurd):
            tiff = isinstance(second, UnknownColours)
            opened = attempt(lambda path: PictureSource(path, tiff))
    if not isinstance(opened, Unsupported):
        problem = _implausible(opened)
        if problem:
            opened.close()
            raise SlideError(
                slide_id, "unreadable", f"{path.name} {problem}", "the file is damaged: copy it again"
            )
        return opened
    found = "; ".join(refusals).replace(str(path), path.name).replace(f"{path.parent}/", "")
    raise SlideError(
        slide_id,
        "unreadable",
        f"{path.name} ({path.stat().st_size:,} bytes) cannot be opened: {found}",
        "compare size and checksum with the source; copy it again or convert it",
    )


def _implausible(source: PixelSource) -> str:
    for width, height in source.level_dimensions:
        if not (0 < width <= MAX_EDGE and 0 < height <= MAX_EDGE):
            return f"declares a level of {width:,} x {height:,} pixels; at most {MAX_EDGE:,} are believed"
    downsamples = source.level_downsamples
    if any(not 0.99 <= d < float("inf") for d in downsamples):
        return f"declares levels reduced by {', '.join(f'{d:.3g}' for d in downsamples)}"
    return ""
