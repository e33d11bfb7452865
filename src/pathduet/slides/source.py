"""A slide's own files, known by their whole content: read once, and again only when a size or date is another.

A plan is made before slides are read. It knows one by its sizes and dates when it was first read, as long as its content
stays the same: a slide that is touched, moved or copied is the same slide, whatever its dates say then.
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

#: In a slide's folder of results: how its content is known.
SOURCE = "source.json"


@dataclass(frozen=True)
class Source:
    """What is known of some files.

    Attributes
    ----------
    first : str
        Their sizes and dates when this content was first read.
    seen : str
        Those when the content was last found to be the same.
    sha256 : str
        Of all of their bytes.
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
    """Return the SHA-256 of files, and write down how it is known.

    Parameters
    ----------
    files : sequence of Path
        From :func:`slide_files`; companions count with their names.
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


def planned_as(files: Sequence[Path], record: Path) -> str:
    """Return what a plan knows files by: it changes when their content does. They are read only if their dates say so."""
    known, now = _known(record), _of_all(files, stamp)
    if known is None or known.seen == now:
        return now if known is None else known.first
    if content_of(files) != known.sha256:
        return now
    _write(record, Source(known.first, now, known.sha256))
    return known.first


def known_by(slide: SlideRow, results: Path, content: Callable[[Sequence[Path], Path], str]) -> list[str]:
    """Return what a slide with features of another tool is known by: `content` of these, size and date of its raw file, which is not read.

    Parameters
    ----------
    content : callable
        :func:`read_content`, or :func:`planned_as`.
    """
    there = [path for path in slide.foreign.values() if path.is_file()]
    known = [content(there, Results(results).slide(slide.slide_id) / SOURCE)] if there else ["absent"]
    return [*known, *([stamp(slide.path)] if slide.has_raw else [])]


def _write(record: Path, source: Source) -> None:
    # a full disk is told by who writes results; here it only means that the files are read again
    with contextlib.suppress(OSError):
        write_sealed(record, asdict(source))


def _known(record: Path) -> Source | None:
    try:
        return Source(**read_sealed(record))
    except (OSError, TypeError, CorruptArtifact):
        return None


def content_of(files: Sequence[Path]) -> str:
    """Return the SHA-256 of a slide's files, of companions with their names."""
    return _of_all(files, sha256_file)


def _of_all(files: Sequence[Path], of: Callable[[Path], str]) -> str:
    parts = [of(files[0]), *(f"{file.name} {of(file)}" for file in files[1:])]
    return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()
