"""Conda environments, rules and pyproject.toml agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pathduet import __version__

ENVIRONMENTS = ["slides", "expression", "learning", "report"]


def declared(repository: Path) -> dict[str, str]:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return {re.match(r"[A-Za-z0-9._-]+", spec)[0].lower(): spec for part in lists for spec in part}  # type: ignore[index]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_bounds_are_those_of_pyproject(repository: Path, name: str) -> None:
    environment = yaml.safe_load((repository / f"envs/{name}.yaml").read_text())
    assert environment["channels"] == ["conda-forge"]
    pip = next(part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    known = declared(repository)
    assert pip and all(known.get(re.match(r"[A-Za-z0-9._-]+", spec)[0].lower()) == spec for spec in pip)  # type: ignore[index]
    assert (repository / f"envs/{name}.post-deploy.sh").read_text().startswith("#!/usr/bin/env bash")


def test_every_rule_that_runs_a_script_has_an_existing_environment(repository: Path) -> None:
    for rules in sorted((repository / "rules").glob("*.smk")):
        for block in re.split(r"\nrule ", rules.read_text())[1:]:
            found = re.search(r'conda:\s+"\.\./envs/(\w+)\.yaml"', block)
            assert found and found[1] in ENVIRONMENTS, block.splitlines()[0]
            script = re.search(r'script:\s+"\.\./(workflow_scripts/\w+\.py)"', block)
            assert script and (repository / script[1]).is_file(), block.splitlines()[0]


def test_scripts_stay_a_page(repository: Path) -> None:
    for script in (repository / "workflow_scripts").glob("*.py"):
        assert len(script.read_text().splitlines()) <= 50, script.name


def test_the_citation_names_the_packages_version(repository: Path) -> None:
    assert yaml.safe_load((repository / "CITATION.cff").read_text())["version"] == __version__


def test_uv_lock_is_of_the_dependencies_as_declared(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = set()
    for extra, needs in {"": project["dependencies"], **extras}.items():
        for need in map(Requirement, needs):
            # uv writes what `pathduet[onnx]` stands for
            meant = map(Requirement, extras[need.extras.pop()]) if need.name == "pathduet" else [need]
            declared |= {(canonicalize_name(one.name), extra, str(one.specifier)) for one in meant}
    packages = tomllib.loads((repository / "uv.lock").read_text())["package"]
    (own,) = [package for package in packages if package["name"] == "pathduet"]
    locked = set()
    for need in own["metadata"]["requires-dist"]:
        extra = re.search(r"extra == '([\w-]+)'", need.get("marker", ""))
        specifier = str(Requirement(f"x{need.get('specifier', '')}").specifier)
        locked.add((need["name"], extra[1] if extra else "", specifier))
    assert locked == declared, "run `make locks`"
