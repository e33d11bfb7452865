"""Stage ``stain``: fits a slide's stain matrix to sampled tissue pixels; writes stain.json and a preview."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathduet import __version__
from pathduet.cohort.sheets import SlideRow
from pathduet.core.checksums import checked
from pathduet.core.errors import PathDuetError, SlideError
from pathduet.core.files import write_json
from pathduet.features.token_map import hilbert_order, token_indices
from pathduet.slides import previews
from pathduet.slides.readers.reader import RegionError, SlideReader
from pathduet.slides.settings import SlideSettings, StainSettings
from pathduet.slides.stain.colour_table import Normalizer, normalizer
from pathduet.slides.stain.stain_matrix import (
    WHITE,
    Stains,
    faint_stain,
    fit_slide,
    other_stain,
    stained_pixels,
    target_stains,
    white_point,
    white_table,
)
from pathduet.slides.status import StageResult
from pathduet.slides.tiles_file import TileTable, read_glass, read_tiles

SAMPLED_TILES = 64
_PREVIEW_TILES = 6
_CANDIDATES_PER_PIXEL = 4  # sampled per wanted pixel: many are too bright


def sample_tiles(tiles: TileTable, most: int = SAMPLED_TILES) -> NDArray[np.int64]:
    """Return rows of at most `most` tiles, evenly spaced along the tissue's Hilbert order."""
    order = hilbert_order(tiles.grid)
    return order[token_indices(len(order), min(most, len(order)))]


def stain_slide(slide: SlideRow, settings: SlideSettings, folder: Path, key: str) -> StageResult:
    """Fit a slide's stains on its finest tiles and write stain.json and stain.png into `folder`.

    Returns
    -------
    StageResult
        Counts: tiles of each magnification (n_20x), sampled_tiles, sampled_pixels, failed_tiles; notes on deviations from
        the usual fit.

    Raises
    ------
    SlideError
        ``unreadable`` if none, or too few, of the sampled tiles can be decoded; ``other_stain`` if the colours are not those of
        haematoxylin and eosin and ``stain.other_stains`` is ``refuse``.
    """
    tables = read_tiles(folder / "tiles.h5")
    images, failed = _read_sample(slide, list(tables.values())[-1], settings.tile.max_failed_tiles)
    counts = {f"n_{name}": len(table.grid) for name, table in tables.items()}
    counts |= {"sampled_tiles": len(images), "failed_tiles": failed}
    white = white_point(read_glass(folder / "tiles.h5"))
    tissue = _sample_pixels(images, white, len(images) + failed, settings.stain)
    pixels = stained_pixels(tissue, settings.stain)
    source, target = None, None
    notes: list[str] = []
    if settings.stain.backend != "none":
        target = target_stains(settings.stain)
        source = replace(fit_slide(pixels, settings.stain, target), white=white)
        notes = [source.note, faint_stain(tissue, source, target)]
        if white != WHITE:
            notes.append("tinted glass ({:.0f}, {:.0f}, {:.0f}) is used as white".format(*white))
        counts["sampled_pixels"] = source.pixels
    other = other_stain(pixels, source)
    if other and settings.stain.other_stains == "refuse":
        raise SlideError(
            slide.slide_id, "other_stain", other, "exclude the slide, or set stain.other_stains: note"
        )
    notes.append(other)
    write_json(
        folder / "stain.json",
        {
            "slide_id": slide.slide_id,
            "key": key,
            "package_version": __version__,
            "settings": asdict(settings.stain) | {"target": Path(settings.stain.target).name},
            "source": _as_dict(source),
            "target": _as_dict(target),
        },
    )
    shown = [images[i] for i in token_indices(len(images), min(_PREVIEW_TILES, len(images)))]
    after = shown
    if source is not None and target is not None:
        change = normalizer(source, target, settings.stain.backend)
        after = [change(image) for image in shown]
    previews.save_png(folder / "stain.png", previews.stain_preview(shown, after))
    return StageResult(counts, tuple(notes))


def _read_sample(slide: SlideRow, tiles: TileTable, max_failed: float) -> tuple[list[NDArray[np.uint8]], int]:
    """Return the sampled tiles' images, and how many tiles could not be decoded."""
    rows = sample_tiles(tiles)
    images = []
    with SlideReader(slide.slide_id, slide.path, slide.scene) as reader:
        for row in rows:
            with contextlib.suppress(RegionError):
                images.append(tiles.read(reader, int(row)))
    failed = len(rows) - len(images)
    if failed > max_failed * len(rows) or not images:
        raise SlideError(
            slide.slide_id,
            "unreadable",
            f"{failed} of {len(rows)} sampled tiles of {slide.path.name} cannot be decoded",
            "copy the file again, or raise slides.max_failed_tiles",
        )
    return images, failed


def _sample_pixels(
    images: list[NDArray[np.uint8]], white: tuple[float, float, float], rows: int, settings: StainSettings
) -> NDArray[np.uint8]:
    """Return pixels from all over the slide, relative to its white, with equal quotas per tile."""
    quota = -(-_CANDIDATES_PER_PIXEL * settings.sample_pixels // rows)
    rng = np.random.default_rng(0)
    flat = [image.reshape(-1, 3) for image in images]
    candidates = [p[rng.choice(len(p), quota, replace=False)] if len(p) > quota else p for p in flat]
    return np.take_along_axis(white_table(white), np.concatenate(candidates), axis=0)


def _as_dict(stains: Stains | None) -> dict[str, Any] | None:
    if stains is None:
        return None
    return {
        "matrix": stains.matrix.tolist(),
        "max_concentrations": stains.max_concentrations.tolist(),
        "pixels": stains.pixels,
        "note": stains.note,
        "white": list(stains.white),
    }


def _from_dict(value: dict[str, Any]) -> Stains:
    return Stains(
        np.array(value["matrix"]),
        np.array(value["max_concentrations"]),
        value["pixels"],
        value["note"],
        tuple(value["white"]),
    )


def load_normalizer(path: Path) -> tuple[Normalizer, NDArray[np.float64], str]:
    """Return a slide's colour map, its stain matrix (NaN without normalisation) and the backend, from stain.json."""
    try:
        value = json.loads(checked(path).read_text(encoding="utf-8"))
        backend = value["settings"]["backend"]
        if backend == "none":
            return (lambda rgb: rgb), np.full((2, 3), np.nan), backend
        source, target = _from_dict(value["source"]), _from_dict(value["target"])
    except (ValueError, KeyError, TypeError) as error:
        raise PathDuetError(
            f"{path.name} is damaged ({error!r}); delete it and run the stage again"
        ) from error
    return normalizer(source, target, backend), source.matrix, backend
