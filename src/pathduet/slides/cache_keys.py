"""Keys of the slide cache: a stage is repeated only for slides whose key changed.

A key covers the slide's content, the settings that matter to the stage, the key of the stage before, and the source code
of the modules that do the work.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

from pathduet.cohort.sheets import SlideRow
from pathduet.core.provenance import file_identity, settings_hash
from pathduet.core.source_code import code_version
from pathduet.slides.dicom_series import series_files
from pathduet.slides.encoders.registry import REGISTRY
from pathduet.slides.readers.pixel_source import mirax_folder
from pathduet.slides.settings import SlideSettings


def slide_identity(path: Path) -> str:
    """Return a hash of a slide's content; its place and dates do not count.

    Formats of several files (MIRAX, DICOM, VMS) add names and sizes of the files that belong to it.
    """
    digest = hashlib.sha256(file_identity(path).encode())
    suffix, folder = path.suffix.lower(), mirax_folder(path)
    companions: list[Path] = []
    if folder is not None:
        companions = sorted(folder.iterdir())
    elif series := series_files(path):
        companions = series
    elif suffix in (".vms", ".vmu"):
        companions = sorted(p for p in path.parent.iterdir() if p.is_file())
    for companion in companions:
        digest.update(f"{companion.name} {companion.stat().st_size}\n".encode())
    return digest.hexdigest()[:24]


def stage_keys(slide: SlideRow, identity: str, settings: SlideSettings, stage: str) -> dict[str, str]:
    """Return the keys of a slide's stages up to `stage`.

    Parameters
    ----------
    slide : SlideRow
    identity : str
        From :func:`slide_identity`.
    settings : SlideSettings
    stage : {"tile", "stain", "features"}
    """
    keys = {"tile": _tile_key(slide, identity, settings)}
    if stage != "tile":
        keys["stain"] = _stain_key(keys["tile"], settings)
    if stage == "features":
        from pathduet.slides.encoders.weights import find_weights

        keys["features"] = _features_key(keys["stain"], settings, find_weights(settings.encoder).sha256)
    return keys


def _tile_key(slide: SlideRow, identity: str, settings: SlideSettings) -> str:
    tile = asdict(settings.tile)
    for name in ("max_tiles", "min_sharpness"):  # every tissue tile is listed; these are the encoder's
        del tile[name]
    code = code_version("pathduet.slides.tile_stage")
    parts = ["tile", slide.slide_id, identity, slide.mpp, tile, code, *filter(None, [slide.scene])]
    if slide.mask is not None:
        parts.append(file_identity(slide.mask) if slide.mask.is_file() else "missing")
    return settings_hash(parts)


def _stain_key(upstream: str, settings: SlideSettings) -> str:
    stain = asdict(settings.stain)
    if settings.stain.target != "shipped":
        path = Path(settings.stain.target)
        stain["target"] = file_identity(path) if path.is_file() else "missing"
    return settings_hash(["stain", upstream, stain, code_version("pathduet.slides.stain_stage")])


def _features_key(upstream: str, settings: SlideSettings, weights_sha256: str) -> str:
    # Device, engine and batch size do not count: they change last bits only.
    encoder, tile = settings.encoder, settings.tile
    entry = REGISTRY.get(encoder.name)  # no code here: an encoder's change reruns slides of that one
    return settings_hash(
        [
            "features", upstream, encoder.name, asdict(entry) if entry else None, encoder.stage, encoder.precision, encoder.options, encoder.input_px,
            encoder.mean, encoder.std, weights_sha256, tile.max_tiles, tile.max_failed_tiles, tile.min_sharpness,
            code_version("pathduet.slides.features_stage"),
        ]
    )  # fmt: skip
