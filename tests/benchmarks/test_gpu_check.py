"""The check of a GPU, as far as it goes without one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_every_check_agrees_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them but compiled ones; a network that differs is found."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_check

    from pathduet.catalogue import names
    from pathduet.training.loop import fit

    page = tmp_path / "gpu.md"
    command = ["gpu_check", "--device", "cpu", "--small", "--no-compiled", "--out", str(page)]
    monkeypatch.setattr(sys, "argv", command)
    assert gpu_check.main() == 0
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")][1:]
    networks = len(names("method", "released", "baseline"))
    assert len(rows) == 2 + 2 + 1 + 2 * networks + 1 and all("| yes |" in row for row in rows)

    monkeypatch.setattr(gpu_check, "names", lambda *kinds: ("abmil",))
    monkeypatch.setattr(gpu_check, "encoder_agrees", lambda *options: 1 / 0)
    monkeypatch.setattr(gpu_check, "onnx_agrees", lambda *options: gpu_check.Row("x", "", "", None))
    right, seen = gpu_check.Training.step, []

    def wrong(self: Any, batch: object) -> torch.Tensor:
        seen.append(right(self, batch))
        return seen[-1] + len(seen)

    monkeypatch.setattr(gpu_check.Training, "step", wrong)
    # a training that ignores its checkpoint
    monkeypatch.setattr(
        gpu_check, "fit", lambda *args, **settings: fit(*args, **{**settings, "checkpoint": None})
    )
    assert gpu_check.main() == 1
    text = page.read_text()
    assert "ZeroDivisionError" in text and text.count("**no**") == 2 + 2 + 1
    assert text.count("| not checked |") == 1


def test_without_a_gpu_it_says_that_nothing_was_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_check

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_check"])
    assert gpu_check.main() == 2 and "nothing was checked" in capsys.readouterr().err
