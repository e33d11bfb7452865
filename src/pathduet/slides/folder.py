"""The slides of a folder, a file or a sheet: every file of a folder is a slide, part of one, or listed with a reason."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pathduet.cohort.sheets import SlideRow, read_slides
from pathduet.core.errors import InputError, Problem, shown
from pathduet.core.files import write_tsv
from pathduet.core.ids import id_of, marked
from pathduet.core.plural import plural
from pathduet.core.sheet_file import SUFFIXES as SHEET_SUFFIXES
from pathduet.slides.dicom_series import WHOLE_SLIDE, Instance, read_instance, series_files
from pathduet.slides.readers.pixel_source import hamamatsu_files
from pathduet.slides.readers.source_choice import PICTURE_SUFFIXES, TIFF_SUFFIXES

#: Suffixes of slides that are searched for in a folder (a sheet may name any file): OpenSlide's list, and other TIFF suffixes.
SLIDE_SUFFIXES = (
    ".svs", *TIFF_SUFFIXES, ".qptiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm", ".czi", ".avs",
)  # fmt: skip
#: Slide formats that no library here reads: a run reports them, and does not search such folders.
UNREAD = {
    ".vsi": "Olympus VSI", ".ets": "Olympus VSI", ".isyntax": "Philips iSyntax", ".i2syntax": "Philips iSyntax",
    ".jp2": "JPEG 2000", ".j2k": "JPEG 2000", ".jpx": "JPEG 2000", ".jpf": "JPEG 2000", ".ndpis": "Hamamatsu NDPIS",
    ".afi": "Aperio AFI", ".lif": "Leica LIF", ".nd2": "Nikon ND2", ".zvi": "Zeiss ZVI", ".lsm": "Zeiss LSM",
    ".ims": "Imaris", ".oib": "Olympus OIB", ".oif": "Olympus OIF", ".kfb": "KFBio KFB", ".sdpc": "SQRAY SDPC",
    ".tmap": "UNIC TMAP", ".mds": "Motic MDS", ".mdsx": "Motic MDSX", ".tron": "InteMedic TRON", ".zarr": "OME-Zarr",
}  # fmt: skip
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z", ".rar")
_UNFINISHED = (".part", ".partial", ".crdownload", ".filepart", ".download", ".tmp")
_SHOWN = 5


@dataclass(frozen=True)
class FoundFile:
    """A file of a folder.

    Attributes
    ----------
    file : str
        Its path, starting with the folder's name.
    slide_id : str
        The slide that it is or belongs to; empty if none.
    passed_over : str
        Why it is not a slide.
    lost : bool
        Whether it is a slide that cannot be read.
    """

    file: str
    slide_id: str = ""
    passed_over: str = ""
    lost: bool = False


@dataclass
class FoundSlides:
    """The slides of a source, and all files that were examined."""

    slides: list[SlideRow] = field(default_factory=list)
    files: list[FoundFile] = field(default_factory=list)

    @property
    def lost(self) -> list[FoundFile]:
        """Files that are slides but cannot be read."""
        return [file for file in self.files if file.lost]

    def lines(self) -> list[str]:
        """Return what was skipped, one line per reason, with the first file names of each."""
        names: dict[str, list[str]] = defaultdict(list)
        for file in sorted(self.files, key=lambda file: not file.lost):
            if file.passed_over:
                names[file.passed_over].append(file.file)
        return [
            f"skipped, {reason}: {', '.join(some[:_SHOWN])}"
            + (f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else "")
            for reason, some in names.items()
        ]

    def write(self, path: Path) -> None:
        """Write one row per file: `file`, `slide_id`, `passed_over`."""
        import pandas as pd

        rows = [(file.file, file.slide_id, file.passed_over) for file in self.files]
        write_tsv(path, pd.DataFrame(rows, columns=["file", "slide_id", "passed_over"]))


def find_slides(source: Path, results: Path | None = None) -> FoundSlides:
    """Return the slides of a folder and its subfolders, of one file, or of a sheet.

    Without a sheet a slide's id is its file name without the suffix (:func:`pathduet.core.ids.id_of`), regardless of other
    files; if two files share a name, both ids get a mark derived from their paths. A DICOM series of several files is one slide,
    with its SeriesInstanceUID as id. Every file with a slide's suffix is a slide, even a broken link: the ledger states why it
    cannot be read.
    Plain pictures are slides only if there are no other slides.

    Parameters
    ----------
    source : Path
    results : Path, optional
        Folder that is not searched.

    Raises
    ------
    InputError
        If there are no slides.
    """
    if source.suffix.lower() in SHEET_SUFFIXES and not source.is_dir():
        rows = read_slides(source)
        named = ((next(iter([*row.foreign.values(), row.path])).name, row.slide_id) for row in rows)
        return FoundSlides(rows, [FoundFile(_printable(name), slide_id) for name, slide_id in named])
    advice = f"give a folder with {', '.join((*SLIDE_SUFFIXES, *PICTURE_SUFFIXES))} files, one slide, or a slides.tsv"
    if not source.exists():
        raise InputError([Problem(str(source), "no slides there", advice)])
    top = source if source.is_dir() else source.parent
    search = _Search(top, results)
    if source.is_dir():
        search.walk()
    else:
        search.take_one(source)
    found = search.finish()
    if not found.slides:
        seen = f"no slides among {plural(len(found.files), 'file')}" if found.files else "no slides there"
        raise InputError([Problem(str(source), "; ".join([seen, *found.lines()]), advice)])
    return found


class _Search:
    """One search through a folder."""

    def __init__(self, top: Path, results: Path | None) -> None:
        self._top, self._name = top, top.resolve().name
        self._results = results.resolve() if results is not None else None
        self._slides: list[tuple[Path, str, list[Path]]] = []  # path, name that the id is derived from, parts
        self._pictures: list[Path] = []
        self._files: list[FoundFile] = []

    def walk(self) -> None:
        """Sort every file of the folder and its subfolders."""

        def closed(error: OSError) -> None:
            self._pass_over(Path(error.filename), f"cannot be opened ({os.strerror(error.errno or 0)})", True)

        seen: set[str] = set()
        for place, folders, names in os.walk(self._top, onerror=closed, followlinks=True):
            here, real = Path(place), os.path.realpath(place)
            if real in seen:
                self._pass_over(here, "a folder already searched under another name")
                folders.clear()
                continue
            seen.add(real)
            files = [here / name for name in sorted(names)]
            parts = {file: named for file in files if (named := hamamatsu_files(file))}
            mirax = {file.stem: file for file in files if file.suffix.lower() == ".mrxs"}
            for name in sorted(folders):
                if why := self._closed_folder(here / name):
                    self._pass_over(here / name, *why)
                elif name in mirax:
                    parts[mirax[name]] = [here / name]
                else:
                    continue
                folders.remove(name)
            folders.sort()
            self._take(files, parts)

    def take_one(self, file: Path) -> None:
        """Take one file, whatever its name; for a DICOM instance, also the other files of its series."""
        if why := _unread(file):
            self._pass_over(file, *why)
        elif series := series_files(file):
            self._take_series(series)
        else:
            self._slides.append((file, file.stem, [file]))

    def finish(self) -> FoundSlides:
        """Assign ids, and decide whether plain pictures are slides."""
        if self._slides:
            why = "plain pictures beside whole-slide images (use a sheet or a separate folder to make them slides)"
            for picture in self._pictures:
                self._pass_over(picture, why)
        else:
            self._slides = [(picture, picture.stem, [picture]) for picture in self._pictures]
        self._slides.sort(key=lambda slide: slide[0])
        slides = []
        for slide_id, (file, _, parts) in zip(self._ids(), self._slides, strict=True):
            # a link keeps its own name: OpenSlide uses it to find the files beside it
            slides.append(SlideRow(slide_id, slide_id, "folder", file.absolute()))
            self._files += [FoundFile(self._shown(one), slide_id) for one in parts]
        return FoundSlides(slides, sorted(self._files, key=lambda file: file.file))

    def _ids(self) -> list[str]:
        """Return the slides' ids, unique even if case is ignored."""
        plain = [id_of(name) for _, name, _ in self._slides]
        often = Counter(name.casefold() for name in plain)
        ids = [
            marked(name, file.relative_to(self._top).as_posix()) if often[name.casefold()] > 1 else name
            for name, (file, _, _) in zip(plain, self._slides, strict=True)
        ]
        if twice := [name for name, n in Counter(name.casefold() for name in ids).items() if n > 1]:
            raise InputError.of(
                str(self._top), f"several files would be slide {twice[0]!r}", "name them in a slides.tsv"
            )
        return ids

    def _take(self, files: Sequence[Path], parts: Mapping[Path, list[Path]]) -> None:
        """Sort the files of one folder; `parts` maps a slide to the other files that belong to it."""
        series: dict[Instance, list[Path]] = defaultdict(list)
        of_others = {part for some in parts.values() for part in some}
        for file in (file for file in files if file not in of_others):
            suffix = file.suffix.lower()
            if file.name.startswith("._"):
                self._pass_over(file, "macOS metadata files")
            elif why := _unread(file):
                self._pass_over(file, *why)
            elif suffix in PICTURE_SUFFIXES:
                self._pictures.append(file)
            elif suffix in SLIDE_SUFFIXES and suffix != ".dcm":
                self._slides.append((file, file.stem, [file, *parts.get(file, [])]))
            elif (instance := read_instance(file)) is not None and instance.series:
                series[instance].append(file)
            elif suffix == ".dcm":
                self._slides.append((file, file.stem, [file]))
            else:
                self._pass_over(file, "not a slide's file name")
        for members in series.values():
            self._take_series(members)

    def _take_series(self, members: list[Path]) -> None:
        instance = read_instance(members[0])
        assert instance is not None
        if instance.sop_class not in ("", WHOLE_SLIDE):
            for file in members:
                self._pass_over(file, "DICOM that is not a whole-slide image")
            return
        largest = max(members, key=lambda file: file.stat().st_size)
        alone = largest.stem if largest.suffix.lower() == ".dcm" else largest.name
        self._slides.append((largest, alone if len(members) == 1 else instance.series, members))

    def _closed_folder(self, folder: Path) -> tuple[str, bool] | None:
        """Return why a subfolder is not searched, and whether that loses a slide."""
        if self._results is not None and folder.resolve() == self._results:
            return "the results folder", False
        return ("hidden folders", False) if folder.name.startswith(".") else _unread(folder)

    def _pass_over(self, file: Path, why: str, lost: bool = False) -> None:
        self._files.append(FoundFile(self._shown(file), passed_over=why, lost=lost))

    def _shown(self, file: Path) -> str:
        return _printable(f"{self._name}/{file.relative_to(self._top).as_posix()}")


def _printable(name: str) -> str:
    """Return a file name as one line of text, whatever bytes it contains."""
    return shown(name).replace("\n", "\\n").replace("\t", "\\t")


def _unread(path: Path) -> tuple[str, bool] | None:
    """Return why a file named like a slide cannot be read, and whether that loses a slide; None if it can."""
    suffix, inner = path.suffix.lower(), Path(path.stem).suffix.lower()
    if suffix in UNREAD:
        return f"{UNREAD[suffix]} is not readable by any library here (convert to OME-TIFF)", True
    if inner in (*SLIDE_SUFFIXES, *UNREAD):
        if suffix in _PACKED:
            return "packed (unpack them)", True
        if suffix in _UNFINISHED:
            return "unfinished downloads", True
    return None
