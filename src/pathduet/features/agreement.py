"""Whether slides' features are compatible: one encoder, one width, one set of weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pathduet.core.errors import Problem
from pathduet.core.plural import plural
from pathduet.features.feature_file import SlideFeatures

#: Attributes of our own features.h5 about its encoder; files of other tools state the encoder's name.
ENCODER_ATTRIBUTES = ("encoder", "encoder_stage", "weights_sha256", "feature_dim", "tile_px", "stain_backend")
#: Attribute that only features of other tools have.
FOREIGN = "magnification"

Said = Mapping[str, str | int | float]


def encoder_of(file: SlideFeatures, magnifications: tuple[str, ...]) -> dict[str, str | int | float]:
    """Return the attributes of a slide's features that describe their encoder.

    For features of another tool, its name (``unknown`` if the file states none), the number of features per tile, and the
    magnifications to read.
    """
    known = file.attributes
    found = {name: _plain(known[name]) for name in ENCODER_ATTRIBUTES if name in known}
    found["feature_dim"] = file.width(magnifications[0])
    if "weights_sha256" not in found and "layout" in known:
        found[FOREIGN] = " and ".join(magnifications)
    return found


def compared(one: Said, other: Said) -> list[str]:
    """Return the attributes to compare of two encoders: if one is another tool's, only common ones."""
    alike = FOREIGN in one or FOREIGN in other
    return sorted(set(one) & set(other) if alike else set(one) | set(other))


def usual_encoder(found: Mapping[str, Said]) -> dict[str, str | int | float]:
    """Return the most frequent encoder attributes, among our own features if any, else among other tools'."""
    own = [said for said in found.values() if FOREIGN not in said]
    counts = Counter(tuple(sorted(said.items())) for said in own or found.values())
    return dict(counts.most_common(1)[0][0])


def disagreements(found: Mapping[str, Said], shown: int = 5) -> list[Problem]:
    """Return a problem for each attribute that differs between slides, with the slides of each value.

    Parameters
    ----------
    found : mapping
        Slide id to the attributes of its encoder.
    shown : int
        Maximum number of slides to name for each value.
    """
    usual = usual_encoder(found) if found else {}
    problems = []
    for name in dict.fromkeys(name for said in found.values() for name in compared(said, usual)):
        groups: dict[Any, list[str]] = {}
        for slide_id, said in found.items():
            if name in compared(said, usual):
                groups.setdefault(said.get(name), []).append(slide_id)
        if len(groups) < 2:
            continue
        listed = [
            f"{value!r} in {len(ids)} ({', '.join(ids[:shown])}{', ...' if len(ids) > shown else ''})"
            for value, ids in sorted(groups.items(), key=lambda group: -len(group[1]))
        ]
        advice = "extract all slides' features with one encoder and one set of weights"
        problems.append(
            Problem(f"features of {plural(len(found), 'slide')}, {name}", "; ".join(listed), advice)
        )
    return problems


def _plain(value: object) -> str | int | float:
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "item"):
        value = value.item()
    return value if isinstance(value, str | int | float) else str(value)
