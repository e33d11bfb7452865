"""Jobs beside one another on a machine of several GPUs take different ones; freed memory is reused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pathduet.core import hardware

torch = pytest.importorskip("torch")

OTHER_JOB = """
import sys, torch
from types import SimpleNamespace
torch.cuda.device_count = lambda: 2
torch.cuda.get_device_properties = lambda i: SimpleNamespace(uuid=f"GPU-{i}")
from pathduet.core.hardware import free_gpu
print(free_gpu(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(uuid=f"GPU-{i}"))
    hardware.free_gpu.cache_clear()


@pytest.mark.slow
def test_a_job_takes_the_gpu_that_another_does_not_hold_and_keeps_it() -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER_JOB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "0"
        assert hardware.pick_device("auto") == hardware.pick_device("auto") == "cuda:1"
    finally:
        other.communicate("\n")
    hardware.free_gpu.cache_clear()  # another job would now get the one that was let go
    assert hardware.pick_device("auto") == "cuda:0"
    hardware.free_gpu.cache_clear()
    assert hardware.pick_device("auto") in ("cuda:0", "cuda:1")  # all are taken: shared


def test_a_named_gpu_and_an_only_one_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.pick_device("cuda:1") == "cuda:1" and hardware.pick_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert hardware.pick_device("auto") == "cuda:0"


@pytest.fixture(autouse=True, scope="module")
def let_go() -> object:
    yield
    hardware.free_gpu.cache_clear()


def test_compiling_for_a_gpu_needs_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda name: None)
    hardware.require_compiler("training.compile", "cpu")
    with pytest.raises(hardware.PathDuetError, match="needs triton"):
        hardware.require_compiler("training.compile", "cuda:1")


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
def test_freed_memory_is_reused_without_new_pages() -> None:
    code = """
import resource
import numpy as np
from pathduet.core.hardware import limit_threads
limit_threads(1)
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [np.ones(20 << 17) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(pages(), (pages(), pages())[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = map(int, done.stdout.split())
    assert first > 10 * second
