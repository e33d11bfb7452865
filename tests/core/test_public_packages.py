"""Packages with public names are cheap to import, and have the names that they promise."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

_HEAVY = "{'numpy', 'pandas', 'torch', 'h5py', 'PIL', 'sklearn', 'yaml'} & set(sys.modules)"


def test_importing_the_package_loads_nothing_large():
    code = f"import sys, pathduet, pathduet.slides, pathduet.evaluation; print({_HEAVY})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


@pytest.mark.parametrize("package", ["pathduet", "pathduet.slides", "pathduet.evaluation", "pathduet.losses"])
def test_every_public_name_is_there_and_says_what_it_is(package: str):
    module = import_module(package)
    for name in module.__all__:
        assert (getattr(module, name).__doc__ or "").strip(), name
    with pytest.raises(AttributeError, match="no_such_name"):
        module.no_such_name  # noqa: B018
