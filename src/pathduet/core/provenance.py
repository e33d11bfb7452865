"""The origin of a result: versions, commit, source code and input checksums."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pathduet import __version__
from pathduet.core.files import sha256_file, write_json
from pathduet.core.source_code import PACKAGE, whole_version


def settings_hash(settings: Any) -> str:
    """Return a short hash of any JSON-serialisable settings, independent of key order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12]


def git_commit(folder: Path = PACKAGE) -> str:
    """Return the checkout's commit (``-dirty`` when tracked files differ), or ``unknown``.

    Also ``unknown`` if the package is installed inside another project's checkout.
    """

    def git(*command: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("-dirty" if changed else "")


def versions() -> dict[str, str]:
    """Return the versions of Python, the platform, PathDuet and the packages that affect its results."""
    names = (
        "snakemake", "torch", "onnxruntime", "numpy", "scipy", "pandas", "anndata", "scikit-learn", "lifelines",
        "h5py", "openslide-python", "openslide-bin", "pillow", "tifffile", "staintools", "spams-bin", "safetensors", "matplotlib",
    )  # fmt: skip
    found = {"python": platform.python_version(), "platform": platform.platform(), "pathduet": __version__}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@lru_cache
def origin() -> Mapping[str, Any]:
    """Return the code that computes results here: commit, hash of the whole source, versions."""
    return {"git_commit": git_commit(), "source_sha256": whole_version(), "versions": versions()}


def job_record(job: Any, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return the origin of a job's results: its settings, seed and code, and the checksums of its inputs.

    Parameters
    ----------
    job : object
        Snakemake's object in a script: `rule`, `wildcards`, `params` and `config` are used.
    inputs : mapping
        SHA-256 of each input, without raw slides: their artifacts record it.
    """
    # files are among the inputs; `decided_by` derives from the settings
    apart = ("code", "files", "decided_by")
    named = {name: value for name, value in job.params.items() if name not in apart}
    settings = without_folders(json.loads(json.dumps(named, default=str)), Path(job.config["results"]))
    own = settings.get("settings")
    seed = own.get("seed") if isinstance(own, Mapping) else None
    return {
        "rule": job.rule,
        "wildcards": dict(job.wildcards.items()),
        "settings": settings,
        "seed": job.config.get("seed") if seed is None else seed,
        "code": job.params.get("code"),
        "inputs": dict(inputs),
        **origin(),
    }


def shown_path(path: str | os.PathLike[str], results: Path) -> str:
    """Return a path as records show it: a result from the results folder on, other absolute paths as file names.

    Results are shared, also inside released models. Full paths would disclose where patients' files are stored, and user
    names.
    """
    given, folder = Path(path), results.absolute()
    if given.absolute().is_relative_to(folder):
        return (folder.name / given.absolute().relative_to(folder)).as_posix()
    return given.name if given.is_absolute() or ".." in given.parts else given.as_posix()


def shown_files(digests: Mapping[str, str], results: Path) -> dict[str, str]:
    """Return checksums by path as records show it; files of the same name are numbered."""
    found: dict[str, str] = {}
    for path, digest in digests.items():
        shown = name = shown_path(path, results)
        number = 1
        while shown in found:
            shown = f"{name} ({(number := number + 1)})"
        found[shown] = digest
    return found


def without_folders(value: Any, results: Path) -> Any:
    """Return JSON-like settings with absolute paths as records show them."""
    if isinstance(value, Mapping):
        return {key: without_folders(inner, results) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner, results) for inner in value]
    is_path = isinstance(value, str) and value.startswith("/") and len(Path(value).parts) > 2
    return shown_path(value, results) if is_path else value


def embed(description: Path, record: Mapping[str, Any]) -> None:
    """Write a job's record into its ``model.json``, under the key ``provenance``."""
    content = json.loads(description.read_text(encoding="utf-8"))
    write_json(description, {**content, "provenance": record})


def run_record(config: Mapping[str, Any], inputs: Iterable[str]) -> dict[str, Any]:
    """Return the origin of a run: configuration, versions, commit, source hash, checksums of its tables.

    Parameters
    ----------
    config : mapping
        The complete configuration.
    inputs : iterable of path
        Files whose SHA-256 is recorded (sheets, expression tables, the slide ledger; not raw slides, whose
        artifacts record it).
    """
    return {
        "config": config,
        "seed": config["seed"],
        **origin(),
        "inputs": {str(path): sha256_file(path) for path in inputs},
    }


def read_run_record(path: Path) -> dict[str, Any]:
    """Read a record of :func:`run_record`, from any user's results folder; its configuration is checked against the schema.

    Raises
    ------
    InputError
        If it does not exist, or its configuration is not valid in this version.
    CorruptArtifact
        If it differs from what was written.
    """
    from pathduet.core.checksums import checked
    from pathduet.core.config import schema_problems
    from pathduet.core.errors import InputError

    try:
        record = dict(json.loads(checked(path).read_text(encoding="utf-8")))
        problems = "; ".join(map(str, schema_problems(record["config"])))
        if not problems:
            return record | {"inputs": dict(record.get("inputs", {}))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        problems = f"cannot be read ({type(error).__name__}: {error})"
    raise InputError.of(str(path), problems, "name the results folder of a finished run of this version")
