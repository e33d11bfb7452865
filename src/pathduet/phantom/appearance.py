"""What one slide shows of its patient's programmes: region shares, and the look of the cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pathduet.phantom.layout import Extents, extents
from pathduet.phantom.nuclei import Morphology
from pathduet.phantom.random_numbers import generator
from pathduet.phantom.tissue import Histology

#: SD by which the tissue block departs from the patient, and each slide from the block.
_BLOCK_SD, _SLIDE_SD = 0.38, 0.20


@dataclass(frozen=True)
class Appearance:
    """Region shares and cells of one slide, with the programmes as this slide shows them."""

    tumor: float
    tme: float
    extent: Extents
    histology: Histology


def appearance(
    seed: int, patient_id: str, slide_id: str, z_tumor: float, z_tme: float, diagnosis: str, grade: str
) -> Appearance:
    """Draw the appearance of one slide.

    The tumour programme shows in the extent of cellular tumour, in cellularity, nuclear size and
    pleomorphism and in mitoses; the TME programme in necrosis, vessels and leading edge; the diagnosis, with
    much overlap, in how round and haloed the nuclei are; the grade weakly in pleomorphism and mitoses.
    """
    block = generator(seed, "block", patient_id).normal(0.0, _BLOCK_SD, 2)
    rng = generator(seed, "slide", slide_id, "appearance")
    own = rng.normal(0.0, _SLIDE_SD, 2)
    tumor, tme = float(z_tumor + block[0] + own[0]), float(z_tme + block[1] + own[1])
    noise = rng.standard_normal(6)
    fourth = 0.5 if grade == "G4" else 0.0
    round_cells = 0.60 if diagnosis == "oligodendroglioma" else 0.22
    morphology = Morphology(
        size_um=6.9 + 0.42 * tumor + 0.20 * noise[0],
        pleomorphism=_between(0.03, 0.14 + 0.045 * tumor + 0.04 * fourth + 0.015 * noise[1], 0.32),
        chromasia=1.0 + 0.05 * tumor + 0.04 * noise[2],
        roundness=_between(0.0, round_cells + 0.20 * noise[3], 1.0),
    )
    histology = Histology(
        morphology=morphology,
        cellularity=_between(0.55, math.exp(0.17 * tumor + 0.06 * noise[4]), 1.6),
        mitoses=0.004 * math.exp(0.8 * tumor + fourth),
        gemistocytes=_between(0.0, 0.05 + 0.04 * noise[5], 0.15) * (1.0 - morphology.roundness),
        microcysts=float(rng.random() ** 2),
    )
    return Appearance(tumor, tme, extents(tumor, tme, rng), histology)


def _between(low: float, value: float, high: float) -> float:
    return float(min(max(value, low), high))
