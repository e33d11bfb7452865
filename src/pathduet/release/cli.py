"""``pathduet export`` and ``pathduet predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pathduet.core.errors import shown
from pathduet.core.plural import plural
from pathduet.explain.cli import Frame
from pathduet.results import Results

ResultsFolder = Annotated[Path, typer.Option("--results", help="A finished run's folder.")]


def export(
    out: Annotated[Path, typer.Option(help="Folder for the release: new, empty, or an older release.")],
    results: ResultsFolder = Path("results"),
    model: Annotated[
        str, typer.Option(help="distilled, student, teacher, or another trained model.")
    ] = "distilled",
) -> None:
    """Export a trained model as one folder: everything that `pathduet predict` needs, with checksums and a model card."""
    from pathduet.release.contents import MANIFEST, verify
    from pathduet.release.export import export_release

    export_release(results, model, out)
    manifest = verify(out)
    size = sum(entry["bytes"] for entry in manifest["files"].values()) / 2**20
    typer.echo(f"{out}: {plural(len(manifest['files']), 'file')}, {size:.1f} MiB, id {manifest['id']}")
    typer.echo(f"Publish the id (the SHA-256 of {MANIFEST}) apart from the folder. {manifest['notice']}")


def predict(
    out: Annotated[Path, typer.Option(help="Folder for predictions; never the raw slides' own.")],
    model: Annotated[
        Path, typer.Option(help="A release (from `pathduet export`), or a finished run's results folder.")
    ],
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SLIDE]...", help="Slides, folders of slides (with subfolders), or slides.tsv sheets."
        ),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="A slides.tsv with ids, patients, pixel sizes and masks.")
    ] = None,
    expression: Annotated[
        Path | None, typer.Option(help="Expression of these patients, genes in rows.")
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            help="counts, tpm, fpkm, log2_tpm or zscore; if not given, that of the training tables."
        ),
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(help="sample_id, patient_id[, slide_id], if samples are not named by patient."),
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(min=0.05, max=5.0, help="um per pixel of slides that do not state theirs.")
    ] = None,
    name: Annotated[str, typer.Option(help="Which model, where --model is a results folder.")] = "distilled",
    encoder_weights: Annotated[
        Path | None, typer.Option(help="The tile encoder's weights, if they are not found by name.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    heatmaps: Annotated[
        bool, typer.Option(help="Where the models looked: pictures, GeoJSON for QuPath, zoomable pages.")
    ] = True,
    frame: Frame = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Slides tiled at a time, and threads of the encoder.")
    ] = 1,
) -> None:
    """Predict new slides with a released model. Research use only; not for diagnosis.

    Exit status: 0 all predicted; 2 the input has problems; 3 some slides could not be predicted (see ledger.tsv).
    """
    from pathduet.cohort.ledger import lines
    from pathduet.core.run_lock import hold_run
    from pathduet.release.load import load_release
    from pathduet.release.new_slides import gather, read_table, release_folder
    from pathduet.release.predict import check_folder, predict_slides

    found = gather([*(sources or []), *([sheet] if sheet else [])], out)
    check_folder(found.slides, out)
    table = read_table(expression, unit, samples) if unit or not expression else None
    hold_run(out)
    found.write(Results(out).files)
    folder = release_folder(model, name, out)
    weights = str(encoder_weights) if encoder_weights else None
    release = load_release(folder, {"weights": weights, "device": device}, mpp)
    if expression and not unit:
        unit = release.unit
        table = read_table(expression, unit, samples)
        typer.echo(
            f"{expression.name} is read as {unit}, the unit of the training tables (--unit sets another)"
        )
    ledger = predict_slides(found.slides, release, out, table, workers, device, heatmaps, frame)
    typer.echo(shown("\n".join([*found.lines(), *lines(ledger)])))
    if (ledger["reason"] == "no_mpp").any():
        typer.echo(
            "If you know the scanner, give the pixel size with --mpp, or in the column mpp of a sheet."
        )
    typer.echo(
        f"{release.manifest['notice']} Pages: {out}/slides/<slide_id>/prediction.html; table: {out}/predictions.tsv"
    )
    raise typer.Exit(3 if found.lost or (ledger["status"] == "failed").any() else 0)
