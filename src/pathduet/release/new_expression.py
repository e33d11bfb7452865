"""New slides' expression on the scale of every fold's teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import InputError
from pathduet.core.provenance import settings_hash
from pathduet.expression.fold_matrix import FoldExpression
from pathduet.expression.tables import ExpressionTable
from pathduet.release.load import Release


@dataclass(frozen=True)
class NewExpression:
    """A table of expression, scaled for each fold's teacher.

    Attributes
    ----------
    folds : mapping of int to FoldExpression
        The whole table on each fold's scale.
    unit : str
        The unit that the table was read in.
    notes : tuple of str
        Remarks for the reader.
    """

    folds: Mapping[int, FoldExpression]
    unit: str
    notes: tuple[str, ...]

    def covers(self, slide: SlideRow) -> bool:
        """Return whether the table has a sample of the slide or its patient."""
        return any(e.row_for(slide.patient_id, slide.slide_id) is not None for e in self.folds.values())

    def hash(self, slide: SlideRow) -> str:
        """Return a hash of the slide's values."""
        rows = [e.row_for(slide.patient_id, slide.slide_id) for _, e in sorted(self.folds.items())]
        return settings_hash([[part.tolist() for part in row.values()] for row in rows if row is not None])


def scale_expression(release: Release, table: ExpressionTable | None) -> NewExpression | None:
    """Transform a table to every fold's scale.

    Raises
    ------
    InputError
        If the release has no model that reads expression, or the table does not match its genes and units.
    """
    if table is None:
        return None
    if not any(release.model_for(task, "expression") for task in release.tasks):
        found = f"release {release.manifest['name']} has no model that reads expression"
        raise InputError.of("expression", found, "leave it out, or export with the teacher")
    notes = {note for one in release.scalings.values() for note in one.notes(table)}
    folds = {fold: one.apply(table) for fold, one in release.scalings.items()}
    return NewExpression(folds, table.unit, tuple(sorted(notes)))


def named_by_samples(slides: Sequence[SlideRow], table: ExpressionTable | None) -> list[SlideRow]:
    """Assign slides that came without a sheet the patients that a sample sheet names for them."""
    if table is None:
        return list(slides)
    patients = {s: p for p, s in zip(table.samples["patient_id"], table.samples["slide_id"]) if s}
    return [
        replace(slide, patient_id=str(patients.get(slide.slide_id, slide.patient_id)))
        if slide.cohort == "folder"
        else slide
        for slide in slides
    ]
