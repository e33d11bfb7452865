"""Slides whose features were created by another tool: checked once and referenced, never copied or modified."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathduet.cohort.sheets import SlideRow
from pathduet.core.checksums import CorruptArtifact, is_damaged, write_sealed
from pathduet.core.errors import Problems, SlideError
from pathduet.core.faults import raise_machine_fault
from pathduet.core.files import sha256_file, stamp
from pathduet.core.plural import plural
from pathduet.core.progress import track
from pathduet.core.provenance import settings_hash
from pathduet.core.source_code import code_version
from pathduet.features.feature_file import read_pointer
from pathduet.features.foreign_tiles import FeatureFileError, ForeignTiles
from pathduet.features.layout import open_tiles
from pathduet.results import Results
from pathduet.slides import previews
from pathduet.slides.batch import write_manifest
from pathduet.slides.readers.frame import declared_bounds
from pathduet.slides.readers.pixel_size import PixelSize, pixel_size
from pathduet.slides.readers.reader import SlideReader
from pathduet.slides.source import known_by, read_content
from pathduet.slides.status import StageStatus, read_status, write_status

#: The only stage of such a slide.
_STAGE = "features"


@dataclass(frozen=True)
class ForeignSettings:
    """How features of other tools are read.

    Attributes
    ----------
    layout : str or None
        The layout that every file must have; None = detected for each file.
    min_tiles : int
        A slide with fewer is lost.
    default_mpp : float or None
        Level-0 pixel size in micrometres of slides that do not state theirs.
    """

    layout: str | None
    min_tiles: int
    default_mpp: float | None


def look_at(
    slide_id: str, magnification: str, path: Path, layout: str | None, *, thoroughly: bool = False
) -> ForeignTiles:
    """Return what a file states about its tiles, without features; `thoroughly` reads all of it.

    Parameters
    ----------
    magnification : str
        The magnification that the file is read as.

    Raises
    ------
    SlideError
        ``no_features`` if the file does not exist, ``unreadable`` if it cannot be used.
    """
    try:
        with open_tiles(path, magnification, layout) as tiles:
            if thoroughly:
                tiles.check()
            return tiles
    except FileNotFoundError:
        found, advice = f"no file {path.name}", "correct the features in slides.tsv, or make them"
        raise SlideError(slide_id, "no_features", found, advice) from None
    except (FeatureFileError, OSError, KeyError) as error:
        raise SlideError(slide_id, "unreadable", f"{path.name}: {error}", "make its features again") from None


def take_batch(
    slides: Sequence[SlideRow], results: Path, settings: ForeignSettings, manifest: Path
) -> list[StageStatus]:
    """Check the features of a batch of slides, write a features.json and a status for each, and the batch manifest last.

    A slide whose features are missing or cannot be used gets a row with a reason in the manifest; the batch continues.
    Unchanged files are not read again.

    Parameters
    ----------
    slides : sequence of SlideRow
        With `features_10x`, `features_20x` or both.
    results : Path
        The results folder.
    settings : ForeignSettings
    manifest : Path
        TSV to write, one row per slide.

    Raises
    ------
    InputError
        If files state another magnification than they are read as, or a slide's magnifications differ in encoder.
    """
    problems = Problems()
    statuses = [
        _take(slide, results, settings, problems)
        for slide in track(slides, len(slides), "features of other tools", "slides")
    ]
    problems.check()
    write_manifest(manifest, statuses)
    return statuses


def _take(slide: SlideRow, results: Path, settings: ForeignSettings, problems: Problems) -> StageStatus:
    pointer = Results(results).feature_pointer(slide.slide_id)
    before = read_status(results, slide.slide_id, _STAGE)
    key = ""
    try:
        if slide.exclude:
            raise SlideError(slide.slide_id, "excluded", slide.exclude)
        key = _key(slide, results, settings)
        whole = pointer.is_file() and not is_damaged(pointer)
        if before is not None and (before.status, before.key) == ("ok", key) and whole:
            point_anew(slide, results)
            return before
        status = _look_through(slide, results, settings, key, problems)
    except SlideError as error:
        raise_machine_fault(error, f"slide {slide.slide_id}")
        kind = "excluded" if error.reason == "excluded" else "failed"
        status = StageStatus(
            slide.slide_id, _STAGE, kind, error.reason, error.message, key, failed_stage=_STAGE
        )
        pointer.unlink(missing_ok=True)
    write_status(results, status)
    return status


def _key(slide: SlideRow, results: Path, settings: ForeignSettings) -> str:
    """Return a hash of everything that the pointer depends on except the files' paths."""
    code = code_version("pathduet.slides.foreign_features")
    known = [sorted(slide.foreign), known_by(slide, results, read_content)]
    return settings_hash([slide.slide_id, slide.mpp, known, vars(settings), code])


def point_anew(slide: SlideRow, results: Path) -> None:
    """Update a slide's pointer to the current paths of its features; readers check the content."""
    path, files = Results(results).feature_pointer(slide.slide_id), _places(slide)
    with contextlib.suppress(OSError, CorruptArtifact):  # missing or damaged: its job writes it
        known = read_pointer(path)
        if known["files"] != files and set(known["files"]) == set(files):
            write_sealed(path, known | {"files": files})


def _places(slide: SlideRow) -> dict[str, str]:
    return {name: str(path) for name, path in slide.foreign.items()}


def _look_through(
    slide: SlideRow, results: Path, settings: ForeignSettings, key: str, problems: Problems
) -> StageStatus:
    found: dict[str, ForeignTiles] = {}
    for name, path in sorted(slide.foreign.items()):
        found[name] = look_at(slide.slide_id, name, path, settings.layout, thoroughly=True)
    _compare(slide, found, problems)
    if min(tiles.n for tiles in found.values()) < settings.min_tiles:
        counted = ", ".join(f"{plural(tiles.n, 'tile')} at {name}" for name, tiles in found.items())
        advice = "lower slides.min_tiles, or exclude the slide"
        raise SlideError(
            slide.slide_id, "too_few_tiles", f"{counted}; at least {settings.min_tiles} are needed", advice
        )
    first = next(iter(found.values()))
    size, size0, bounds, notes = _raw_slide(slide, results, settings)
    if size is None and slide.mpp:
        size = PixelSize(slide.mpp, slide.mpp, "sheet")
    if size is None and first.mpp0:
        size = PixelSize(first.mpp0, first.mpp0, "features")
    attributes: dict[str, Any] = {
        "slide_id": slide.slide_id, "layout": first.layout, "encoder": first.encoder, "feature_dim": first.width,
        "mpp_x": size.x if size else None, "mpp_y": size.y if size else None,
        "width": None, "height": None, "bounds": bounds,
    }  # fmt: skip
    attributes |= dict(zip(("width", "height"), size0 or first.size0 or (None, None), strict=True))
    sums = {name: sha256_file(path) for name, path in slide.foreign.items()}
    content = hashlib.sha256(str(sorted(sums.items())).encode()).hexdigest()
    attributes["key"] = content
    pointer = {
        "layout": first.layout,
        "files": _places(slide),
        "sha256": sums,
        "stamps": {name: stamp(path) for name, path in slide.foreign.items()},
        "runs": {name: tiles.runs for name, tiles in found.items()},
        "attributes": attributes,
    }
    write_sealed(Results(results).feature_pointer(slide.slide_id), pointer)
    notes += [
        f"features of {first.layout} ({first.encoder})",
        *(note for one in found.values() for note in one.notes),
    ]
    return StageStatus(
        slide.slide_id, _STAGE, "ok", key=key, counts={f"n_{name}": tiles.n for name, tiles in found.items()},
        mpp=(size.x + size.y) / 2 if size else None, mpp_source=size.source if size else "",
        notes="; ".join(dict.fromkeys(notes)),
        # of the files that it points to: a new path or date does not change their content
        sha256={"features.json": content},
    )  # fmt: skip


def _compare(slide: SlideRow, found: Mapping[str, ForeignTiles], problems: Problems) -> None:
    """Note files that state another magnification than they are read as, and slides with two encoders."""
    for name, tiles in found.items():
        if tiles.magnification not in ("", name):
            said = f"tiles of {tiles.mpp:.3g} um per pixel, which is nearer to {tiles.magnification} than to {name}"
            advice = "correct the column, or features.magnification; all slides need the same magnifications"
            problems.add(f"slide {slide.slide_id}, features", said, advice)
    if len({(tiles.encoder, tiles.width, tiles.layout) for tiles in found.values()}) > 1:
        said = ", ".join(f"{t.width} numbers of {t.encoder} at {name}" for name, t in found.items())
        problems.add(f"slide {slide.slide_id}, features", said, "use one encoder and one tool for both")


def _raw_slide(
    slide: SlideRow, results: Path, settings: ForeignSettings
) -> tuple[PixelSize | None, tuple[int, int] | None, list[int] | None, list[str]]:
    """Return a raw slide's pixel size, dimensions and declared bounds, and write its thumbnail for heatmaps; failures become notes."""
    if not slide.has_raw:
        return None, None, None, []
    try:
        with SlideReader(slide.slide_id, slide.path, slide.scene) as reader:
            picture = reader.thumbnail(previews.preview_size(*reader.dimensions))[0]
            previews.save_png(Results(results).slide(slide.slide_id) / "thumbnail.png", picture)
            bounds = list(declared_bounds(reader.properties))
            try:
                size = pixel_size(slide.slide_id, reader.properties, slide.mpp, settings.default_mpp)
                return size, reader.dimensions, bounds, []
            except SlideError:
                return None, reader.dimensions, bounds, ["the raw slide does not state its pixel size"]
    except SlideError as error:
        return None, None, None, [f"raw slide not used: {error.found}"]
