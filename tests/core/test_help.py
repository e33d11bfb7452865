"""`pathduet --help` answers at once: the command's modules load what they need when a command is called."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_command_starts_without_importers_and_configuration() -> None:
    program = "import sys, pathduet.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("pathduet.importers.")} == {
        "pathduet.importers.cli",
        "pathduet.importers.download",
        "pathduet.importers.download.cli",
    }
    assert not loaded & {"yaml", "hashlib", "numpy", "pathduet.core.config", "pathduet.core.provenance"}
