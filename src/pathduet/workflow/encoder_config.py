"""What follows from the encoder and from what is read of the slides, filled into a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathduet.core.config import merge
from pathduet.slides.encoders.registry import REGISTRY
from pathduet.slides.settings import fitted


def with_encoder(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checked configuration with its encoder's tiles, the file of weights in place of its folder, and experts to match.

    A model reads no magnification that the slides were not read at.

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
