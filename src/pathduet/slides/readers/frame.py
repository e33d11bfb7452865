"""The origin of coordinates on a slide: the corner of level 0, or of the part that a file declares as scanned.

MIRAX, Leica, some Ventana and Zeiss files declare bounds (``openslide.bounds-x`` and so on): level 0 is the whole glass, the scanned
part a rectangle in it. QuPath, which opens them with OpenSlide, shows only that part and counts from its corner
(qupath/qupath, ``OpenslideImageServer.java``, the same in 0.2 at commit 0e0ee194 and in 0.5 at 052a2854), unless opened with ``--no-crop``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pathduet.core.errors import InputError

FrameName = Literal["level0", "qupath"]
FRAMES: tuple[FrameName, ...] = ("level0", "qupath")
_BOUNDS = tuple(f"openslide.bounds-{name}" for name in ("x", "y", "width", "height"))


@dataclass(frozen=True)
class Frame:
    """A coordinate frame.

    Attributes
    ----------
    name : {"level0", "qupath"}
    x, y : int
        Its origin in level-0 pixels.
    size : (int, int) or None
        Width and height of the part shown; None if that is all of level 0.
    """

    name: FrameName = "level0"
    x: int = 0
    y: int = 0
    size: tuple[int, int] | None = None

    @property
    def about(self) -> dict[str, object]:
        """Description of the coordinates, to record in a file."""
        return {"frame": self.name, "origin_level0_px": [self.x, self.y], "unit": "level-0 pixels"}


LEVEL0 = Frame()


def declared_bounds(properties: Mapping[str, str]) -> tuple[int, ...]:
    """Return x, y, width and height of the part that a slide declares as scanned, in level-0 pixels; () if it declares none.

    As in QuPath's OpenSlide server, all four must be whole numbers.
    """
    try:
        return tuple(int(properties[name]) for name in _BOUNDS)
    except (KeyError, ValueError):
        return ()


def _qupath(bounds: Sequence[int]) -> Frame:
    return Frame("qupath", bounds[0], bounds[1], (bounds[2], bounds[3])) if bounds else Frame("qupath")


def frame_of(name: FrameName | None, slide_id: str, bounds: Sequence[int] | None) -> Frame:
    """Return the frame to write coordinates in.

    Parameters
    ----------
    name : {"level0", "qupath"} or None
        None: QuPath's if the slide's bounds are known, else level 0.
    bounds : sequence of int or None
        From :func:`declared_bounds`; None if unknown.

    Raises
    ------
    InputError
        If QuPath's frame is requested and the bounds are unknown.
    """
    if bounds is None and name == "qupath":
        found = "QuPath's frame is unknown: no raw slide, or tiles of an older version"
        advice = "give its `path` in slides.tsv and make its tiles again, or use --frame level0"
        raise InputError.of(f"slide {slide_id}", found, advice)
    return LEVEL0 if bounds is None or name == "level0" else _qupath(bounds)


def stated_frame(stated: str, own: str, bounds: Sequence[int] | None, size0: tuple[int, int]) -> Frame:
    """Return the frame of a drawing's coordinates; never guess if the frames differ.

    Parameters
    ----------
    stated, own : str
        The frame stated in the sheet or configuration, and in the drawing itself; empty if none is stated.
    bounds : sequence of int or None
        From :func:`declared_bounds`; None if unknown.
    size0 : (int, int)
        Width and height of level 0.

    Raises
    ------
    ValueError
        If the frame is unknown, contradictory or missing.
    """
    if stated and own and stated != own:
        raise ValueError(f"states the frame {own}, but {stated} is given for it")
    name = stated or own
    if name not in ("", *FRAMES):
        raise ValueError(f"states the frame {name!r}, not one of {', '.join(FRAMES)}")
    if name == "qupath":
        if bounds is None:
            raise ValueError("is in QuPath's frame, but there is no raw slide to say where that starts")
        return _qupath(bounds)
    if not name and bounds and tuple(bounds) != (0, 0, *size0):
        raise ValueError(
            f"does not state its frame. The slide declares {bounds_in_words(bounds)}: QuPath shows that part alone and "
            "counts from its corner, other tools from the corner of level 0"
        )
    return LEVEL0


def bounds_in_words(bounds: Sequence[int]) -> str:
    """Return a description of declared bounds, for messages."""
    x, y, width, height = bounds
    return f"a scanned part of {width} x {height} pixels at ({x}, {y}) of level 0"
