"""Which series a DICOM file belongs to, read from the head of the file, without pixels."""

from __future__ import annotations

import struct
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_IMPLICIT = "1.2.840.10008.1.2"
# value representations whose length takes four bytes, after two reserved bytes
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_SYNTAX, _CLASS, _SERIES = (0x0002, 0x0010), (0x0008, 0x0016), (0x0020, 0x000E)
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF
_MOST_ELEMENTS = 10_000


class Instance(NamedTuple):
    """SOP class and SeriesInstanceUID from the head of a DICOM file; empty if missing."""

    sop_class: str
    series: str


def read_instance(path: Path) -> Instance | None:
    """Return the class and series of a DICOM file; None if it is not DICOM or cannot be read."""
    try:
        if not path.is_file():  # a pipe would block
            return None
        with path.open("rb") as file:
            return _head(file) if file.read(132)[128:] == b"DICM" else None
    except OSError:
        return None


def may_be_instance(path: Path) -> bool:
    """Return whether a file name could be that of a DICOM file: often a UID, which ends in a number."""
    suffix = path.suffix.lower()
    return suffix in ("", ".dcm", ".dicom") or suffix[1:].isdigit()


def series_files(path: Path) -> list[Path]:
    """Return the files of a DICOM file's series in its folder, itself included; [] if it is not DICOM."""
    instance = read_instance(path)
    if instance is None or not instance.series:
        return []
    return list(_by_series(path.parent, path.parent.stat().st_mtime_ns).get(instance, [path]))


@lru_cache(maxsize=16)
def _by_series(folder: Path, changed: int) -> dict[Instance, list[Path]]:
    """Return a folder's DICOM files by series, read once per folder. `changed`, the folder's date, is part of the cache key."""
    found: dict[Instance, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if (instance := read_instance(file)) is not None:
            found.setdefault(instance, []).append(file)
    return found


def _head(file: BinaryIO) -> Instance:
    """Walk the elements up to the series. Those at `depth` above 0, in sequences of undefined length, describe other images."""
    found: dict[tuple[int, int], str] = {}
    explicit, depth = True, 0
    try:
        for _ in range(_MOST_ELEMENTS):
            tag: tuple[int, int] = struct.unpack("<HH", file.read(4))
            if tag[0] > 2 and found.get(_SYNTAX) == _IMPLICIT:
                explicit = False
            if depth == 0 and tag > _SERIES:
                break
            if tag in (_ITEM, _ITEM_END, _SEQUENCE_END) or not explicit:
                (length,) = struct.unpack("<I", file.read(4))
            elif file.read(2) in _LONG:
                (length,) = struct.unpack("<2xI", file.read(6))
            else:
                (length,) = struct.unpack("<H", file.read(2))
            if tag in (_ITEM_END, _SEQUENCE_END):
                depth -= 1
            elif length == _UNDEFINED:
                depth += 1
            elif depth == 0 and tag in (_SYNTAX, _CLASS, _SERIES):
                found[tag] = file.read(min(length, 64)).decode("ascii", "replace").strip("\0 ")
            else:
                file.seek(length, 1)
    except struct.error:  # the file ends here
        pass
    return Instance(found.get(_CLASS, ""), found.get(_SERIES, ""))
