"""Settings of the slide stages, as frozen dataclasses built from the configuration.

The configuration's schema documents each field's meaning, unit and range, under the same key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from pathduet.core.config import default
from pathduet.slides.encoders.registry import tile_of

S = TypeVar("S")


def _pick(cls: type[S], mapping: Mapping[str, Any]) -> S:
    """Build `cls` from the keys of its fields; the configuration schema has already refused unknown keys."""
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    return cls(**{key: value for key, value in mapping.items() if key in known})


def fitted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with its encoder's tile size and pixel sizes where it sets none.

    Parameters
    ----------
    config : mapping
        With the sections ``slides`` and ``encoder``; either may lack keys. ``slides.tile_px`` and ``slides.mpp_20x`` default
        to the encoder's, ``slides.mpp_10x`` to twice the latter.
    """
    slides = dict(config.get("slides", {}))
    tile_px, mpp = tile_of(config.get("encoder", {}).get("name", default("encoder.name")))
    said = {key: value for key, value in slides.items() if value is not None}
    fine = float(said.get("mpp_20x", mpp))
    return {**config, "slides": {**slides, "tile_px": tile_px, "mpp_20x": fine, "mpp_10x": 2 * fine, **said}}


_TILE = fitted({})["slides"]


@dataclass(frozen=True)
class TileSettings:
    """Where tiles lie and which are kept: section ``slides``."""

    tile_px: int = _TILE["tile_px"]
    overlap_px: int = default("slides.overlap_px")
    magnifications: str = default("slides.magnifications")
    mpp_10x: float = _TILE["mpp_10x"]
    mpp_20x: float = _TILE["mpp_20x"]
    thumbnail_mpp: float = default("slides.thumbnail_mpp")
    min_tissue: float = default("slides.min_tissue")
    min_tiles: int = default("slides.min_tiles")
    default_mpp: float | None = default("slides.default_mpp")
    max_tiles: int = default("slides.max_tiles")
    max_failed_tiles: float = default("slides.max_failed_tiles")
    min_sharpness: float = default("slides.min_sharpness")

    @property
    def pixel_sizes(self) -> dict[str, float]:
        """Magnifications to read and their target pixel sizes in micrometres, the coarser first."""
        sizes = {"10x": self.mpp_10x, "20x": self.mpp_20x}
        return sizes if self.magnifications == "both" else {self.magnifications: sizes[self.magnifications]}


@dataclass(frozen=True)
class StainSettings:
    """Stain normalisation: section ``stain``."""

    backend: str = default("stain.backend")
    sample_pixels: int = default("stain.sample_pixels")
    regularizer: float = default("stain.regularizer")
    luminosity_threshold: float = default("stain.luminosity_threshold")
    percentile: float = default("stain.percentile")
    target: str = default("stain.target")
    other_stains: str = default("stain.other_stains")


@dataclass(frozen=True)
class EncoderSettings:
    """The tile encoder: section ``encoder``, with its `options` as pairs and the run's `seed`."""

    name: str = default("encoder.name")
    stage: int = default("encoder.stage")
    weights: str | None = default("encoder.weights")
    options: tuple[tuple[str, Any], ...] = ()
    input_px: int | None = default("encoder.input_px")
    mean: tuple[float, ...] | None = default("encoder.mean")
    std: tuple[float, ...] | None = default("encoder.std")
    engine: str = default("encoder.engine")
    compile: bool = default("encoder.compile")
    batch_size: int = default("encoder.batch_size")
    device: str = default("encoder.device")
    precision: str = default("encoder.precision")
    seed: int = default("seed")

    def __post_init__(self) -> None:
        # YAML and JSON give lists and mappings; settings must be hashable, as cache keys
        options = self.options.items() if isinstance(self.options, Mapping) else self.options or ()
        object.__setattr__(self, "options", tuple(sorted((str(k), v) for k, v in options)))
        for name in ("mean", "std"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(float(v) for v in value))


@dataclass(frozen=True)
class LimitSettings:
    """Limits of a slide; beyond them its worker is killed and the slide is lost: section ``slides``."""

    time_limit_s: float = default("slides.time_limit_s")
    memory_limit_mib: int = default("slides.memory_limit_mib")


@dataclass(frozen=True)
class SlideSettings:
    """All settings of the slide stages."""

    tile: TileSettings = field(default_factory=TileSettings)
    stain: StainSettings = field(default_factory=StainSettings)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> SlideSettings:
        """Build from a whole configuration: its ``slides``, ``stain`` and ``encoder`` sections and ``seed``."""
        slides, encoder = fitted(config)["slides"], config.get("encoder", {})
        return cls(
            _pick(TileSettings, slides),
            _pick(StainSettings, config.get("stain", {})),
            _pick(EncoderSettings, {"seed": config.get("seed", default("seed")), **encoder}),
            _pick(LimitSettings, slides),
        )

    @classmethod
    def from_plain(cls, parts: Mapping[str, Mapping[str, Any]]) -> SlideSettings:
        """Invert :func:`dataclasses.asdict`, also after a JSON round trip."""
        return cls(
            TileSettings(**parts["tile"]),
            StainSettings(**parts["stain"]),
            EncoderSettings(**parts["encoder"]),
            LimitSettings(**parts["limits"]),
        )
