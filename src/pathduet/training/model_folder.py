"""A trained model on disk: weights.safetensors, and model.json with everything needed to rebuild it and predict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pathduet.cohort.tasks import Task
from pathduet.core.checksums import checked
from pathduet.core.config import schema_problems
from pathduet.core.errors import InputError, Problems
from pathduet.core.files import atomic_path, write_json
from pathduet.models.inputs import NetworkSizes
from pathduet.models.method.config import ModelConfig
from pathduet.results import DESCRIPTION, WEIGHTS
from pathduet.training.networks import NetworkChoice, choose
from pathduet.training.own_network import OwnNetwork
from pathduet.training.task_targets import TaskTarget, target_of

FORMAT = 3


@dataclass(frozen=True)
class ModelDescription:
    """Task, fold, inputs and settings of a network.

    Attributes
    ----------
    task : Task
        What is predicted.
    model : str
        E.g. ``teacher``, or a variation's name, such as ``teacher-no-cgc``.
    fold : int
        The fold whose test part the model never saw.
    config : ModelConfig
        Sizes of the method's networks; for others, only what concerns the tokens they read.
    target : ClassTarget, SurvivalTarget or RegressionTarget
        Class names, edges of the survival intervals, or mean and standard deviation.
    encoder : dict
        Encoder metadata of the feature files, including `feature_dim`. Empty for a network that reads no slides.
    genes : mapping of str to tuple of str
        Genes of each subspace in token order; empty for a histology-only model.
    network : NetworkChoice, optional
        The network; by default the method's network that `model` names.
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
        """The network and its settings."""
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
    """Write weights and description; `more` (JSON-ready) is added to the record.

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
    folder: Path, own: OwnNetwork | None = None
) -> tuple[nn.Module, ModelDescription, dict[str, Any]]:
    """Return the network (on the CPU, in evaluation mode), its description and the whole record.

    Parameters
    ----------
    folder : Path
        Folder of the model.
    own : OwnNetwork, optional
        The user's own network that the run's configuration names. A record that names another one, or any if this is None,
        is refused: a results folder or a release must not choose the code that runs.

    Raises
    ------
    InputError
        If a file is missing, damaged, of another format, the weights do not match the description, or the
        training of the model failed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    folder, where = Path(folder), f"model {folder}"
    try:
        record: dict[str, Any] = json.loads(checked(folder / DESCRIPTION).read_text(encoding="utf-8"))
        data = checked(folder / WEIGHTS).read_bytes()
    except (OSError, ValueError, RecursionError) as error:
        raise InputError.of(where, str(error), "train it first") from None
    try:
        if "failed" in record:
            found = f"its training failed: {record['failed']}"
            raise InputError.of(where, found, "remove the cause and train it again")
        if record.get("format") != FORMAT:
            found = f"format {record.get('format')!r}, not {FORMAT}"
            raise InputError.of(where, found, "train it again with this version")
        if hashlib.sha256(data).hexdigest() != record["weights_sha256"]:
            raise InputError.of(where, "weights and description do not belong together", "train it again")
        if record["own_network"] and record["own_network"] != (asdict(own) if own else None):
            found = f"a user's own network, from {record['own_network'].get('file')!r}"
            raise InputError.of(where, found, "only the workflow that trained it can load it")
        description, tensors = _description(record, where), load(data)
        if not description.choice.own:
            _check_sizes(description, tensors, where)
        network = description.build()
        network.load_state_dict(tensors)
    # any error of an intact but malformed file; none of its content has been executed
    except (
        SafetensorError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError
    ) as error:  # fmt: skip
        found = f"a model that cannot be loaded ({type(error).__name__}: {str(error)[:200]})"
        raise InputError.of(where, found, "train or fetch it again") from error
    return network.eval(), description, record


def _description(record: Mapping[str, Any], where: str) -> ModelDescription:
    """Return the description in a record; sizes must respect the bounds of the configuration."""
    sizes = dict(record["model_config"])
    subspaces = sizes.pop("subspaces")
    problems = Problems(schema_problems({"model": sizes, "subspaces": dict.fromkeys(subspaces, "shipped")}))
    if problems:
        raise InputError.of(where, "; ".join(map(str, problems)), "train or fetch it again")
    choice = NetworkChoice.from_record(record)
    config = choice.token_config(record["model_config"])
    # keys of a record are sorted: take the order from the configuration
    task, genes = record["task"], record["genes"]
    return ModelDescription(
        Task.of(task["name"], task), record["model"], record["fold"], config, target_of(record["target"]),
        record["encoder"], {s: tuple(genes[s]) for s in config.subspaces if s in genes}, choice,
    )  # fmt: skip


class _NothingDrawn(TorchFunctionMode):
    """Leaves new weights as they are: drawing them on the meta device loads torch's compiler, three CPU seconds of a job."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in ("normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _check_sizes(description: ModelDescription, tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse a description that does not match the weights, before allocating memory for it."""
    try:
        with torch.device("meta"), _NothingDrawn():
            wanted = {name: tensor.shape for name, tensor in description.build().state_dict().items()}
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    if wanted != {name: tensor.shape for name, tensor in tensors.items()}:
        raise InputError.of(where, "weights and description do not belong together", "train it again")
