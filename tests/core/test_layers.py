"""Imports go downward only: a module may use what stands in a layer below its own, never above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import permutations
from pathlib import Path

import pytest

from pathduet.core.source_code import source_modules

#: From the bottom up. A name is a module or a package directly in ``pathduet``; names in one layer do not know each other.
LAYERS = (
    ("results",),
    ("core",),
    ("cohort",),
    ("catalogue",),
    ("expression", "features"),
    ("models",),
    ("catalogue_page", "losses", "phantom", "importers", "slides", "variations"),
    ("result_tables",),
    ("evaluation",),
    ("training",),
    ("explain",),
    ("loaded_run", "report"),
    ("release",),
    ("workflow",),
    ("cli",),
    ("__main__",),
)
#: Packages of one package that do not know each other, in either direction.
APART = (
    ("slides.readers", "slides.stain", "slides.encoders"),
    ("importers", "phantom"),
)
#: What a rule's script must not reach, however far: an edit there would run its jobs again for nothing.
OUT_OF_REACH = {
    "train": ("evaluation", "slides", "explain", "report"),
    "one_slide": ("training", "models", "evaluation", "expression"),
    "slides": ("training", "models", "evaluation", "expression"),
    "genes": ("training", "models", "evaluation", "slides"),
    "evaluate": ("training", "models", "slides", "explain"),
    "report": ("training", "models", "slides"),
}
#: Read by everyone: the package itself, for its version.
PACKAGE = "pathduet"


def module_name(file: Path, source: Path) -> str:
    parts = file.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path, source: Path, modules: set[str]) -> Iterator[str]:
    """Yield the modules of the project that a file imports, at its top or later."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in modules or node.module in modules:
                    yield inner if inner in modules else str(node.module)


@pytest.fixture(scope="module")
def imports(repository: Path) -> dict[str, set[str]]:
    """Every module of the project and those that it imports."""
    source = repository / "src"
    files = {module_name(file, source): file for file in sorted((source / PACKAGE).rglob("*.py"))}
    return {name: set(imported(file, source, set(files))) - {name} for name, file in files.items()}


def place(module: str) -> str:
    """Return the name by which a module stands in the layers."""
    return module.split(".")[1] if "." in module else PACKAGE


def test_every_module_has_its_layer(imports: dict[str, set[str]]) -> None:
    named = [name for layer in LAYERS for name in layer]
    assert sorted(named) == sorted({place(module) for module in imports} - {PACKAGE})


def test_imports_go_to_lower_layers_only(imports: dict[str, set[str]]) -> None:
    height = {name: number for number, layer in enumerate(LAYERS) for name in layer} | {PACKAGE: -1}
    upward = [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in sorted(others)
        if place(module) != place(other) and height[place(other)] >= height[place(module)]
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle(imports: dict[str, set[str]]) -> None:
    # A package's __init__ gathers names of its modules; what imports it from inside is a circle all the same.
    TopologicalSorter(imports).prepare()  # CycleError names the circle


def test_parts_that_do_not_need_each_other_stay_apart(imports: dict[str, set[str]]) -> None:
    together = [
        f"{module} imports {other}"
        for group in APART
        for one, two in permutations(group, 2)
        for module, others in imports.items()
        for other in sorted(others)
        if f"{module}.".startswith(f"{PACKAGE}.{one}.") and f"{other}.".startswith(f"{PACKAGE}.{two}.")
    ]
    assert together == []


@pytest.mark.parametrize("script", OUT_OF_REACH)
def test_an_edit_runs_only_those_jobs_again_that_it_can_change(repository: Path, script: str) -> None:
    needed = source_modules(repository / "workflow_scripts" / f"{script}.py")
    assert needed
    assert [module for module in needed if place(module) in OUT_OF_REACH[script]] == []
