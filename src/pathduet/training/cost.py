"""Cost of a training: time, memory, parameters; beside the model, as it is not a function of the inputs."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn

from pathduet.core.files import write_json
from pathduet.core.hardware import peak_memory_mib, reset_peak_memory
from pathduet.results import COST


class Cost:
    """Measures the cost of a ``with`` block.

    Parameters
    ----------
    device : torch.device
        Device of the network.
    threads : int
        Threads of torch.

    Attributes
    ----------
    seconds : float
        Wall time of the last steps: a training resumed from a checkpoint counts only its own part.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self.device, self.threads, self.seconds = device, threads, 0.0

    def __enter__(self) -> Cost:
        reset_peak_memory()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start

    def record(self, network: nn.Module) -> dict[str, Any]:
        """Return the record; peak_memory_mib is of the whole process since the start, peak_gpu_memory_mib of tensors."""
        gpu = self.device.type == "cuda"
        return {
            "seconds": round(self.seconds, 3),
            "peak_memory_mib": round(peak_memory_mib(), 1),
            "peak_gpu_memory_mib": round(torch.cuda.max_memory_allocated(self.device) / 2**20, 1)
            if gpu
            else None,
            "device": torch.cuda.get_device_name(self.device) if gpu else "cpu",
            "threads": self.threads,
            "parameters": sum(p.numel() for p in network.parameters()),
        }

    def write(self, folder: Path, network: nn.Module) -> None:
        """Write the record as cost.json."""
        write_json(folder / COST, self.record(network))
