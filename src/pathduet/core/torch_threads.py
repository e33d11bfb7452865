"""One place that sets how many threads torch and BLAS may use in this process."""

from __future__ import annotations


def limit_threads(threads: int) -> None:
    """Let torch use `threads` threads (>= 1); too many on a busy machine make it several times slower."""
    import torch

    torch.set_num_threads(max(1, threads))
