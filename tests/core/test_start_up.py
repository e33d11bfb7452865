"""What a process imports to start: a job, or the command, loads no library that it does not use."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

#: Libraries whose import takes half a CPU second or more.
HEAVY = {"torch", "torchvision", "lifelines", "scanpy", "anndata", "sklearn", "matplotlib", "pandas", "scipy"}
#: What each script may load at its start; all others load none.
USED = {
    "evaluate": {"pandas", "scipy"},
    "explain": {"torch", "pandas"},
    "export": {"torch", "pandas"},
    "heatmap": {"torch"},
    "participation": {"pandas"},
    "predict": {"torch", "pandas"},
    "regressions": {"pandas"},
    "report": {"pandas"},
    "train": {"torch"},
}


def loaded_by(code: str) -> set[str]:
    """Return the heavy libraries that a new process has loaded when it has run `code`."""
    tell = f"import sys; print(*({HEAVY!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tell}"], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def imports_of(script: Path) -> str:
    """Return a script's import statements, those in its body too."""
    nodes = ast.walk(ast.parse(script.read_text(encoding="utf-8")))
    return "\n".join(ast.unparse(node) for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)))


def test_scripts_and_the_command_start_with_the_libraries_that_they_use(repository: Path) -> None:
    scripts = {path.stem: imports_of(path) for path in (repository / "workflow_scripts").glob("*.py")}
    assert set(USED) < set(scripts)
    # in one process: none of them may load any
    light = [code for name, code in scripts.items() if name not in USED]
    assert loaded_by("\n".join(["import pathduet.cli", *light])) == set()
    for name, used in USED.items():
        assert loaded_by(scripts[name]) <= used, name
