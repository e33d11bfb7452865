"""How one slide shows its patient's programmes: region shares, and the look of the cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pathduet.phantom.layout import CHANNELS, Extents, extents
from pathduet.phantom.nuclei import Morphology
from pathduet.phantom.random_numbers import generator
from pathduet.phantom.tissue import Histology

#: SD of the tissue block's deviation from the patient, and of each slide's from the block.
_BLOCK_SD, _SLIDE_SD = 0.38, 0.20


@dataclass(frozen=True)
class Look:
    """What a patient's slides show besides the programmes.

    Attributes
    ----------
    roundness : float
        0-1, how round and haloed the nuclei are.
    anaplasia : float
        Added to pleomorphism and mitoses; 0 to about 1.
    """

    roundness: float = 0.22
    anaplasia: float = 0.0


@dataclass(frozen=True)
class Appearance:
    """Region shares and cells of one slide, with the programmes as shown on this slide."""

    programmes: dict[str, float]
    extent: Extents
    histology: Histology


def appearance(
    seed: int,
    patient_id: str,
    slide_id: str,
    programmes: Mapping[str, float],
    channels: Mapping[str, str],
    look: Look,
) -> Appearance:
    """Draw the appearance of one slide.

    The programme of the cells determines the extent of cellular tumour, cellularity, nuclear size, pleomorphism and
    mitoses; the others determine necrosis, vessels and leading edge; the look, with much overlap, changes the nuclei.

    Parameters
    ----------
    seed : int
        The cohort's.
    patient_id, slide_id : str
        Identify the random number streams.
    programmes : mapping of str to float
        The patient's latent programmes by subspace.
    channels : mapping of str to str
        The subspace that each channel shows; a channel without one is random.
    look : Look
    """
    block = generator(seed, "block", patient_id).normal(0.0, _BLOCK_SD, len(programmes))
    rng = generator(seed, "slide", slide_id, "appearance")
    own = rng.normal(0.0, _SLIDE_SD, len(programmes))
    shown = {name: float(z + b + o) for (name, z), b, o in zip(programmes.items(), block, own)}
    by_channel = {channel: shown[channels[channel]] if channel in channels else 0.0 for channel in CHANNELS}
    cells = by_channel["cells"]
    noise = rng.standard_normal(6)
    morphology = Morphology(
        size_um=6.9 + 0.42 * cells + 0.20 * noise[0],
        pleomorphism=_between(0.03, 0.14 + 0.045 * cells + 0.04 * look.anaplasia + 0.015 * noise[1], 0.32),
        chromasia=1.0 + 0.05 * cells + 0.04 * noise[2],
        roundness=_between(0.0, look.roundness + 0.20 * noise[3], 1.0),
    )
    histology = Histology(
        morphology=morphology,
        cellularity=_between(0.55, math.exp(0.17 * cells + 0.06 * noise[4]), 1.6),
        mitoses=0.004 * math.exp(0.8 * cells + look.anaplasia),
        gemistocytes=_between(0.0, 0.05 + 0.04 * noise[5], 0.15) * (1.0 - morphology.roundness),
        microcysts=float(rng.random() ** 2),
    )
    return Appearance(shown, extents(by_channel, rng), histology)


def _between(low: float, value: float, high: float) -> float:
    return float(min(max(value, low), high))
