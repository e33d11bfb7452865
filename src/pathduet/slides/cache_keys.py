"""Keys of the slide cache: a stage is rerun only for slides whose key changed.

A key covers the slide's content, the settings that affect the stage, the key of the previous stage, and the source code
of the modules that do the work.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pathduet.cohort.sheets import SlideRow
from pathduet.core.files import sha256_file
from pathduet.core.provenance import settings_hash
from pathduet.core.source_code import code_version
from pathduet.slides.encoders.registry import CONTROL, REGISTRY
from pathduet.slides.settings import SlideSettings


def stage_keys(slide: SlideRow, identity: str, settings: SlideSettings, stage: str) -> dict[str, str]:
    """Return the keys of a slide's stages up to `stage`.

    Parameters
    ----------
    slide : SlideRow
    identity : str
        From :func:`pathduet.slides.source.read_content`.
    settings : SlideSettings
    stage : {"tile", "stain", "features"}
    """
    keys = {"tile": _tile_key(slide, identity, settings)}
    if stage != "tile":
        stain = settings_of("stain", settings)
        if isinstance(stain["target"], Path):
            stain["target"] = _content(stain["target"])
        code = code_version("pathduet.slides.stain_stage")
        keys["stain"] = settings_hash(["stain", keys["tile"], stain, code])
    if stage == "features":
        from pathduet.slides.encoders.weights import find_weights

        chosen = settings_of("features", settings) | {"weights": find_weights(settings.encoder).sha256}
        code = code_version("pathduet.slides.features_stage")
        keys["features"] = settings_hash(["features", keys["stain"], chosen, code])
    return keys


def settings_of(stage: str, settings: SlideSettings) -> Any:
    """Return only the settings that a stage's artifacts depend on; files that they name are paths."""
    tile, stain, encoder = settings.tile, settings.stain, settings.encoder
    if stage == "tile":  # lists every tissue tile; the encoder selects
        return {
            key: value for key, value in asdict(tile).items() if key not in ("max_tiles", "min_sharpness")
        }
    if stage == "stain":
        target = Path(stain.target) if stain.target != "shipped" else stain.target
        return asdict(stain) | {"target": target}
    # Device, engine and batch size do not count: they change last bits only. No code: a changed entry reruns only its encoder's slides.
    entry = REGISTRY.get(encoder.name)
    return {
        "name": encoder.name, "entry": asdict(entry) if entry else None, "stage": encoder.stage if encoder.name in ("resnet50", CONTROL) else None, "precision": encoder.precision,
        "options": encoder.options, "input_px": encoder.input_px, "mean": encoder.mean, "std": encoder.std,
        "max_tiles": tile.max_tiles, "max_failed_tiles": tile.max_failed_tiles, "min_sharpness": tile.min_sharpness,
        "weights": Path(encoder.weights) if encoder.weights else None,
        "seed": encoder.seed if encoder.name == CONTROL else None,
    }  # fmt: skip


def _tile_key(slide: SlideRow, identity: str, settings: SlideSettings) -> str:
    code = code_version("pathduet.slides.tile_stage")
    chosen = settings_of("tile", settings)
    parts = ["tile", slide.slide_id, identity, slide.mpp, chosen, code, *filter(None, [slide.scene])]
    if slide.mask is not None:
        parts += [_content(slide.mask), *filter(None, [slide.mask_frame])]
    return settings_hash(parts)


def _content(file: Path) -> str:
    return sha256_file(file) if file.is_file() else "missing"
