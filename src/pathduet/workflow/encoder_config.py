"""Settings that follow from the encoder and from the magnifications read, filled into a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathduet.core.config import merge
from pathduet.slides.encoders.registry import REGISTRY
from pathduet.slides.settings import fitted


def with_encoder(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checked configuration with its encoder's tiles, its weights file instead of the folder, and matching experts.

    A model reads no magnification at which the slides were not read.

    Raises
    ------
    EncoderUnavailable
        If the folder that ``encoder.weights`` names does not hold the weights.
    """
    from pathduet.slides.encoders.weights import file_in

    found = fitted(config)
    name, weights = config["encoder"]["name"], config["encoder"]["weights"]
    if weights and name in REGISTRY:
        found = merge(found, {"encoder": {"weights": str(file_in(Path(weights), REGISTRY[name]))}})
    if (read := config["slides"]["magnifications"]) != "both":
        found = merge(found, {"model": {"magnifications": read}})
    return found
