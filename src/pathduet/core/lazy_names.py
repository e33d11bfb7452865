"""Public names of a package that are imported on first use, so that importing the package costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, module_of: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__``.

    Modules are named by strings, so that code that imports one of them does not depend on all public names
    (:mod:`pathduet.core.source_code`).

    Parameters
    ----------
    package : str
        The package's ``__name__``.
    module_of : mapping of str to str
        Module of each public name, relative to the package.
    """

    def find(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{module_of[name]}"), name)

    return find
