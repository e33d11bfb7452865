"""What a process imports to start: a job, or the command, loads no library that it does not use."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

#: Libraries whose import takes a third of a CPU second or more, and what torch loads to compile.
HEAVY = {
    "torch", "torch._dynamo", "torchvision", "lifelines", "scanpy", "anndata", "sklearn", "matplotlib", "pandas", "scipy.stats", "numba",
}  # fmt: skip
#: What scripts may load at their start; all others load none of it.
USED = {
    ("explain", "export", "predict"): {"torch", "pandas"},
    ("heatmap", "train"): {"torch"},
    ("evaluate", "report"): {"pandas", "scipy.stats"},
    ("participation", "regressions"): {"pandas"},
}
#: A step of the optimiser.
STEP = """
import torch
from pathduet.training.config import TrainingConfig
from pathduet.training.optimizer import adamw

network = torch.nn.Linear(2, 1)
optimizer = adamw(network, TrainingConfig())
optimizer.zero_grad(set_to_none=True)
network(torch.ones(1, 2)).sum().backward()
before = network.weight.detach().clone()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
assert (network.weight != before).all()
"""


def loaded_by(code: str) -> set[str]:
    """Return the heavy libraries that a new process has loaded when it has run `code`."""
    tell = f"import sys; print(*({HEAVY!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", f"{code}\n{tell}"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def imports_of(script: Path) -> str:
    """Return a script's import statements, those in its body too."""
    nodes = ast.walk(ast.parse(script.read_text(encoding="utf-8")))
    return "\n".join(ast.unparse(node) for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)))


def test_scripts_and_the_command_start_with_the_libraries_that_they_use(repository: Path) -> None:
    scripts = {path.stem: imports_of(path) for path in (repository / "workflow_scripts").glob("*.py")}
    heavy = {name for names in USED for name in names}
    assert heavy < set(scripts)
    light = [code for name, code in scripts.items() if name not in heavy]
    assert loaded_by("\n".join(["import pathduet.cli", *light])) == set()
    for names, used in USED.items():
        assert loaded_by("\n".join(scripts[name] for name in names)) == used, names


def test_a_step_of_training_does_not_load_what_compiles_networks() -> None:
    assert loaded_by(STEP) == {"torch"}
