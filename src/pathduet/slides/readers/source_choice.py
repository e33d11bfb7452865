"""Which library reads a slide.

OpenSlide reads the vendors' formats; tifffile reads what OpenSlide does not (OME-TIFF, striped and sparse TIFF) and decodes
plain TIFF tiles several times faster, to the same pixels; Pillow reads PNG and JPEG regions.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pathduet.core.errors import SlideError
from pathduet.slides.readers.openslide_source import OpenSlideSource
from pathduet.slides.readers.picture_source import PictureSource
from pathduet.slides.readers.pixel_source import (
    Absurd,
    Claimed,
    DecodeError,
    PixelSource,
    SeveralPictures,
    UnknownColours,
    Unsupported,
)
from pathduet.slides.readers.tiff_source import TiffSource

#: Longest edge that a level may declare; at 0.25 um that is half a metre of glass.
MAX_EDGE = 2_000_000
TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf2", ".tf8")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
#: Any other suffix is a vendor's: tifffile and Pillow might read such a file's label or preview.
PLAIN_SUFFIXES = TIFF_SUFFIXES + PICTURE_SUFFIXES
_COMPARED_PX, _SAME_COLOUR = 32, 2.0  # grey levels, on average


def open_source(slide_id: str, path: Path, scene: str = "") -> PixelSource:
    """Open a slide with the library that reads it best.

    No other library reads a file that a vendor's reader recognises but refuses, or that has a vendor's suffix.

    Parameters
    ----------
    slide_id : str
        For messages.
    path : Path
    scene : str
        Which picture of a TIFF with several, by name or number.

    Raises
    ------
    SlideError
        ``unreadable``; the message gives the file's name without its folder, and each library's error.
    """
    if not path.is_file():
        raise SlideError(slide_id, "unreadable", f"no file {path.name}", "check the path in slides.tsv")
    refusals: list[Unsupported] = []

    def attempt(source: Callable[[Path], PixelSource]) -> PixelSource | Unsupported:
        try:
            return source(path)
        except Unsupported as error:
            refusals.append(error)
            return error

    opened = attempt(OpenSlideSource)
    plain = path.suffix.lower() in PLAIN_SUFFIXES
    # tifffile reads plain TIFF: OpenSlide mistakes OME-TIFF for it, and finds neither pyramid nor pixel size.
    generic = not isinstance(opened, Unsupported) and opened.vendor == "generic-tiff"
    if not plain and (generic or type(opened) is Unsupported):
        if not isinstance(opened, Unsupported):
            opened.close()
        named = f"named {path.suffix}" if path.suffix else "without a suffix"
        opened = Unsupported(
            f"{named}, it is not read as a plain picture; one needs {', '.join(PLAIN_SUFFIXES)}"
        )
        refusals.append(opened)
    elif generic or (isinstance(opened, Unsupported) and not isinstance(opened, Absurd | Claimed)):
        second = attempt(lambda path: TiffSource(path, scene))
        if isinstance(second, TiffSource):
            if not isinstance(opened, Unsupported):
                if second.jpeg and not _same_colours(opened, second):
                    second.notes += (
                        "its colours are not those that OpenSlide shows: tags and tiles disagree",
                    )
                opened.close()
            opened = second
        elif generic and not isinstance(second, UnknownColours):
            assert not isinstance(opened, Unsupported)
            opened.close()
            opened = second
        if isinstance(opened, Unsupported) and not isinstance(second, Absurd | Claimed | SeveralPictures):
            tiff = isinstance(second, UnknownColours)
            opened = attempt(lambda path: PictureSource(path, tiff))
    if scene not in ("", "0") and not isinstance(opened, TiffSource | Unsupported):
        opened.close()
        opened = SeveralPictures(f"one picture for {opened.library}, and slides.tsv asks for scene {scene!r}")
        refusals.append(opened)
    if not isinstance(opened, Unsupported):
        problem = _implausible(opened)
        if problem:
            opened.close()
            raise SlideError(
                slide_id, "unreadable", f"{path.name} {problem}", "the file is damaged: copy it again"
            )
        return opened
    found = "; ".join(str(one) for one in refusals if str(one))
    found = found.replace(str(path), path.name).replace(f"{path.parent}/", "")
    advice = "compare size and checksum with the source; copy it again or convert it"
    if isinstance(refusals[-1], SeveralPictures):
        advice = "select one in the column `scene` of slides.tsv, by number or name; leave it empty for a file of one picture"
    elif isinstance(refusals[-1], Claimed):
        advice = "copy it again with all files that belong to it, or convert it to a tiled TIFF"
    size = path.stat().st_size
    raise SlideError(
        slide_id, "unreadable", f"{path.name} ({size:,} bytes) cannot be opened: {found}", advice
    )


def _same_colours(one: PixelSource, other: PixelSource) -> bool:
    """Return whether two libraries decode a tile to about the same colours."""
    if one.level_dimensions[0] != other.level_dimensions[0]:
        return True  # not the same picture
    width, height = one.level_dimensions[0]
    box = (0, width // 2, height // 2, min(_COMPARED_PX, width), min(_COMPARED_PX, height))
    try:
        first, second = (source.read(*box)[0].astype(int) for source in (one, other))
    except DecodeError:
        return True
    return bool(np.abs(first - second).mean() <= _SAME_COLOUR)


def _implausible(source: PixelSource) -> str:
    for width, height in source.level_dimensions:
        if not (0 < width <= MAX_EDGE and 0 < height <= MAX_EDGE):
            return f"declares a level of {width:,} x {height:,} pixels; at most {MAX_EDGE:,} are accepted"
    downsamples = source.level_downsamples
    if any(not 0.99 <= d < float("inf") for d in downsamples):
        return f"declares levels reduced by {', '.join(f'{d:.3g}' for d in downsamples)}"
    return ""
