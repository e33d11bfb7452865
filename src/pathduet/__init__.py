"""PathDuet: whole-slide images and transcriptomes in, trustworthy results out."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_run"]


def __getattr__(name: str) -> Any:
    if name == "load_run":
        from importlib import import_module

        # named by a string: every module imports this one, but does not depend on loaded_run
        return import_module("pathduet.loaded_run").load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
