"""Every model of the comparison by name: what it learns from, what it predicts from, whose idea it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from pathduet.models.abmil import Abmil, AbmilConfig
from pathduet.models.inputs import NetworkSizes

Modality = Literal["slides", "expression", "clinical"]


@dataclass(frozen=True)
class Baseline:
    """One network that others proposed.

    Attributes
    ----------
    name, title : str
        In tables' files, and for readers.
    source : str
        Authors, title, venue, year.
    learns_from, predicts_from : tuple of str
        ``slides``, ``expression``. Who predicts from slides alone predicts patients without expression, too.
    build : callable
        ``build(sizes, config)`` returns a network whose ``forward(inputs)`` gives an
        :class:`~pathduet.models.inputs.Answer`.
    config : type
        Dataclass of its settings, defaults included; `magnifications` is among them if it reads slides.
    """

    name: str
    title: str
    source: str
    learns_from: tuple[Modality, ...]
    predicts_from: tuple[Modality, ...]
    build: Callable[[NetworkSizes, Any], nn.Module]
    config: type[Any]


BASELINES: dict[str, Baseline] = {
    one.name: one
    for one in (
        Baseline(
            "abmil",
            "ABMIL",
            "Ilse, Tomczak, Welling: Attention-based Deep Multiple Instance Learning, ICML 2018",
            ("slides",),
            ("slides",),
            Abmil,
            AbmilConfig,
        ),
    )
}
