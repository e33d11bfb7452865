"""A conda channel in a folder: what the environment files ask of conda, made from what this machine has.

`python` is a thin package: a virtual environment's layout around the interpreter that runs the tests, which keeps
other site-packages out as conda's would. `pip` and `setuptools` are this environment's own, repacked. Everything under
`pip:` is installed by that pip for real.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from importlib import metadata
from pathlib import Path

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"lib/python{VERSION}/site-packages"


def build(channel: Path) -> None:
    """Write packages and their index into `channel`."""
    packages = {
        "python": (sys.version.split()[0], _python()),
        "pip": (metadata.version("pip"), _distribution("pip")),
        "setuptools": (metadata.version("setuptools"), _distribution("setuptools")),
    }
    folder = channel / "noarch"
    folder.mkdir(parents=True)
    index = {}
    for name, (version, members) in packages.items():
        file = f"{name}-{version}-0.tar.bz2"
        facts = {
            "name": name,
            "version": version,
            "build": "0",
            "build_number": 0,
            "depends": [],
            "subdir": "noarch",
        }
        _write(folder / file, facts, members)
        index[file] = {**facts, "sha256": hashlib.sha256((folder / file).read_bytes()).hexdigest()}
    (folder / "repodata.json").write_text(
        json.dumps({"info": {"subdir": "noarch"}, "packages": index}, indent=1)
    )


def _python() -> dict[str, bytes | Path]:
    home = Path(sys.base_prefix) / "bin"
    settings = f"home = {home}\ninclude-system-site-packages = false\nversion = {sys.version.split()[0]}\n"
    interpreter = home / f"python{VERSION}"
    links: dict[str, bytes | Path] = {
        f"bin/{name}": interpreter for name in ("python", "python3", f"python{VERSION}")
    }
    return {"pyvenv.cfg": settings.encode(), f"{SITE}/README.txt": b"packages\n", **links}


def _distribution(name: str) -> dict[str, bytes | Path]:
    members: dict[str, bytes | Path] = {}
    for file in metadata.distribution(name).files or []:
        path = Path(str(file.locate()))
        if path.is_file() and ".." not in file.parts and path.suffix != ".pyc":
            members[f"{SITE}/{file.as_posix()}"] = path.read_bytes()
    if name == "pip":
        members["bin/pip"] = b'#!/bin/sh\nexec "$(dirname "$0")/python" -m pip "$@"\n'
    return members


def _write(path: Path, facts: dict[str, object], members: dict[str, bytes | Path]) -> None:
    with tarfile.open(path, "w:bz2", compresslevel=1) as archive:
        for name, content in {"info/index.json": json.dumps(facts).encode(), **members}.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755 if name.startswith("bin/") else 0o644
            if isinstance(content, Path):
                entry.type, entry.linkname = tarfile.SYMTYPE, str(content)
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
