"""OpenSeadragon, the deep-zoom viewer, as its authors published it on npm (BSD-3-Clause; licence beside it).

The file is kept here so that pages work offline and without npm. `make vendor` (or
``python -m pathduet.explain.viewer.vendor.fetch``) fetches the pinned version again and compares it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

VERSION = "6.1.1"
SHA256 = {
    "openseadragon.min.js": "14d587cd3ee7c4861f1a41077ce642029364a21029956ba635bd8fb1202cf9ad",
    "openseadragon.LICENSE.txt": "17da96b26ac706d2cbd06d4555dedb43026782f4943faf0156fe7acf89454228",
}
#: Hash of the one style element that the library adds to a page, for the page's policy.
STYLE_HASH = "sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE="


def openseadragon() -> str:
    """Return the library's source.

    Raises
    ------
    RuntimeError
        If the installed file is not the published one.
    """
    data = (Path(__file__).parent / "openseadragon.min.js").read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256["openseadragon.min.js"]:
        raise RuntimeError("openseadragon.min.js is not the published file: install PathDuet again")
    return data.decode("utf-8")
