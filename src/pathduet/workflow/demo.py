"""The demo, used when no cohort is named: `examples/demo.yaml` and a phantom cohort of the default design."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from pathduet.core.config import resolve
from pathduet.core.files import sha256_file


@lru_cache
def folder() -> Path:
    """Return the folder of the demo's cohort."""
    return Path(resolve({})["sheets"]["slides"]).parent


def drawn_table() -> Path:
    """Return the path of the slide table; it exists once the slides are drawn."""
    return folder() / "truth" / "slides.tsv"


def drawn_from() -> str:
    """Return a hash of what determines the demo's slides: design and code."""
    return sha256_file(folder() / "simulation.json")[:12]


def as_drawn(slide_id: str, path: Path) -> bool:
    """Whether a slide is not drawn yet, or still has the size it was drawn with."""
    record = folder() / "truth" / "slides" / f"{slide_id}.json"
    if not path.is_file() or not record.is_file():
        return True
    return bool(json.loads(record.read_text(encoding="utf-8")).get("bytes") == path.stat().st_size)


def prepare(**design: int) -> str:
    """Write the tables of the demo's cohort unless they exist, and return the message for the user.

    A job draws the slides, see ``rules/phantom.smk``; if one is missing, the record that they are drawn is removed. A
    phantom of another design is replaced.

    Parameters
    ----------
    design : int
        As in :class:`pathduet.phantom.design.Design`, for tests of a smaller one.
    """
    from pathduet.cohort.sheets import read_slide_rows
    from pathduet.phantom.cohort import write_tables
    from pathduet.phantom.design import Design

    write_tables(folder(), Design(**design), overwrite=True)
    if not all((folder() / row["path"]).is_file() for row in read_slide_rows(folder() / "slides.tsv")):
        drawn_table().unlink(missing_ok=True)
    return (
        f"No sheets are named, so this is the demo: a simulated cohort, written to {folder()}/ (examples/demo.yaml). "
        "`pathduet init` starts your own cohort."
    )
