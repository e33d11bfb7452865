"""``pathduet splits``: read and write folds in the field's splits_k.csv format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pathduet.core.plural import plural

app = typer.Typer(
    no_args_is_help=True, help="Published folds in the splits_k.csv format (MCAT, SurvPath, CLAM)."
)


Slides = Annotated[
    Path | None, typer.Option(help="A slides.tsv, if the files list slides instead of patients (CLAM).")
]


@app.command("import")
def read(
    folder: Annotated[Path, typer.Argument(help="Folder with splits_0.csv, splits_1.csv ...")],
    out: Annotated[Path, typer.Option(help="File for `split.file`: patient_id, fold.")],
    patients: Annotated[
        Path | None, typer.Option(help="A patients.tsv: keep only its patients, and list who is missing.")
    ] = None,
    slides: Slides = None,
) -> None:
    """Published folds -> a file for the configuration's split.file."""
    from pathduet.cohort.published_splits import import_splits
    from pathduet.core.files import write_tsv

    folds = import_splits(folder, _patient_of(slides))
    if patients is not None:
        from pathduet.cohort.sheets import read_patients

        known, listed = set(read_patients(patients).index), set(folds["patient_id"])
        typer.echo(
            f"dropped, because not in {patients.name}: {plural(len(listed - known), 'patient')} of the splits"
        )
        typer.echo(f"in no split: {plural(len(known - listed), 'patient')} of {patients.name}")
        folds = folds[folds["patient_id"].isin(known)]
    write_tsv(out, folds)
    typer.echo(f"{plural(len(folds), 'patient')} in {plural(folds['fold'].nunique(), 'fold')}: {out}")


@app.command("export")
def write(
    folds: Annotated[Path, typer.Argument(help="folds.tsv of a results folder (split/folds.tsv).")],
    out: Annotated[Path, typer.Option(help="Folder for splits_0.csv, splits_1.csv ...")],
    slides: Slides = None,
) -> None:
    """A run's folds -> splits_k.csv, for other projects to compare with."""
    from pathduet.cohort.folds import read_folds
    from pathduet.cohort.published_splits import export_splits

    written = export_splits(out, read_folds(folds), _patient_of(slides))
    typer.echo(f"{plural(len(written), 'file')}: {out}")


def _patient_of(slides: Path | None) -> dict[str, str] | None:
    """Return the patient of each slide in a sheet."""
    from pathduet.cohort.sheets import read_slide_rows

    return None if slides is None else {row["slide_id"]: row["patient_id"] for row in read_slide_rows(slides)}
