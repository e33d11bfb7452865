"""Ids of patients, slides and samples that are valid in file names; different ids never become the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pathduet.cohort.tcga_barcode import patient_of
from pathduet.core.errors import Problems
from pathduet.core.ids import id_of, is_id
from pathduet.importers.report import ImportReport


def safe_id(text: str) -> str | None:
    """Return an id that is valid in file names, or None if none can be derived from `text`.

    Runs of invalid ASCII characters become a hyphen; other characters add a mark (``core.ids.id_of``).
    """
    identifier = (
        re.sub(r"[^A-Za-z0-9._-]+", "-", text.strip()).strip("-.") if text.isascii() else id_of(text.strip())
    )
    return identifier if is_id(identifier) and ".." not in identifier else None


def patient_id(text: str) -> str | None:
    """Return a patient's id: the patient's part of a TCGA barcode, else :func:`safe_id`."""
    return patient_of(text) or safe_id(text)


def ids_of(
    texts: Iterable[str], source: str, report: ImportReport, clean: Callable[[str], str | None] = patient_id
) -> dict[str, str | None]:
    """Return the id of each text, None where none can be derived; rewritten ids are reported.

    Raises
    ------
    InputError
        If different texts become the same id, ignoring case; barcodes of one TCGA patient may.
    """
    ids = {text: clean(text) for text in dict.fromkeys(texts)}
    owners: dict[str, list[str]] = {}
    for text, identifier in ids.items():
        if identifier is not None and patient_of(text) is None:
            owners.setdefault(identifier.casefold(), []).append(text)
    problems = Problems()
    for identifier, many in owners.items():
        if len(many) > 1:
            found = f"{', '.join(map(repr, many))} would all be called {identifier}"
            problems.add(
                f"{source}, ids", found, "give them ids that differ in letters, digits, '.', '_' or '-'"
            )
    problems.check()
    rewritten = {text: identifier for text, identifier in ids.items() if identifier not in (None, text)}
    if rewritten:
        report.ids.setdefault(source, {}).update(rewritten)
        shown = ", ".join(f"{text!r} as {identifier}" for text, identifier in list(rewritten.items())[:3])
        more = f" and {len(rewritten) - 3} more: import_{report.cohort}.json" if len(rewritten) > 3 else ""
        report.choose(f"{source}: ids as they can name files: {shown}{more}")
    return ids
