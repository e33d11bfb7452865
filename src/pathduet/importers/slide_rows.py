"""Rows of slides.tsv, collected file by file; unusable files are recorded with the reason."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pathduet.importers.report import ImportReport


class SlideRows:
    """The slides of a cohort by id.

    Parameters
    ----------
    report : ImportReport
        Records the slides that are left out.
    """

    def __init__(self, report: ImportReport) -> None:
        self.report = report
        self._rows: dict[str, dict[str, Any]] = {}

    def add(self, slide_id: str, patient_id: str, path: Path, where: str, **columns: Any) -> None:
        """Add a slide, unless its id exists already; `path` is absolute."""
        if slide_id in self._rows:
            self.report.drop("slide", slide_id, where, "its id is there twice")
        else:
            named = {"slide_id": slide_id, "patient_id": patient_id, "path": str(path)}
            self._rows[slide_id] = named | columns

    def ordered(self) -> list[dict[str, Any]]:
        """Return the rows, sorted by id."""
        return [self._rows[key] for key in sorted(self._rows)]


def files_with_ending(folder: Path, endings: Iterable[str]) -> list[Path]:
    """Return the files of a folder and its subfolders with these endings (case ignored), sorted."""
    endings = tuple(endings)
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name.lower().endswith(endings))
