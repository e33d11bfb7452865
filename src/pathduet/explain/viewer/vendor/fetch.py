"""Fetch the pinned OpenSeadragon from npm into this folder: ``python -m pathduet.explain.viewer.vendor.fetch``."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from pathduet.core.files import atomic_path
from pathduet.explain.viewer.vendor import SHA256, VERSION

_MEMBERS = {
    "openseadragon.min.js": "package/build/openseadragon/openseadragon.min.js",
    "openseadragon.LICENSE.txt": "package/LICENSE.txt",
}


def fetch(folder: Path) -> None:
    """Write the published files into `folder`; refuse any whose checksum is not the recorded one."""
    with tempfile.TemporaryDirectory() as temporary:
        command = ["npm", "pack", "--silent", f"openseadragon@{VERSION}"]
        subprocess.run(command, cwd=temporary, check=True, stdout=subprocess.DEVNULL)
        archive = next(Path(temporary).glob("*.tgz"))
        with tarfile.open(archive) as packed:
            for name, member in _MEMBERS.items():
                source = packed.extractfile(member)
                assert source is not None
                data = source.read()
                found = hashlib.sha256(data).hexdigest()
                if found != SHA256[name]:
                    sys.exit(f"{member} of openseadragon {VERSION} has SHA-256 {found}, not {SHA256[name]}")
                with atomic_path(folder / name) as path:
                    path.write_bytes(data)


if __name__ == "__main__":
    fetch(Path(__file__).parent)
    print(f"OpenSeadragon {VERSION}: fetched, and what it should be")
