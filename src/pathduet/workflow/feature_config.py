"""Features from other tools: finds them for the slides of a sheet, and fills what follows from them into a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pathduet.cohort.sheets import FEATURES, SlideRow
from pathduet.core.config import merge
from pathduet.core.errors import InputError, Problems
from pathduet.core.plural import plural
from pathduet.features.foreign_tiles import FeatureFileError
from pathduet.features.layout import files_in, magnifications_in


def with_features(
    config: Mapping[str, Any], given: Mapping[str, Any], slides: Sequence[SlideRow]
) -> tuple[dict[str, Any], list[SlideRow]]:
    """Return a configuration that reads the available magnifications, and slides with theirs.

    Only the first file is opened here. The jobs that read the others check that they match it.

    Parameters
    ----------
    config : mapping
        Complete and checked.
    given : mapping
        As the user wrote it: it must not contradict the features.
    slides : sequence of SlideRow

    Raises
    ------
    InputError
        If a slide has neither a raw file nor features, or slides, features and models are at different magnifications.
    """
    chosen = config["features"]
    slides, problems = _found(slides, chosen), Problems()
    for slide in slides:
        if not (slide.has_raw or slide.foreign or slide.exclude):
            found = f"neither a raw slide, nor features in {chosen['folder']}"
            problems.add(f"slide {slide.slide_id}", found, "add its file, or a reason to exclude it")
    problems.check()
    unsaid = [slide for slide in slides if slide.features is not None]
    if unsaid:
        said = chosen["magnification"]
        names = (said,) if said else _magnifications_of(unsaid, chosen["layout"])
        slides = [slide.at(names) for slide in slides]
    sets = {tuple(sorted(slide.foreign)) for slide in slides if slide.foreign and not slide.exclude}
    if not sets:
        return dict(config), slides
    if len(sets) > 1:
        counts = {
            one: [s.slide_id for s in slides if tuple(sorted(s.foreign)) == one] for one in sorted(sets)
        }
        listed = "; ".join(
            f"{' and '.join(one)}: {plural(len(ids), 'slide')} ({', '.join(ids[:5])}, ...)"
            for one, ids in counts.items()
        )
        raise InputError.of("features", f"at different magnifications ({listed})", "give all slides the same")
    (there,) = sets
    if len(there) > 1:
        return dict(config), slides
    for section in ("slides", "model"):
        said = (given.get(section) or {}).get("magnifications")
        if said not in (None, *there):
            found = f"{said}, but the given features are at {there[0]}"
            problems.add(f"{section}.magnifications", found, "remove it: it follows the features")
    problems.check()
    read = {"magnifications": there[0]}
    return merge(config, {"slides": read, "model": read}), slides


def _found(slides: Sequence[SlideRow], chosen: Mapping[str, Any]) -> list[SlideRow]:
    """Return the slides with their files from the configured folder; the sheet's files take precedence."""
    if not chosen["folder"]:
        return list(slides)
    files = files_in(Path(chosen["folder"]), chosen["layout"])
    column = f"features_{chosen['magnification']}" if chosen["magnification"] else FEATURES[0]
    found = []
    for slide in slides:
        file: dict[str, Any] = {column: files[slide.slide_id].resolve()} if slide.slide_id in files else {}
        found.append(slide if slide.foreign else replace(slide, **file))
    return found


def _magnifications_of(slides: Sequence[SlideRow], layout: str | None) -> tuple[str, ...]:
    """Return the magnifications of the first readable file; 20x if none states any."""
    for slide in slides:
        assert slide.features is not None
        try:
            return magnifications_in(slide.features, layout) or ("20x",)
        except (FeatureFileError, OSError, KeyError):  # its job reports it
            continue
    return ("20x",)
