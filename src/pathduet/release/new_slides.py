"""The inputs of `pathduet predict`: slides in any form, a table of expression, a release or the run it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import InputError, Problems
from pathduet.expression.table_checks import UNITS
from pathduet.expression.tables import ExpressionTable, read_expression
from pathduet.release.contents import is_release
from pathduet.release.export import export_release
from pathduet.slides.folder import FoundSlides, find_slides
from pathduet.slides.readers.frame import FrameName


def gather(sources: Sequence[Path], out: Path | None = None) -> FoundSlides:
    """Return the slides of files, folders and sheets together; duplicates count once.

    Parameters
    ----------
    sources : sequence of Path
    out : Path, optional
        Folder that is not searched.

    Raises
    ------
    InputError
        With the problems of all sources; also if two slides would have the same id.
    """
    found, problems = FoundSlides(), Problems()
    for source in sources:
        with problems.collected():
            one = find_slides(source, out)
            found.slides = [*dict.fromkeys([*found.slides, *one.slides])]
            found.files = [*dict.fromkeys([*found.files, *one.files])]
    first: dict[str, SlideRow] = {}
    for slide in found.slides:
        other = first.setdefault(slide.slide_id.casefold(), slide)
        if other is not slide:
            said = f"{other.path.name} and {slide.path.name} would both be {slide.slide_id!r}"
            problems.add("slides", said, "name them in a slides.tsv (--sheet)")
    if not sources:
        problems.add("slides", "none given", "name slides, a folder of slides, or --sheet")
    problems.check()
    return found


def read_table(path: Path | None, unit: str | None, samples: Path | None) -> ExpressionTable | None:
    """Read the new patients' expression; None if none is given.

    Raises
    ------
    InputError
        If the unit is missing, or the table has problems.
    """
    if path is None:
        if unit or samples:
            raise InputError.of("--unit, --samples", "given without a table", "add --expression")
        return None
    if unit is None:
        raise InputError.of("--unit", "not given", f"give its unit: {', '.join(UNITS)}")
    return read_expression(path, unit, "new", samples)


def release_folder(model: Path, name: str, out: Path) -> Path:
    """Return the release to use: `model` itself, or one exported from the run in it, kept as ``out/release``.

    Raises
    ------
    InputError
        If `model` is neither.
    """
    if is_release(model):
        return model
    if not (model / "provenance.json").is_file():
        found = "neither a release (manifest.json) nor a finished run (provenance.json)"
        raise InputError.of(f"--model {model}", found, "make one with `pathduet export`")
    export_release(model, name, out / "release", replace_all=True)
    return out / "release"


def predict_configured(
    settings: Mapping[str, Any],
    release: Path,
    out: Path,
    encoder: Mapping[str, Any],
    workers: int,
    frame: FrameName | None,
) -> None:
    """Predict the slides that the configuration's ``predict`` section names.

    Parameters
    ----------
    settings : mapping
        The section: slides, expression, unit, samples, heatmaps.
    release, out : Path
    encoder : mapping
        This machine's settings for the encoder, see :func:`pathduet.release.load.load_release`.
    workers : int
    frame : {"level0"} or None
        Frame of the GeoJSON, ``explanations.heatmaps.frame``.

    Raises
    ------
    InputError
        If the section names no slides.
    """
    from pathduet.cohort.ledger import summarise
    from pathduet.release.load import load_release
    from pathduet.release.predict import predict_slides

    if not settings["slides"]:
        raise InputError.of("predict.slides", "not set", "name a slides.tsv of the new slides")
    samples = Path(settings["samples"]) if settings["samples"] else None
    path = Path(settings["expression"]) if settings["expression"] else None
    table = read_table(path, settings["unit"], samples)
    slides = gather([Path(settings["slides"])]).slides
    opened, device = load_release(release, encoder), encoder["device"]
    ledger = predict_slides(slides, opened, out, table, workers, device, settings["heatmaps"], frame)
    print(summarise(ledger))
