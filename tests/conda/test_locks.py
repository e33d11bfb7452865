"""The locks of the environments: complete, within the bounds, with hashes, and of no particular place."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ENVIRONMENTS = ["slides", "expression", "learning", "report"]
PLATFORMS = {
    "linux-64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "linux-aarch64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    "osx-arm64": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}


def read_lock(path: Path) -> dict[str, Version]:
    """Return the packages of a lock; every line has to be a version with hashes, or a comment."""
    text = re.sub(r"\\\n\s+", "", path.read_text())
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        entry = re.fullmatch(r"([a-z0-9-]+)==([0-9][0-9a-z.]*) (--hash=sha256:[0-9a-f]{64} ?)+", line)
        assert entry, f"{path.name}: {line[:120]}"
        found[entry[1]] = Version(entry[2])
    return found


@pytest.fixture(params=[(name, platform) for name in ENVIRONMENTS for platform in PLATFORMS], ids="-".join)
def named(request: pytest.FixtureRequest) -> tuple[str, str]:
    """An environment and a platform."""
    return request.param  # type: ignore[no-any-return]


def test_every_wish_is_locked_within_its_bounds(repository: Path, named: tuple[str, str]) -> None:
    name, platform = named
    locked = read_lock(repository / f"envs/locks/{name}.{platform}.txt")
    environment = yaml.safe_load((repository / f"envs/{name}.yaml").read_text())
    wishes = next(part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    for wish in map(Requirement, wishes):
        assert wish.specifier.contains(locked[canonicalize_name(wish.name)]), f"{wish}: run `make locks`"


def test_what_the_locked_packages_need_is_locked_too(repository: Path, named: tuple[str, str]) -> None:
    name, platform = named
    locked = read_lock(repository / f"envs/locks/{name}.{platform}.txt")
    machine = {**default_environment(), **PLATFORMS[platform], "python_version": "3.11", "extra": ""}
    looked_at = 0
    for package, version in locked.items():
        try:
            installed = metadata.distribution(package)
        except metadata.PackageNotFoundError:
            continue
        if Version(installed.version) != version:
            continue  # what another version needs is not known here
        looked_at += 1
        for need in map(Requirement, installed.requires or []):
            if need.marker is None or need.marker.evaluate(machine):
                there = locked.get(canonicalize_name(need.name))
                assert there is not None, f"{package} needs {need}"
                assert need.specifier.contains(there, prereleases=True), f"{package} needs {need}"
    assert looked_at > 20


def test_locks_and_environments_are_the_same_set(repository: Path) -> None:
    found = {path.name for path in (repository / "envs/locks").glob("*.txt")}
    assert found == {f"{name}.{platform}.txt" for name in ENVIRONMENTS for platform in PLATFORMS}
    assert {path.stem for path in (repository / "envs").glob("*.yaml")} == set(ENVIRONMENTS)
