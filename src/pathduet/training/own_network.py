"""A network from a user's own file, imported from its path and identified by the hash of its source."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from pathduet.core.errors import InputError, Problem

_ADVICE = "see docs/adding_a_model.md"


@dataclass(frozen=True)
class OwnNetwork:
    """Location of a user's network.

    Attributes
    ----------
    file : str
        Python file, absolute or relative to the working directory.
    network : str
        Class in the file.
    sha256 : str
        Hash of the file when the model was configured; a changed source is another model.
    """

    file: str
    network: str
    sha256: str


def source_sha256(file: str | Path) -> str:
    """Return the hash of a source file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        found = error.strerror or "unreadable"
        raise InputError([Problem(f"own model {file}", found, "correct comparison.own_models")]) from None


def load_network(own: OwnNetwork) -> type[nn.Module]:
    """Import a user's file and return its network's class.

    The file is imported under a name with its source's hash, so that files of the same name do not clash; it may
    import installed packages, and modules beside it only if they are on the path.

    Raises
    ------
    InputError
        If the file is missing, has changed since it was configured, cannot be imported, or lacks the network.
    """
    where = f"own model {own.file}"
    if source_sha256(own.file) != own.sha256:
        found = "changed since the model was trained"
        raise InputError([Problem(where, found, "train the model again, or restore the old file")])
    name = f"pathduet_own_{own.sha256[:16]}"
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, own.file)
        if spec is None or spec.loader is None:
            raise InputError([Problem(where, "no Python file", f"its name must end in .py; {_ADVICE}")])
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look up their module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            found = f"cannot be imported: {type(error).__name__}: {error}"
            raise InputError([Problem(where, found, _ADVICE)]) from error
    found_class = getattr(module, own.network, None)
    if not (isinstance(found_class, type) and issubclass(found_class, nn.Module)):
        found = f"no torch.nn.Module named {own.network!r}"
        raise InputError([Problem(where, found, f"name the class as `network`; {_ADVICE}")])
    return found_class
