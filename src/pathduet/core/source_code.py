"""Source code that a result depends on, derived from imports: an edit reruns only what it can change."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
#: Messages, progress lines, locks, records and paths change no result; configuration values are among a rule's
#: parameters and a slide's keys, as is an encoder's registry entry. A module that is missing here costs only a rerun.
NEUTRAL = frozenset(
    {
        "pathduet.core.config",
        "pathduet.core.errors",
        "pathduet.core.file_locks",
        "pathduet.core.parent_process",
        "pathduet.core.progress",
        "pathduet.core.provenance",
        "pathduet.core.run_lock",
        "pathduet.core.shipped",
        "pathduet.core.source_code",
        "pathduet.results",
        "pathduet.slides.encoders.registry",
        "pathduet.workflow.job",
    }
)
_FROM = re.compile(r"^[ \t]*from (pathduet[.\w]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
#: A docstring line that declares modules loaded by name at run time: all of a package.
_LOADED = re.compile(r"^imports (pathduet[.\w]*)\.\*$", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*import (pathduet[.\w]*)", re.MULTILINE)
#: The command of a process: ``[sys.executable, "-m", "pathduet.slides.worker"]``.
_RUN = re.compile(r"""["']-m["'], ["'](pathduet[.\w]*)["']""")


@lru_cache
def code_version(*starts: str | Path) -> str:
    """Return a short hash of modules or scripts and all package modules that they import, at the top or in functions.

    Whitespace at line ends does not count. Rules carry the hash as a parameter: Snakemake detects edits of
    scripts, but not of what they import.

    Parameters
    ----------
    starts : str or Path
        Modules (``"pathduet.slides.tile_stage"``) or script files.
    """
    digest = hashlib.sha256()
    for module in source_modules(*starts):
        digest.update(f"{module} {_file_hash(_file_of(module))}\n".encode())
    return digest.hexdigest()[:12]


def whole_version() -> str:
    """Return a short hash of the whole package's source."""
    digest = hashlib.sha256()
    # in a wheel the workflow lies inside the package, in a checkout beside it
    for file in sorted(set(PACKAGE.rglob("*.py")) - set((PACKAGE / "_workflow").rglob("*.py"))):
        digest.update(f"{file.relative_to(PACKAGE).as_posix()} {_file_hash(file)}\n".encode())
    return digest.hexdigest()[:12]


def source_modules(*starts: str | Path) -> list[str]:
    """Return the package modules that some modules or scripts need, sorted, without those in :data:`NEUTRAL`."""
    found: set[str] = set()
    ahead: list[str] = []
    for start in starts:
        ahead += _imports_of(start) if isinstance(start, Path) else [start]
    while ahead:
        module = ahead.pop()
        if module not in found and module not in NEUTRAL:
            found.add(module)
            ahead += _imports_of(_file_of(module))
    return sorted(found)


@lru_cache
def _imports_of(file: Path) -> tuple[str, ...]:
    text = file.read_text(encoding="utf-8")
    named = [match[1] for pattern in (_IMPORT, _RUN) for match in pattern.finditer(text)]
    for match in _FROM.finditer(text):
        names = re.findall(r"\w+", re.sub(r"#[^\n]*|\bas \w+", "", match[2]))
        inner = [f"{match[1]}.{name}" for name in names]
        modules = [name for name in inner if _file_of(name).is_file()]
        named += [*modules, *([match[1]] if len(modules) < len(inner) else [])]
    for match in _LOADED.finditer(text):
        named += [_module_of(path) for path in sorted(_file_of(match[1]).parent.rglob("*.py"))]
    return tuple(dict.fromkeys(_existing(named)))


def _existing(modules: Iterable[str]) -> list[str]:
    return [module for module in modules if module != "pathduet" and _file_of(module).is_file()]


def _module_of(file: Path) -> str:
    parts = ("pathduet", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _file_of(module: str) -> Path:
    place = PACKAGE.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@lru_cache
def _file_hash(file: Path) -> str:
    lines = (line.rstrip() for line in file.read_text(encoding="utf-8").splitlines())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
