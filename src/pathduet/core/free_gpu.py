"""Which of several GPUs a job takes: one that no other job of this machine has.

A cluster shows a job its own GPU only. On one machine with several, Snakemake runs several jobs at a time and all see all of them: each
locks a file named after the GPU it takes; the kernel lets go of it when the job ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from functools import lru_cache
from pathlib import Path

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
    folder = Path(tempfile.gettempdir()) / f"pathduet-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for number in range(count):
        # numbers depend on CUDA_VISIBLE_DEVICES, the identifier does not
        name = str(getattr(torch.cuda.get_device_properties(number), "uuid", number))
        handle = os.open(folder / re.sub(r"[^A-Za-z0-9-]", "_", name), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            continue
        _held.append(handle)
        return number
    return os.getpid() % count
