"""The machine: which GPU a job takes, how many threads, what bfloat16 costs, how much memory was used.

A cluster shows a job its own GPU only. On one machine with several, Snakemake runs several jobs at a time and all see all of them: each
locks a file named after the GPU it takes; the kernel lets go of it when the job ends, however it ends.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from pathduet.core.errors import PathDuetError
from pathduet.core.file_locks import file_locks

_held: list[int] = []


@lru_cache(maxsize=1)
def free_gpu() -> int:
    """Return the number of a GPU that is free, held until this process ends; if none is, one is shared.

    The same one each time it is asked for in a process. There must be a GPU.
    """
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        return 0
    locks = file_locks()
    folder = Path(tempfile.gettempdir()) / f"pathduet-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PathDuetError(f"{folder} belongs to another user: remove it, or set TMPDIR")
    for number in range(count):
        # numbers depend on CUDA_VISIBLE_DEVICES, the identifier does not
        name = str(getattr(torch.cuda.get_device_properties(number), "uuid", number))
        handle = os.open(folder / re.sub(r"[^A-Za-z0-9-]", "_", name), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            locks.flock(handle, locks.LOCK_EX | locks.LOCK_NB)
        except OSError:
            os.close(handle)
            continue
        _held.append(handle)
        return number
    return os.getpid() % count


def require_compiler(setting: str, device: str) -> None:
    """Refuse a setting that compiles networks for a GPU where triton, which generates their code, is not installed."""
    if device.startswith("cuda") and importlib.util.find_spec("triton") is None:
        raise PathDuetError(
            f"{setting}: torch.compile needs triton on a GPU: pip install triton, or set it to false"
        )


def pick_device(wanted: str) -> str:
    """Return the device to compute on.

    Parameters
    ----------
    wanted : str
        ``auto`` (a GPU that no other job on this machine has, if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    PathDuetError
        If a GPU is asked for that is not there.
    """
    import torch

    available = torch.cuda.is_available()
    if wanted == "auto":
        return f"cuda:{free_gpu()}" if available else "cpu"
    if wanted.startswith("cuda") and not available:
        raise PathDuetError(f"encoder.device: {wanted} is set, but torch finds no GPU; use auto or cpu")
    return wanted


def limit_threads(threads: int) -> None:
    """Let torch use `threads` threads (>= 1); too many on a busy machine make it several times slower."""
    import torch

    torch.set_num_threads(max(1, threads))


def cpu_has_bfloat16() -> bool:
    """Return whether this machine multiplies bfloat16 in hardware (AVX512-BF16, AMX; known on Linux only)."""
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text(encoding="utf-8").split()) if cpu.is_file() else set()
    return not flags.isdisjoint({"avx512_bf16", "amx_bf16"})


def reset_peak_memory() -> None:
    """Let the peak start from what is resident now, where the system can (Linux): a process may train several networks."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_mib() -> float:
    """Return this process's peak resident memory in MiB, all libraries included.

    Notes
    -----
    Linux' ``VmHWM`` where there is one: ``getrusage`` carries the memory a parent had when it started this process
    through the ``exec``, so that a small job of a large workflow would be counted as large.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) / 2**10
    import resource  # not on Windows

    # kibibytes elsewhere, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
