"""Versions of code, derived from imports: an edit reruns what can change, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pathduet.catalogue import CATALOGUE
from pathduet.core.source_code import NEUTRAL, PACKAGE, code_version, source_modules
from tiny_cohort import REPOSITORY

SCRIPTS = REPOSITORY / "workflow_scripts"


def imported(script: str) -> list[str]:
    return source_modules(SCRIPTS / f"{script}.py")


def test_what_is_loaded_later_or_in_another_process_belongs_to_it() -> None:
    # batches of slides run in workers, whose stages load their libraries only when a slide needs them
    assert {
        "pathduet.slides.worker",
        "pathduet.slides.tile_stage",
        "pathduet.slides.encoders.encoder",
    } <= set(imported("slides"))
    # networks are loaded by their names in the catalogue
    networks = {place.partition(":")[0] for model in CATALOGUE.values() if (place := model.network)}
    assert networks <= set(imported("train"))


def test_an_edit_of_metrics_trains_nothing_and_an_edit_of_training_encodes_nothing() -> None:
    trained = imported("train")
    assert "pathduet.losses.cgc" in trained
    assert not [name for name in trained if name.startswith(("pathduet.evaluation", "pathduet.report"))]
    assert not [
        name for name in imported("slides") if name.startswith(("pathduet.training", "pathduet.losses"))
    ]


def test_what_changes_no_result_is_left_out() -> None:
    for script in SCRIPTS.glob("*.py"):
        assert not NEUTRAL & set(source_modules(script))
    for name in NEUTRAL:
        assert PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py").is_file(), f"{name} is gone"


@pytest.mark.slow
@pytest.mark.parametrize("script", ["slides", "genes", "train", "evaluate"])
def test_it_knows_whatever_the_interpreter_loads(script: str) -> None:
    text = (SCRIPTS / f"{script}.py").read_text()
    names = set(re.findall(r"^ +from (pathduet[\w.]*) import", text, re.M)) - NEUTRAL
    program = f"import sys, {', '.join(names)}\nprint(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    loaded = {name for name in found.split() if name.startswith("pathduet.")}
    # what the interpreter loads because it loads whole packages changes nothing
    packages = {name for name in loaded if (PACKAGE.joinpath(*name.split(".")[1:]) / "__init__.py").is_file()}
    assert loaded - NEUTRAL <= {*imported(script), *source_modules(*packages)}


@pytest.mark.slow
def test_an_edit_changes_the_version_of_what_imports_it_alone(tmp_path: Path) -> None:
    package = tmp_path / "src/pathduet"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        "import sys; from pathlib import Path; from pathduet.core.source_code import code_version\n"
        "for path in map(Path, sys.argv[1:]): print(path.stem, code_version(path))"
    )

    def versions() -> dict[str, str]:
        command = [sys.executable, "-c", program, *map(str, sorted(SCRIPTS.glob("*.py")))]
        out = subprocess.run(
            command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path / "src")}
        ).stdout
        return dict(line.split() for line in out.splitlines())

    before = versions()
    for module, suffix in (("losses/cgc.py", "EDITED = 1\n"), ("slides/tile_grid.py", "EDITED = 1\n")):
        file = package / module
        text = file.read_text()
        file.write_text(text + suffix)
        after = versions()
        file.write_text(text)
        dotted = "pathduet." + module.removesuffix(".py").replace("/", ".")
        changed = {script for script in before if before[script] != after[script]}
        assert changed == {script for script in before if dotted in imported(script)} != set(before)
    file = package / "core/errors.py"
    file.write_text(file.read_text().replace("\n", "  \n"))
    assert versions() == before, "messages, and blanks at line ends, change no result"


def test_versions_name_different_parts_differently_in_any_order() -> None:
    first, second = "pathduet.losses.cgc", "pathduet.losses.dev"
    assert code_version(first) != code_version(second)
    assert code_version(first, second) == code_version(second, first)
