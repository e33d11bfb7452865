"""The pixel size of a slide at level 0: its source is recorded, and an absurd value is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pathduet.core.errors import SlideError
from pathduet.slides.readers.pixel_source import positive

MIN_MPP, MAX_MPP = 0.05, 5.0
_UM_AT_1X = 10.0  # 0.25 um at 40x, 0.5 um at 20x
_POWER = "objective-power"
_DICOM_SPACING = "dicom.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing"
_QUITE_ANOTHER, _MEASURED = 1.3, 1.1  # factors; nominal powers are up to a fifth off, measurements are not
_NOT_SQUARE, _IMPOSSIBLE = 1.05, 2.05  # factors between x and y
# Aperio: "7200x8000 [0,0 7200x8000] (256x256) -> 1800x2000"; of "scanned [crop]" the crop counts
_APERIO_SIZE = re.compile(r"^Aperio[^\n;]*?\n\s*(\d+)x(\d+)(?:\s*\[\d+,\d+[ ,]\s*(\d+)x(\d+)\])?")
_UM_PER_UNIT = {"centimeter": 10_000.0, "inch": 25_400.0}


@dataclass(frozen=True)
class PixelSize:
    """Level-0 pixel size.

    Attributes
    ----------
    x, y : float
        Micrometres per pixel.
    source : str
        ``sheet``, ``file:<property>``, ``inferred:objective-power`` (10 um / power) or ``config``.
    note : str
        Other values in the file, if they differ strongly; and pixels that are not square.
    """

    x: float
    y: float
    source: str
    note: str = ""


def _from_file(properties: Mapping[str, str]) -> list[PixelSize]:
    """Return the pixel sizes that the file states, most trusted property first."""
    found = []
    x, y = (positive(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
    if x or y:
        found.append(PixelSize(x or y or math.nan, y or x or math.nan, "file:openslide.mpp-x"))
    aperio = positive(properties.get("aperio.MPP"))
    if aperio:
        found.append(PixelSize(aperio, aperio, "file:aperio.MPP"))
    x, y = (positive(properties.get(f"ome.PhysicalSize{axis}")) for axis in "XY")
    if x or y:
        found.append(PixelSize(x or y or math.nan, y or x or math.nan, "file:ome.PhysicalSizeX"))
    # PixelSpacing is millimetres between rows, then between columns
    y, x = (positive(properties.get(f"{_DICOM_SPACING}[{i}]")) for i in (0, 1))
    if x and y:
        found.append(PixelSize(1000.0 * x, 1000.0 * y, "file:dicom.PixelSpacing"))
    x, y = (
        _quotient(properties, f"dicom.ImagedVolume{length}", f"dicom.TotalPixelMatrix{count}")
        for length, count in (("Width", "Columns"), ("Height", "Rows"))
    )
    if x and y:
        found.append(PixelSize(1000.0 * x, 1000.0 * y, "file:dicom.ImagedVolumeWidth"))
    unit = _UM_PER_UNIT.get(properties.get("tiff.ResolutionUnit", "").lower())
    x = positive(properties.get("tiff.XResolution"))
    y = positive(properties.get("tiff.YResolution")) or x
    if unit and x and y:
        found.append(PixelSize(unit / x, unit / y, "file:tiff.XResolution"))
    x = positive(properties.get("image.dpi-x"))
    y = positive(properties.get("image.dpi-y")) or x
    if x and y:
        found.append(PixelSize(25_400.0 / x, 25_400.0 / y, "file:image.dpi-x"))
    power = positive(properties.get("openslide.objective-power"))
    if power:
        # an inference, not a measurement: scanners of the same nominal power differ by a few per cent
        found.append(PixelSize(_UM_AT_1X / power, _UM_AT_1X / power, f"inferred:{_POWER}"))
    return found


def _quotient(properties: Mapping[str, str], length: str, count: str) -> float | None:
    above, below = positive(properties.get(length)), positive(properties.get(count))
    return above / below if above and below else None


def _believable(size: PixelSize) -> bool:
    return 1 / _IMPOSSIBLE < size.x / size.y < _IMPOSSIBLE and _in_range(size)


def _in_range(size: PixelSize) -> bool:
    return MIN_MPP <= size.x <= MAX_MPP and MIN_MPP <= size.y <= MAX_MPP


def _notes(taken: PixelSize, others: Sequence[PixelSize], properties: Mapping[str, str]) -> str:
    """Return evidence against a pixel size; empty if there is none."""
    notes = []

    def differs(other: PixelSize) -> bool:
        nominal = any(size.source.startswith("inferred") for size in (taken, other))
        most = _QUITE_ANOTHER if nominal else _MEASURED
        return not 1 / most < math.sqrt(other.x * other.y / (taken.x * taken.y)) < most

    if odd := [size for size in others if differs(size)]:
        said = ", ".join(f"{s.source.partition(':')[2]} says {s.x:.4g}" for s in odd)
        source = taken.source.partition(":")[2] or taken.source
        notes.append(f"pixel size {taken.x:.4g} um of {source} taken, although {said}")
    # a sheet has one number for both directions: their ratio is the file's
    shape = others[0] if taken.source == "sheet" and others else taken
    if not 1 / _NOT_SQUARE < shape.x / shape.y < _NOT_SQUARE:
        notes.append(f"pixels are not square: {shape.x:.4g} x {shape.y:.4g} um")
    declared = _declared_size(properties)
    actual = _size(properties, "openslide.level[0].width", "openslide.level[0].height")
    if declared and actual and taken.source != "sheet" and max(declared) > _QUITE_ANOTHER * max(actual):
        notes.append(
            f"the description states {declared[0]} x {declared[1]} pixels, level 0 has {actual[0]} x {actual[1]}: "
            "if the finest level was dropped, the pixel size is larger than stated; give `mpp` in slides.tsv"
        )
    return "; ".join(notes)


def _size(properties: Mapping[str, str], *names: str) -> tuple[int, int] | None:
    width, height = (positive(properties.get(name)) for name in names)
    return (int(width), int(height)) if width and height else None


def _declared_size(properties: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the size that a file's description gives its finest level."""
    found = _APERIO_SIZE.match(properties.get("tiff.ImageDescription", "")[:2000])
    if found:
        return int(found[3] or found[1]), int(found[4] or found[2])
    return _size(properties, "ome.SizeX", "ome.SizeY")


def pixel_size(
    slide_id: str, properties: Mapping[str, str], sheet_mpp: float | None, default_mpp: float | None
) -> PixelSize:
    """Return the level-0 pixel size: sheet, then file, then the configured default.

    The last resort in a file is the nominal power of its objective; that is marked as an inference.

    A value outside 0.05-5 um in the file is skipped (the next source is tried); in the sheet it is refused,
    because it is intentional.

    Parameters
    ----------
    slide_id : str
        For messages.
    properties : mapping
        The reader's properties, under OpenSlide's names.
    sheet_mpp, default_mpp : float or None
        From the sample sheet and the configuration, in micrometres.

    Raises
    ------
    SlideError
        ``no_mpp``, naming every implausible value that was found.
    """
    advice = "give `mpp` for it in slides.tsv, or `slides.default_mpp` in the configuration"
    candidates = _from_file(properties)
    believable = [size for size in candidates if _believable(size)]
    if sheet_mpp is not None:
        size = PixelSize(sheet_mpp, sheet_mpp, "sheet")
        if not _believable(size):
            raise SlideError(
                slide_id,
                "no_mpp",
                f"slides.tsv says {sheet_mpp:g} um per pixel",
                f"it must lie in {MIN_MPP:g}-{MAX_MPP:g}",
            )
        return replace(size, note=_notes(size, [s for s in candidates if _in_range(s)], properties))
    if believable:
        return replace(believable[0], note=_notes(believable[0], believable[1:], properties))
    if default_mpp is not None:
        return PixelSize(default_mpp, default_mpp, "config")
    if candidates:
        found = ", ".join(f"{s.source.removeprefix('file:')} = {s.x:.4g} x {s.y:.4g} um" for s in candidates)
        found = f"the file's pixel size is not plausible ({found}; allowed {MIN_MPP:g}-{MAX_MPP:g})"
    else:
        found = "neither the sheet nor the file states a pixel size"
    raise SlideError(slide_id, "no_mpp", found, advice)
