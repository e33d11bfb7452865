"""Which network a named model is: one of the method's, a baseline of the comparison, or one from a user's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from pathduet.core.errors import InputError, Problem
from pathduet.models.baselines.registry import BASELINES
from pathduet.models.baselines.registry import settings as baseline_settings
from pathduet.models.inputs import NetworkSizes
from pathduet.training.own_network import OwnNetwork, load_network

_OURS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "teacher": (("slides", "expression"), ("slides", "expression")),
    "student": (("slides",), ("slides",)),
    "distilled": (("slides", "expression"), ("slides",)),
}


@dataclass(frozen=True)
class NetworkChoice:
    """A network with its settings.

    Attributes
    ----------
    base : str
        ``teacher``, ``student``, ``distilled``, a baseline's name, or that of a user's own model.
    settings : mapping
        Complete settings of a baseline or an own model, JSON-ready; empty for the method's networks, whose settings are a
        :class:`~pathduet.models.method.config.ModelConfig`.
    own : OwnNetwork, optional
        Where a user's own network is.
    learns_from, predicts_from : tuple of str
        ``slides``, ``expression``.
    """

    base: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    own: OwnNetwork | None = None
    learns_from: tuple[str, ...] = ("slides",)
    predicts_from: tuple[str, ...] = ("slides",)

    @property
    def is_ours(self) -> bool:
        """Whether it is one of the method's networks."""
        return self.base in _OURS

    @property
    def needs_expression(self) -> bool:
        """Whether it is trained on slides with expression only, as it predicts only those."""
        return "expression" in self.predicts_from

    def build(self, sizes: NetworkSizes) -> nn.Module:
        """Return a baseline's or own network with fresh weights.

        Raises
        ------
        InputError
            If an own network does not take its settings.
        """
        if self.own is None:
            return BASELINES[self.base].build(sizes, baseline_settings(self.base, self.settings))
        network = load_network(self.own)
        try:
            return network(sizes, **self.settings)
        except TypeError as error:
            found = f"{self.own.network} cannot be made: {error}"
            advice = "it is called with the sizes and the configured settings"
            raise InputError([Problem(f"own model {self.own.file}", found, advice)]) from error

    def record(self) -> dict[str, Any]:
        """Return what model.json says about it."""
        return {
            "base": self.base,
            "network_settings": dict(self.settings),
            "own_network": asdict(self.own) if self.own else None,
            "learns_from": list(self.learns_from),
            "predicts_from": list(self.predicts_from),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> NetworkChoice:
        """Undo :meth:`record`; a record without it is of one of the method's networks."""
        base = record.get("base", record["model"])
        if base in _OURS:
            return choose(base)
        own = record["own_network"]
        return cls(
            base, record["network_settings"], OwnNetwork(**own) if own else None,
            tuple(record["learns_from"]), tuple(record["predicts_from"]),
        )  # fmt: skip


def choose(
    base: str, settings: Mapping[str, Any] | None = None, own: Mapping[str, Any] | None = None
) -> NetworkChoice:
    """Return a network by name, its settings completed with the defaults.

    Parameters
    ----------
    base : str
        A name.
    settings : mapping, optional
        Changes of a baseline's settings, or all of an own model's.
    own : mapping, optional
        ``file``, ``network``, ``sha256``, ``learns_from`` and ``predicts_from`` of an own model.

    Raises
    ------
    InputError
        If the network or a setting is unknown.
    """
    if base in _OURS:
        return NetworkChoice(base, {}, None, *_OURS[base])
    if own is not None:
        learns = tuple(own["learns_from"])
        source = OwnNetwork(own["file"], own["network"], own["sha256"])
        return NetworkChoice(
            base, dict(settings or {}), source, learns, tuple(own.get("predicts_from") or learns)
        )
    complete = asdict(baseline_settings(base, settings))
    entry = BASELINES[base]
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in complete.items()}
    return NetworkChoice(base, plain, None, tuple(entry.learns_from), tuple(entry.predicts_from))
