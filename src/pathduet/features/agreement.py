"""Whether slides' features belong together: one encoder, one width, one set of weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pathduet.core.errors import Problem
from pathduet.features.feature_file import SlideFeatures

#: What our own features.h5 says about how it was made; files of other tools say the encoder's name.
ENCODER_ATTRIBUTES = ("encoder", "encoder_stage", "weights_sha256", "feature_dim", "tile_px", "stain_backend")
#: What only features of other tools have.
FOREIGN = "magnification"

Said = Mapping[str, str | int | float]


def encoder_of(file: SlideFeatures, magnifications: tuple[str, ...]) -> dict[str, str | int | float]:
    """Return what a slide's features say about their encoder.

    Features of another tool say its name (``unknown`` if their file does not), how many numbers a tile has, and the magnifications
    that are read of them.
    """
    known = file.attributes
    found = {name: _plain(known[name]) for name in ENCODER_ATTRIBUTES if name in known}
    found["feature_dim"] = file.width(magnifications[0])
    if "weights_sha256" not in found and "layout" in known:
        found[FOREIGN] = " and ".join(magnifications)
    return found


def compared(one: Said, other: Said) -> list[str]:
    """Return the names of what two encoders are compared by: if one is another tool's, what both say."""
    alike = FOREIGN in one or FOREIGN in other
    return sorted(set(one) & set(other) if alike else set(one) | set(other))


def usual_encoder(found: Mapping[str, Said]) -> dict[str, str | int | float]:
    """Return what most slides' features say about their encoder, those of our own before those of other tools."""
    own = [said for said in found.values() if FOREIGN not in said]
    counts = Counter(tuple(sorted(said.items())) for said in own or found.values())
    return dict(counts.most_common(1)[0][0])


def disagreements(found: Mapping[str, Said], shown: int = 5) -> list[Problem]:
    """Return a problem for each thing that slides' features say differently, with the slides that say each.

    Parameters
    ----------
    found : mapping
        Slide id to what its features say.
    shown : int
        Slides named of each kind, at most.
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
        problems.append(Problem(f"features of {len(found)} slides, {name}", "; ".join(listed), advice))
    return problems


def _plain(value: object) -> str | int | float:
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "item"):
        value = value.item()
    return value if isinstance(value, str | int | float) else str(value)
