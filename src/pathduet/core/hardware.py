"""The machine: a job's GPU and threads, bfloat16 support, compiler and peak memory.

On a cluster, a job sees only its own GPU. On a machine with several, Snakemake runs several jobs at a time, and each sees all GPUs:
a job locks a file named after the GPU that it uses; the kernel releases the lock when the job ends for any reason.
"""

from __future__ import annotations

import contextlib
import ctypes
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
    """Return the number of a free GPU, locked until this process ends; if none is free, one is shared.

    A process always gets the same GPU. There must be a GPU.
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
    """Refuse a setting that compiles networks for a GPU if triton, which generates their code, is not installed."""
    if device.startswith("cuda") and importlib.util.find_spec("triton") is None:
        raise PathDuetError(
            f"{setting}: torch.compile needs triton on a GPU: pip install torch again, which brings it, or set it to false"
        )


def pick_device(wanted: str) -> str:
    """Return the device to compute on.

    Parameters
    ----------
    wanted : str
        ``auto`` (a GPU, if possible one that no other job uses, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    PathDuetError
        If a GPU is requested and there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if wanted == "auto":
        return f"cuda:{free_gpu()}" if available else "cpu"
    if wanted.startswith("cuda") and not available:
        raise PathDuetError(f"encoder.device: {wanted} is set, but torch finds no GPU; use auto or cpu")
    return wanted


def limit_threads(threads: int) -> None:
    """Let torch use `threads` threads (>= 1; too many on a busy machine make it several times slower) and keep freed memory."""
    import torch

    torch.set_num_threads(max(1, threads))
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc reuse up to 256 MiB that was freed: large arrays would be fresh pages each time, cleared by the kernel."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # not glibc
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at the most that it becomes by itself
            mallopt(-1, 256 << 20)  # M_TRIM_THRESHOLD


def cpu_has_bfloat16() -> bool:
    """Return whether this machine multiplies bfloat16 in hardware (AVX512-BF16, AMX; Linux only)."""
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text(encoding="utf-8").split()) if cpu.is_file() else set()
    return not flags.isdisjoint({"avx512_bf16", "amx_bf16"})


def reset_peak_memory() -> None:
    """Reset the peak to the memory resident now, where supported (Linux): a process may train several networks."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def resident_bytes(pid: int) -> int:
    """Return the resident memory in bytes of a process and those it started; 0 without /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        lists = [path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (OSError, ValueError, IndexError):
        return 0
    children = sum(resident_bytes(int(child)) for one in lists for child in one.split())
    return pages * os.sysconf("SC_PAGE_SIZE") + children


def peak_memory_mib() -> float:
    """Return this process's peak resident memory in MiB, all libraries included.

    Notes
    -----
    Linux's ``VmHWM`` if available: ``getrusage`` includes the memory that the parent had when it started this
    process, so that a small job of a large workflow would count as large.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) / 2**10
    import resource  # not on Windows

    # kibibytes elsewhere, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
