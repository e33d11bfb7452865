"""The demo, which runs where no cohort is named: `examples/demo.yaml` and a phantom cohort of the default design."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from pathduet.core.config import resolve
from pathduet.core.files import sha256_file


@lru_cache
def folder() -> Path:
    """Return where the demo's cohort lies."""
    return Path(resolve({})["sheets"]["slides"]).parent


def drawn_table() -> Path:
    """Return the table about the slides: where it is, they are drawn."""
    return folder() / "truth" / "slides.tsv"


def drawn_from() -> str:
    """Return what the demo's slides are drawn from, design and code, as a hash."""
    return sha256_file(folder() / "simulation.json")[:12]


def as_drawn(slide_id: str, path: Path) -> bool:
    """Whether a slide is still to be drawn, or as large as when it was."""
    record = folder() / "truth" / "slides" / f"{slide_id}.json"
    if not path.is_file() or not record.is_file():
        return True
    return bool(json.loads(record.read_text(encoding="utf-8")).get("bytes") == path.stat().st_size)


def prepare(**design: int) -> str:
    """Write the tables of the demo's cohort unless they are there, and return what a user is told.

    Its slides are left to a job, see ``rules/phantom.smk``; that they are drawn is forgotten where one is missing. A phantom
    of another design gives way.

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
        "For your own cohort use --configfile; see examples/own_cohort.yaml."
    )
