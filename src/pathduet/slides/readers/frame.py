"""Where a viewer has its origin: at the corner of level 0, or of the part that a file declares as scanned.

MIRAX, some Ventana and Leica files declare bounds (``openslide.bounds-x`` and so on): level 0 is the whole glass, the scanned
part a rectangle in it. QuPath, which opens them with OpenSlide, shows that part alone and counts from its corner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pathduet.core.errors import InputError
from pathduet.slides.readers.source_choice import open_source

FrameName = Literal["level0", "qupath"]
FRAMES: tuple[FrameName, ...] = ("level0", "qupath")
_BOUNDS = tuple(f"openslide.bounds-{name}" for name in ("x", "y", "width", "height"))


@dataclass(frozen=True)
class Frame:
    """An origin of coordinates.

    Attributes
    ----------
    name : {"level0", "qupath"}
    x, y : int
        Its place in level-0 pixels.
    size : (int, int) or None
        Width and height of what is shown; None if that is all of level 0.
    """

    name: FrameName = "level0"
    x: int = 0
    y: int = 0
    size: tuple[int, int] | None = None

    @property
    def about(self) -> dict[str, object]:
        """What a file says about its coordinates."""
        return {"frame": self.name, "origin_level0_px": [self.x, self.y], "unit": "level-0 pixels"}


LEVEL0 = Frame()


def qupath_frame(properties: Mapping[str, str]) -> Frame:
    """Return the frame in which QuPath shows a slide with these properties.

    As QuPath's OpenSlide server decides: all four bounds and whole numbers, else the whole of level 0.
    """
    try:
        x, y, width, height = (int(properties[name]) for name in _BOUNDS)
    except (KeyError, ValueError):
        return Frame("qupath")
    return Frame("qupath", x, y, (width, height))


def frame_of(name: FrameName, slide_id: str, path: Path) -> Frame:
    """Return the frame of a name for a slide; for QuPath's the file is opened.

    Parameters
    ----------
    path : Path
        The raw slide; ``Path()`` if there is none.

    Raises
    ------
    SlideError
        ``unreadable``.
    InputError
        If there is no raw slide.
    """
    if name == "level0":
        return LEVEL0
    if path == Path():
        found = "no raw slide, which says where QuPath counts from"
        raise InputError.of(
            f"slide {slide_id}", found, "give its `path` in slides.tsv, or use --frame level0"
        )
    source = open_source(slide_id, path)
    try:
        return qupath_frame(source.properties)
    finally:
        source.close()
