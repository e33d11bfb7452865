"""The network of a named model, with its settings.

The catalogue names networks that are loaded when they are needed; so that an edit of one counts as an edit of what trains it:
imports pathduet.models.*
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from pathduet.catalogue import Model, find, own_model
from pathduet.core.errors import InputError
from pathduet.models.baselines.gene_groups import CHUNKS
from pathduet.models.inputs import NetworkSizes
from pathduet.models.magnification_experts import MagnificationExperts
from pathduet.models.method.config import ModelConfig
from pathduet.models.network_settings import network_settings
from pathduet.training.config import TrainingConfig
from pathduet.training.own_network import OwnNetwork, load_network


@dataclass(frozen=True)
class NetworkChoice:
    """A network with its settings.

    Attributes
    ----------
    model : Model
        Entry of the catalogue, or a user's own model.
    settings : mapping
        Complete settings of a baseline or an own model, JSON-ready; empty for networks whose settings are a
        :class:`~pathduet.models.method.config.ModelConfig`.
    own : OwnNetwork, optional
        Location of a user's own network.
    """

    model: Model
    settings: Mapping[str, Any] = field(default_factory=dict)
    own: OwnNetwork | None = None

    @property
    def base(self) -> str:
        """Its name in the catalogue."""
        return self.model.name

    @property
    def has_experts(self) -> bool:
        """Whether it is a teacher or a student: one classifier a magnification, and a ``ModelConfig``."""
        return self.model.role != "baseline"

    @property
    def reads_slides(self) -> bool:
        """Whether it reads slides. If not, it also learns from and predicts patients without slides."""
        return "slides" in self.model.learns_from

    @property
    def needs_expression(self) -> bool:
        """Whether it is trained only on slides with expression, as it predicts only those."""
        return "expression" in self.model.predicts_from

    @property
    def variant(self) -> str:
        """``paper``, or ``released`` (the authors' public code), as recorded everywhere."""
        return "released" if self.model.kind == "released" else "paper"

    def magnifications(self, config: ModelConfig) -> tuple[str, ...]:
        """Return the magnifications that the network reads: none if it reads no slides.

        An own model without a setting of that name reads those of the method's experts.
        """
        if not self.reads_slides:
            return ()
        if self.has_experts:
            return config.experts
        return tuple(self.settings.get("magnifications", config.experts))

    def token_config(self, shape: Mapping[str, Any]) -> ModelConfig:
        """Return the ``model`` part of a configuration or record: all sizes of a teacher or student, else those of the tokens.

        Raises
        ------
        InputError
            If the network cannot have this shape; those of the public code have two subspaces, for example.
        """
        kind = self.model.load_settings() if self.has_experts else ModelConfig
        assert kind is not None and issubclass(kind, ModelConfig)
        try:
            return kind(**shape)
        except ValueError as error:
            raise InputError.of(
                f"model {self.base}", str(error), "correct `model` or `subspaces`, or leave the model out"
            ) from None

    def build(self, sizes: NetworkSizes) -> nn.Module:
        """Return a baseline's or own network with fresh weights.

        Raises
        ------
        InputError
            If an own network does not take its settings.
        """
        if self.own is None:
            return build_baseline(self.model, sizes, network_settings(self.model, self.settings))
        own = load_network(self.own)
        try:
            return own(sizes, **self.settings)
        except TypeError as error:
            found = f"{self.own.network} cannot be created: {error}"
            advice = "it is called with the sizes and the settings of the configuration"
            raise InputError.of(f"own model {self.own.file}", found, advice) from error

    def record(self) -> dict[str, Any]:
        """Return its entry in model.json."""
        return {
            "base": self.base,
            "network_settings": dict(self.settings),
            "own_network": asdict(self.own) if self.own else None,
            "learns_from": list(self.model.learns_from),
            "predicts_from": list(self.model.predicts_from),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> NetworkChoice:
        """Undo :meth:`record`."""
        own, settings = record["own_network"], record["network_settings"]
        if own is not None:
            return cls(own_model(record["base"], record), settings, OwnNetwork(**own))
        if isinstance(groups := settings.get("gene_groups"), str) and groups != CHUNKS:
            raise ValueError(f"a file of gene groups, {groups!r}: a record holds the groups")
        return choose(record["base"], settings)


def build_baseline(model: Model, sizes: NetworkSizes, settings: Any) -> nn.Module:
    """Return a baseline with fresh weights: one network, or with ``experts`` one per magnification read."""
    build = model.load_network()
    read = getattr(settings, "magnifications", ())
    if len(read) > 1 and settings.experts:
        return MagnificationExperts({m: build(sizes, replace(settings, magnifications=(m,))) for m in read})
    network: nn.Module = build(sizes, settings)
    return network


@dataclass(frozen=True)
class ModelSettings:
    """Settings of a training: the network, the sizes of teacher and student or of the tokens, and the optimisation."""

    network: NetworkChoice
    model: ModelConfig
    training: TrainingConfig

    @property
    def dropout(self) -> float | None:
        """Dropout of the network, if it has one."""
        value = self.model.dropout if self.network.has_experts else self.network.settings.get("dropout")
        return None if value is None else float(value)

    def with_dropout(self, rate: float) -> ModelSettings:
        """Return these settings with another dropout; a network without dropout is unchanged."""
        if self.network.has_experts:
            return replace(self, model=replace(self.model, dropout=rate))
        if "dropout" not in self.network.settings:
            return self
        settings = {**self.network.settings, "dropout": rate}
        return replace(self, network=replace(self.network, settings=settings))


def choose(
    base: str, settings: Mapping[str, Any] | None = None, own: Mapping[str, Any] | None = None
) -> NetworkChoice:
    """Return a network by name, its settings completed with the defaults.

    Parameters
    ----------
    base : str
        A name of the catalogue, or of an own model.
    settings : mapping, optional
        Changes to a baseline's settings, or all settings of an own model.
    own : mapping, optional
        ``file``, ``network``, ``sha256``, ``learns_from`` and ``predicts_from`` of an own model.

    Raises
    ------
    InputError
        If the network or a setting is unknown.
    """
    if own is not None:
        source = OwnNetwork(own["file"], own["network"], own["sha256"])
        return NetworkChoice(own_model(base, own), dict(settings or {}), source)
    choice = NetworkChoice(find(base))
    if choice.has_experts:
        return choice
    complete = asdict(network_settings(choice.model, settings))
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in complete.items()}
    return NetworkChoice(choice.model, plain)
