"""A trained model on disk: weights.safetensors, and model.json with all that is needed to rebuild it and predict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from pathduet.cohort.tasks import Task
from pathduet.core.errors import InputError
from pathduet.core.files import atomic_path, write_json
from pathduet.models.inputs import NetworkSizes
from pathduet.models.method.config import ModelConfig
from pathduet.results import DESCRIPTION, WEIGHTS
from pathduet.training.networks import NetworkChoice, choose
from pathduet.training.task_targets import TaskTarget, target_of

FORMAT = 3


@dataclass(frozen=True)
class ModelDescription:
    """What a network is made for.

    Attributes
    ----------
    task : Task
        What is predicted.
    model : str
        E.g. ``teacher``, or a variation's name, such as ``teacher-no-cgc``.
    fold : int
        The fold whose test part the model never saw.
    config : ModelConfig
        Sizes of the method's networks; of the others only what concerns the tokens they read.
    target : ClassTarget, SurvivalTarget or RegressionTarget
        Class names, edges of the survival intervals, or mean and standard deviation.
    encoder : dict
        What the feature files say about their encoder; `feature_dim` among it. Empty for a network that reads no slides.
    genes : mapping of str to tuple of str
        Genes of each subspace in token order; empty for a histology-only model.
    network : NetworkChoice, optional
        Which network it is; without it, the one of the method that `model` names.
    """

    task: Task
    model: str
    fold: int
    config: ModelConfig
    target: TaskTarget
    encoder: Mapping[str, Any]
    genes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    network: NetworkChoice | None = None

    @property
    def choice(self) -> NetworkChoice:
        """Which network it is."""
        return self.network or choose(self.model)

    def build(self) -> nn.Module:
        """Return the network with fresh weights."""
        dimension, outputs = int(self.encoder.get("feature_dim", 0)), self.target.outputs
        if not self.choice.has_experts:
            read = self.choice.magnifications(self.config)
            return self.choice.build(NetworkSizes(dimension, self.genes, outputs, read))
        counts = [{s: len(genes) for s, genes in self.genes.items()}] if self.choice.needs_expression else []
        network: nn.Module = self.choice.model.load_network()(self.config, dimension, *counts, outputs)
        return network


def save_model(
    folder: Path, description: ModelDescription, network: nn.Module, more: Mapping[str, Any]
) -> None:
    """Write weights and description; `more` (JSON-ready) is recorded beside what rebuilds the model.

    The same weights give the same bytes.
    """
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    data = save(tensors)
    with atomic_path(folder / WEIGHTS) as temporary:
        temporary.write_bytes(data)
    record = {
        **more,
        "format": FORMAT,
        "task": description.task.to_plain(),
        "model": description.model,
        "fold": description.fold,
        **description.choice.record(),
        "variant": description.choice.variant,
        "model_config": asdict(description.config),
        "target": description.target.to_plain(),
        "encoder": dict(description.encoder),
        "genes": {subspace: list(genes) for subspace, genes in description.genes.items()},
        "parameters": sum(p.numel() for p in network.parameters()),
        "weights_sha256": hashlib.sha256(data).hexdigest(),
    }
    write_json(folder / DESCRIPTION, record)


def load_model(
    folder: Path, *, own_networks: bool = False
) -> tuple[nn.Module, ModelDescription, dict[str, Any]]:
    """Return the network (on the CPU, in evaluation mode), its description and the whole record.

    Parameters
    ----------
    folder : Path
        Folder of the model.
    own_networks : bool
        Allow networks from a user's own file, whose code is run. Only for models that this results folder's own
        configuration asked for, never for a folder from somebody else.

    Raises
    ------
    InputError
        If a file is missing, of another format, the weights are not those that the description speaks of, or the
        training of the model failed.
    """
    from safetensors.torch import load

    folder = Path(folder)
    try:
        record: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        data = (folder / WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError.of(f"model {folder}", str(error), "train it first") from None
    if "failed" in record:
        found = f"its training failed: {record['failed']}"
        raise InputError.of(f"model {folder}", found, "remove the cause and train it again")
    if record.get("format") != FORMAT:
        found = f"format {record.get('format')!r}, not {FORMAT}"
        raise InputError.of(f"model {folder}", found, "train it again with this version")
    if hashlib.sha256(data).hexdigest() != record["weights_sha256"]:
        raise InputError.of(
            f"model {folder}", "weights and description do not belong together", "train it again"
        )
    if record.get("own_network") and not own_networks:
        found = f"a network of its own, from {record['own_network'].get('file')!r}"
        raise InputError.of(f"model {folder}", found, "only the workflow that trained it can load it")
    choice = NetworkChoice.from_record(record)
    config = choice.token_config(record["model_config"])
    task, genes = (
        record["task"],
        record["genes"],
    )  # keys of a record are sorted: the configuration has the order
    description = ModelDescription(
        Task.of(task["name"], task), record["model"], record["fold"], config, target_of(record["target"]),
        record["encoder"], {s: tuple(genes[s]) for s in config.subspaces if s in genes}, choice,
    )  # fmt: skip
    network = description.build()
    network.load_state_dict(load(data))
    return network.eval(), description, record
