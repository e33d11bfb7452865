"""Ids for file names, derived from users' names: the same name always gives the same id, independent of other names."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from pathduet.core.config import schema

_LONGEST = 109  # of the 120 that a sheet's ids may have: leaves room for a hash


def id_of(name: str) -> str:
    """Return an id of ASCII letters, digits, ``.``, ``_`` and ``-`` for a name.

    Other ASCII characters become ``_``. A name that would lose more (letters of another script, or its end) gets a
    hash of the whole name appended, so that two names never share an id.

    >>> id_of("P 17 (HE)"), id_of("Fall ä") == id_of("Fall ö")
    ('P_17__HE_', False)
    """
    name = unicodedata.normalize("NFC", name)  # macOS decomposes ä
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip("._-")
    return plain if plain and name.isascii() and len(plain) <= _LONGEST else marked(plain, name)


def is_id(text: str) -> bool:
    """Whether a sheet may hold this id; ids become file names."""
    return bool(re.fullmatch(schema("slides")["properties"]["slide_id"]["pattern"], text))


def marked(identifier: str, name: str) -> str:
    """Return an id followed by ten hexadecimal digits of a name's SHA-256."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    return f"{identifier[:_LONGEST].strip('._-') or 'slide'}-{digest}"
