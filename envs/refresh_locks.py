"""Write envs/locks: for every environment and platform, each package that pip installs, with its version and hashes.

    make locks

Versions are those of the environment that runs this, the one that passed `make test`, wherever a platform has them; what is
not installed here is the newest within the bounds. So the way to newer versions is: `make install-dev` anew, `make test`, `make locks`.
conda's own part (Python, pip) is not in here, see docs/cluster.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import yaml

ENVIRONMENTS = Path(__file__).resolve().parent
#: conda's names of platforms, and the oldest system of each that wheels are chosen for.
PLATFORMS = {
    "linux-64": "x86_64-manylinux_2_28",
    "linux-aarch64": "aarch64-manylinux_2_28",
    "osx-arm64": "aarch64-apple-darwin",
}
MACOS = "14.0"
PYTHON = "3.11"
HEADER = """\
# pathduet-{name} on {platform}, Python {python}. Written by `make locks`; change envs/{name}.yaml, not this file.
"""


def wanted(name: str) -> list[str]:
    """Return what an environment file leaves to pip."""
    environment = yaml.safe_load((ENVIRONMENTS / f"{name}.yaml").read_text(encoding="utf-8"))
    return next(part["pip"] for part in environment["dependencies"] if isinstance(part, dict))


def installed() -> list[str]:
    """Return every package of this environment with its version; what came from a folder or an address is left out."""
    found = {
        part.metadata["Name"]: part.version
        for part in metadata.distributions()
        if part.read_text("direct_url.json") is None and "+" not in part.version
    }
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def lock(uv: str, name: str, platform: str) -> str:
    """Return one lock file's text."""
    with tempfile.TemporaryDirectory() as folder:
        wishes, known = Path(folder, "wanted.in"), Path(folder, "installed.txt")
        wishes.write_text("\n".join(wanted(name)) + "\n", encoding="utf-8")
        known.write_text("\n".join(installed()) + "\n", encoding="utf-8")
        command = [
            uv, "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate", "--generate-hashes",
            "--python-version", PYTHON, "--python-platform", PLATFORMS[platform], "--constraint", str(known), str(wishes),
        ]  # fmt: skip
        result = subprocess.run(
            command, capture_output=True, text=True, cwd=folder,
            env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": MACOS},
        )  # fmt: skip
    if result.returncode != 0:
        raise SystemExit(f"{name} on {platform} cannot be locked:\n{result.stderr}")
    return HEADER.format(name=name, platform=platform, python=PYTHON) + result.stdout


def main() -> None:
    """Entry point."""
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is needed: pip install uv")
    for file in sorted(ENVIRONMENTS.glob("*.yaml")):
        for platform in PLATFORMS:
            text = lock(uv, file.stem, platform)
            (ENVIRONMENTS / "locks" / f"{file.stem}.{platform}.txt").write_text(text, encoding="utf-8")
            print(f"{file.stem:<12} {platform:<14} {text.count('==')} packages", file=sys.stderr)


if __name__ == "__main__":
    main()
