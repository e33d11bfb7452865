"""The state of an unfinished training; resuming gives the same weights as an uninterrupted training.

Plain safetensors (no pickle): the network's tensors, AdamW's moments and the random generators' states, with the key
and the history as JSON metadata. The schedule and the batch order are functions of the step and the epoch.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from pathduet.core.checksums import is_damaged, record, recorded
from pathduet.core.files import atomic_path

History = list[dict[str, float]]


def save_checkpoint(
    path: Path,
    key: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: History,
    device: torch.device,
) -> None:
    """Write the state after the last epoch of `history`."""
    from safetensors.torch import save

    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": value for name, value in state.items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(device)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    data = save(plain, metadata={"training": json.dumps({"key": key, "history": history})})
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    record([path])


def load_checkpoint(
    path: Path | None, key: str, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> History:
    """Restore what :func:`save_checkpoint` wrote and return its history; [] if none has this key, or the file is damaged."""
    if path is None or not path.is_file() or not recorded(path) or is_damaged(path):
        return []
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        training = json.loads(file.metadata()["training"])
        if training["key"] != key:
            return []
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "rng": {}}
        for name in file.keys():  # noqa: SIM118  (safe_open is no mapping)
            part, _, rest = name.partition(".")
            parts[part][rest] = file.get_tensor(name)
    model.load_state_dict(parts["model"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimizer"].items():
        index, _, field = name.partition(".")
        state.setdefault(int(index), {})[field] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    torch.set_rng_state(parts["rng"]["cpu"])
    if device.type == "cuda" and "cuda" in parts["rng"]:
        torch.cuda.set_rng_state(parts["rng"]["cuda"], device)
    history: History = training["history"]
    return history
