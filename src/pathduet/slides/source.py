"""The identity of a slide's files, by their content: read once, and again only if a size or date changes.

A plan is created before slides are read. It identifies a slide by the sizes and dates of its first reading, as long as
its content stays the same: a slide that is touched, moved or copied is the same slide, whatever its new dates.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pathduet.cohort.sheets import SlideRow
from pathduet.core.checksums import CorruptArtifact, read_sealed, write_sealed
from pathduet.core.files import sha256_file, stamp
from pathduet.results import Results
from pathduet.slides.dicom_series import may_be_instance, series_files
from pathduet.slides.readers.pixel_source import hamamatsu_files, mirax_folder

#: Record of a slide's content, in its results folder.
SOURCE = "source.json"


@dataclass(frozen=True)
class Source:
    """What is recorded of a slide's files.

    Attributes
    ----------
    first : str
        Their sizes and dates when this content was first read.
    seen : str
        Their sizes and dates when this content was last confirmed.
    sha256 : str
        Hash of all their bytes.
    """

    first: str
    seen: str
    sha256: str


def slide_files(path: Path) -> list[Path]:
    """Return the files of a slide, the named one first: MIRAX, DICOM and Hamamatsu's VMS and VMU have several."""
    folder, others = mirax_folder(path), list[Path]()
    if folder is not None:
        others = sorted(folder.iterdir())
    elif named := hamamatsu_files(path):
        others = named
    elif may_be_instance(path):
        others = series_files(path)
    return [path, *(other for other in others if other != path and other.is_file())]


def read_content(files: Sequence[Path], record: Path) -> str:
    """Return the SHA-256 of files, and record it with their sizes and dates.

    Parameters
    ----------
    files : sequence of Path
        From :func:`slide_files`; the names of companion files count too.
    record : Path
        The slide's :data:`SOURCE`.
    """
    known, now = _known(record), _of_all(files, stamp)
    if known is not None and known.seen == now:
        return known.sha256
    digest = content_of(files)
    first = known.first if known is not None and known.sha256 == digest else now
    _write(record, Source(first, now, digest))
    return digest


def planned_as(files: Sequence[Path], record: Path | None) -> str:
    """Return a plan's identifier of files: it changes with their content. Reads them only if a size or date changed.

    Without a `record` they have not been read before.
    """
    known, now = _known(record) if record else None, _of_all(files, stamp)
    if record is None or known is None or known.seen == now:
        return now if known is None else known.first
    if content_of(files) != known.sha256:
        return now
    _write(record, Source(known.first, now, known.sha256))
    return known.first


def known_by(slide: SlideRow, results: Path, content: Callable[[Sequence[Path], Path], str]) -> list[str]:
    """Return the identity of a slide with another tool's features: their `content`, and size and date of its raw file, which is not read.

    Parameters
    ----------
    content : callable
        :func:`read_content`, or :func:`planned_as`.
    """
    there = [path for path in slide.foreign.values() if path.is_file()]
    known = [content(there, Results(results).slide(slide.slide_id) / SOURCE)] if there else ["absent"]
    return [*known, *([stamp(slide.path)] if slide.has_raw else [])]


def _write(record: Path, source: Source) -> None:
    # whoever writes results reports a full disk; here it only means that the files are read again
    with contextlib.suppress(OSError):
        write_sealed(record, asdict(source))


def _known(record: Path) -> Source | None:
    try:
        return Source(**read_sealed(record))
    except (OSError, TypeError, CorruptArtifact):
        return None


def content_of(files: Sequence[Path]) -> str:
    """Return the SHA-256 of a slide's files, including the names of companion files."""
    return _of_all(files, sha256_file)


def _of_all(files: Sequence[Path], of: Callable[[Path], str]) -> str:
    parts = [of(files[0]), *(f"{file.name} {of(file)}" for file in files[1:])]
    return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()
